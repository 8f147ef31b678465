//go:build boots

package integration

import (
	"fmt"
	"testing"

	"ravenboot/integration/lab"
)

// The menu's lines are: generation 2, its specialisation exam, generation 1,
// its specialisation. The keys are those of a VT100 on the serial line.

func TestOlderGenerationByKeys(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 0)
	oldest := p.publish(generation(1))
	p.publish(generation(2))
	l.Serve(config(dhcpServer, slowMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Path: "ROM iPXE, older generation by keys"})
	m.ExpectMenu("26.05.2", "26.05.1")
	m.Send(lab.Down)
	m.Send(lab.Down)
	m.Send(lab.Enter)
	booted(m).runs(t, "gen-1", oldest, lab.MAC(1))
	m.Off()
}

func TestSpecialisationByKeys(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	p.publish(generation(2))
	l.Serve(config(dhcpServer, slowMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Firmware: lab.UEFI, Path: "snponly.efi, specialisation by keys"})
	m.ExpectMenu("26.05.2", "exam")
	m.Send(lab.Down)
	m.Send(lab.Enter)
	s := booted(m)
	if s.Args["lab.exam"] != "yes" || s.Args["lab.generation"] != "gen-2" || s.Initrd != "exam" {
		t.Errorf("the machine did not boot generation 2's exam: initrd %q, command line %s", s.Initrd, s.Line)
	}
	m.Off()
}

// TestDefaultByMAC switches two machines on at once, each with its own default
// on the same server, one of them through a specialisation.
func TestDefaultByMAC(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2)
	p := newProfile(t, l, 0)
	toplevels := []string{p.publish(generation(1)), p.publish(generation(2))}
	l.Serve(config(dhcpServer, quickMenu, p.toml(),
		host("lab-01", lab.MAC(1), `default = "lab/1"`, `args = ["lab.seat=first"]`),
		host("lab-02", lab.MAC(2), `default = "latest"`, `args = ["lab.seat=second"]`)))

	var machines []*lab.Machine
	for n := range 2 {
		machines = append(machines, l.Boot(lab.Spec{Path: fmt.Sprintf("ROM iPXE, machine %d of 2", n+1), NICs: []lab.NIC{{MAC: lab.MAC(n + 1)}}}))
	}
	for n, m := range machines {
		s := booted(m)
		s.runs(t, fmt.Sprintf("gen-%d", n+1), toplevels[n], lab.MAC(n+1))
		if want := [...]string{"first", "second"}[n]; s.Args["lab.seat"] != want {
			t.Errorf("machine %d has lab.seat=%q, want %q", n+1, s.Args["lab.seat"], want)
		}
	}
	for _, m := range machines {
		m.Off()
	}
}

// TestPublishedInMenu publishes a generation while the machine sits in the menu
// of the one before. Escape asks for the menu again.
func TestPublishedInMenu(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	l.Serve(config(dhcpServer, slowMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Path: "ROM iPXE, published while in the menu"})
	m.ExpectMenu("26.05.1")
	newest := p.publish(generation(2))
	m.Send(lab.Escape)
	m.ExpectMenu("26.05.2", "26.05.1")
	m.Send(lab.Enter)
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}
