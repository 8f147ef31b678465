//go:build boots

package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// kernelParams are what every kernel here is given beside its own parameters.
// Linux asks whether the timer ticks, by counting for a few milliseconds; an
// emulated processor that others keep waiting fails that, and the kernel panics
// ("IO-APIC + timer doesn't work!"). Under KVM it doesn't ask either.
const kernelParams = "console=ttyS0 loglevel=3 no_timer_check"

// generation describes one of the systems that these tests publish: number n
// says "gen-n" from its initrd and its kernel parameters alike.
func generation(n int) fixture.Generation {
	name := fmt.Sprintf("gen-%d", n)
	return fixture.Generation{
		Name:    name,
		Version: fmt.Sprintf("26.05.%d", n),
		Label:   fmt.Sprintf("NixOS Lab 26.05.%d", n),
		Params:  append(strings.Fields(kernelParams), "lab.generation="+name),
		Specialisations: map[string][]string{
			"exam": {"lab.exam=yes"},
		},
	}
}

// profile is a Nix profile in the test's own directory.
type profile struct {
	Path string
	t    testing.TB
}

// newProfile makes a profile with the generations 1 to n.
func newProfile(t testing.TB, l *lab.Lab, n int) *profile {
	t.Helper()
	p := &profile{filepath.Join(l.Dir(), "profiles", "lab"), t}
	for i := range n {
		p.publish(generation(i + 1))
	}
	return p
}

// publish makes the system the profile's next generation and returns its
// toplevel.
func (p *profile) publish(g fixture.Generation) (toplevel string) {
	p.t.Helper()
	toplevel, err := nixStore(p.t).Build(g)
	check(p.t, err)
	check(p.t, nixStore(p.t).Set(p.Path, toplevel))
	return toplevel
}

// toml is the profile in the server's configuration.
func (p *profile) toml() string {
	return fmt.Sprintf("[[profile]]\nname = \"lab\"\npath = %q\n", p.Path)
}

// system is what a booted machine says about itself.
type system struct {
	Args   map[string]string // kernel command line; the last of equal keys, as the kernel takes it
	Line   string            // the same, whole
	Initrd string            // names in initrd.d, space-separated
}

// booted waits until Linux is up on the machine.
func booted(m *lab.Machine) system {
	line := m.ExpectMatch(`RAVENBOOT-BOOTED (.*)\n`)[1]
	s := system{Args: map[string]string{}, Line: line}
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, "=")
		s.Args[key] = value
	}
	s.Initrd = strings.TrimSpace(m.ExpectMatch(`RAVENBOOT-INITRD (.*)\n`)[1])
	return s
}

// runs fails the test unless the machine runs the generation named name, with
// all that ravenboot promises on its command line.
func (s system) runs(t *testing.T, name, toplevel, mac string) {
	t.Helper()
	type facts struct{ Init, Generation, Initrd, BootIF, Machine, URL string }
	want := facts{
		toplevel + "/init", name, name, "01-" + strings.ReplaceAll(mac, ":", "-"), mac, "http://" + lab.Address,
	}
	got := facts{
		s.Args["init"], s.Args["lab.generation"], s.Initrd, s.Args["BOOTIF"], s.Args["ravenboot.machine"], s.Args["ravenboot.url"],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the machine did not boot as it should (-want +got):\n%s\ncommand line: %s", diff, s.Line)
	}
}
