package boot

import (
	"fmt"
	"strings"
	"time"

	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

// Entry is a line of a boot menu.
type Entry struct {
	ID    string // as Choice writes it; latest and current are resolved to numbers
	Label string
	Kind  Kind
	Key   byte // hot key, or 0
	// Generation and System are set for KindGeneration: System is the
	// generation's own or one of its specialisations'.
	Generation *generation.Generation
	System     *generation.System
	// Specialisation is its name, or "" for the generation itself.
	Specialisation string
	Image          *Image       // of KindImage
	arch           machine.Arch // of KindGeneration: what its kernel is built for
}

// offer is the part of a menu that a profile's generations make, kept until
// the generations change, because their labels cost more than all the rest.
type offer struct {
	generations []generation.Generation
	entries     []*Entry
}

// offerOf gives the entries of a profile.
func (d *Decider) offerOf(r *rules, profile string) []*Entry {
	generations := d.generations.Generations(profile)
	if len(generations) == 0 {
		return nil
	}
	if cached, ok := r.offers.Load(profile); ok {
		if o := cached.(*offer); len(o.generations) == len(generations) && &o.generations[0] == &generations[0] {
			return o.entries
		}
	}
	o := &offer{generations: generations, entries: generationEntries(generations)}
	r.offers.Store(profile, o)
	return o.entries
}

func generationEntries(generations []generation.Generation) []*Entry {
	var entries []*Entry
	for i := range generations {
		g := &generations[i]
		id := fmt.Sprintf("%s/%d", g.Profile, g.Number)
		e := &Entry{ID: id, Label: generationLabel(g), Generation: g, System: &g.System, arch: machine.ArchOfNixSystem(g.System.System)}
		if i < 9 {
			e.Key = byte('1' + i)
		}
		entries = append(entries, e)
		for j := range g.Specialisations {
			s := &g.Specialisations[j]
			entries = append(entries, &Entry{
				ID: id + "/" + s.Name, Label: specialisationLabel(g, s),
				Generation: g, System: &s.System, Specialisation: s.Name, arch: machine.ArchOfNixSystem(s.System.System),
			})
		}
	}
	return entries
}

func generationLabel(g *generation.Generation) string {
	label := fmt.Sprintf("%s %d  %s  %s", g.Profile, g.Number, g.Date.Format(time.DateOnly), g.Label)
	if g.KernelVersion != "" && !strings.Contains(g.Label, g.KernelVersion) {
		label += " (Linux " + g.KernelVersion + ")"
	}
	if g.Current {
		label += " *"
	}
	return label
}

func specialisationLabel(g *generation.Generation, s *generation.Specialisation) string {
	label := "  + " + s.Name
	if s.Label != "" && s.Label != g.Label {
		label += "  " + s.Label
	}
	return label
}

func (e *Entry) fits(m machine.Machine) bool {
	switch e.Kind {
	case KindGeneration:
		return m.Arch.Runs(e.arch)
	case KindImage:
		return e.Image.Fits(m)
	}
	return true
}

func imageEntry(i *Image) *Entry {
	label := i.Label
	if label == "" {
		label = i.Name
	}
	return &Entry{ID: i.Name, Label: label, Kind: KindImage, Image: i}
}

var (
	localEntry    = &Entry{ID: "local", Label: "Local disk", Kind: KindLocal, Key: 'l'}
	shellEntry    = &Entry{ID: "shell", Label: "iPXE shell", Kind: KindShell, Key: 's'}
	rebootEntry   = &Entry{ID: "reboot", Label: "Reboot", Kind: KindReboot, Key: 'r'}
	poweroffEntry = &Entry{ID: "poweroff", Label: "Power off", Kind: KindPoweroff, Key: 'p'}
)
