//go:build boots

package integration

import (
	"testing"

	"ravenboot/integration/lab"
)

// dhcpServer makes ravenboot the network's only DHCP server.
const dhcpServer = `
[dhcp]
mode = "server"
[[dhcp.subnet]]
network = "192.0.2.0/24"
range = ["192.0.2.100", "192.0.2.200"]
`

// services turns the rest on, at the ports that firmware expects.
const services = `
[tftp]
listen = ":69"
[http]
listen = ":80"
[admin]
listen = "127.0.0.1:9080"
[menu]
timeout = "2s"
[default]
action = "menu"
profile = "lab"
`

// TestBIOS is the shortest way through all thirteen steps that the server has
// a part in: the ROM's iPXE has HTTP and menus, and gets the script at once.
func TestBIOS(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	newest := p.publish(generation(2))
	l.Serve(dhcpServer + services + p.toml())

	m := l.Boot(lab.Spec{Path: "ROM iPXE"})
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}
