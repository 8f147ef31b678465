//go:build boots

package integration

import (
	"strings"
	"testing"
	"time"

	"ravenboot/integration/lab"
)

// TestAtOnce boots without a countdown, with kernel arguments that iPXE would
// take for its own syntax; then the same machine again with a key held down,
// which gets the menu all the same.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	newest := p.publish(generation(2))
	l.Serve(config(dhcpServer, slowMenu, p.toml(), host("lab-01", lab.MAC(1),
		`timeout = "0s"`,
		`args = ['lab.text="two  spaces"', 'lab.ops=a;b||c', '||', 'reboot', '#', 'lab.end=\']`)))

	m := l.Boot(lab.Spec{Path: "ROM iPXE, no countdown"})
	s := booted(m)
	s.runs(t, "gen-2", newest, lab.MAC(1))
	if want := `lab.text="two  spaces" lab.ops=a;b||c || reboot # lab.end=\`; !strings.Contains(s.Line, want) {
		t.Errorf("command line %q, want %q in it", s.Line, want)
	}
	m.Off()

	m = l.Boot(lab.Spec{Path: "ROM iPXE, no countdown, key held"})
	held, release := time.NewTicker(100*time.Millisecond), make(chan struct{})
	go func() {
		for {
			select {
			case <-held.C:
				m.Send("x")
			case <-release:
				return
			}
		}
	}()
	m.ExpectMenu("26.05.2", "26.05.1")
	held.Stop()
	close(release)
	m.Send(lab.Enter)
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}
