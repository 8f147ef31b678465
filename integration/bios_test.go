//go:build boots

package integration

import (
	"testing"

	"ravenboot/integration/lab"
)

// TestBIOS is the shortest way through all the steps that the server has a part
// in: the ROM's iPXE has HTTP and menus, and gets the script at once.
func TestBIOS(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	newest := p.publish(generation(2))
	l.Serve(config(dhcpServer, quickMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Path: "ROM iPXE"})
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}
