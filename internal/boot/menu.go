package boot

import (
	"fmt"
	"time"

	"ravenboot/internal/machine"
)

// MenuPlan is what a machine gets that asks for its script.
type MenuPlan struct {
	// Refused is set when the machine gets no menu at all; Reason says why.
	Refused bool
	// Direct is set when the machine gets no menu but its default at once: an
	// unknown machine under action "local".
	Direct    bool
	Name      string // the host's name; "" for a machine without one
	Title     string
	Entries   []*Entry // never empty, unless Refused; shared, not to be changed
	Default   int      // index into Entries of the one that boots by itself
	Timeout   time.Duration
	OnFailure OnFailure
	Rounds    int
	LocalBoot LocalBoot
	// Fallback is set when the default that was asked for is not on offer.
	Fallback bool
	Reason   string
}

// Menu decides the menu of a machine that runs iPXE.
func (d *Decider) Menu(m machine.Machine) MenuPlan {
	r := d.rules.Load()
	s := r.subjectOf(m)
	plan := r.planFor(&s)
	switch s.action {
	case ActionIgnore:
		plan.Refused, plan.Reason = true, `unknown machine, and [default] says action = "ignore"`
		return plan
	case ActionLocal:
		plan.Direct, plan.Entries = true, []*Entry{localEntry}
		plan.Reason = `unknown machine, and [default] says action = "local"`
		return plan
	}
	plan.Entries = d.entriesFor(r, &s)
	var why string
	plan.Default, plan.Fallback, why = s.defaultOf(plan.Entries)
	plan.Reason = s.describe() + "; " + why
	return plan
}

func (r *rules) planFor(s *subject) MenuPlan {
	plan := MenuPlan{
		Name:      s.name,
		Title:     r.policy.Menu.Title,
		Timeout:   r.policy.Menu.Timeout,
		Rounds:    r.policy.Menu.Rounds,
		OnFailure: first(s.OnFailure, FailureRetry),
		LocalBoot: first(s.LocalBoot, LocalAuto),
	}
	if s.Timeout != nil {
		plan.Timeout = *s.Timeout
	}
	return plan
}

// entriesFor lists what the machine can boot: its profile's generations (every
// profile's when no rule gives it one), the images, and what needs no server.
func (d *Decider) entriesFor(r *rules, s *subject) []*Entry {
	var offered []*Entry
	if s.Profile != "" {
		offered = d.offerOf(r, s.Profile)
	}
	entries := make([]*Entry, 0, len(offered)+len(r.offered)+4)
	entries = appendFitting(entries, offered, s.machine)
	if s.Profile == "" {
		for i := range r.policy.Profiles {
			entries = appendFitting(entries, d.offerOf(r, r.policy.Profiles[i].Name), s.machine)
		}
	}
	if c := s.Choice; c != nil && c.Kind == KindGeneration && c.Profile != "" && s.Profile != "" && c.Profile != s.Profile {
		entries = appendFitting(entries, d.offerOf(r, c.Profile), s.machine)
	}
	entries = appendFitting(entries, r.offered, s.machine)
	entries = append(entries, localEntry)
	if r.policy.Menu.Shell {
		entries = append(entries, shellEntry)
	}
	return append(entries, rebootEntry, poweroffEntry)
}

func appendFitting(entries, offered []*Entry, m machine.Machine) []*Entry {
	for _, e := range offered {
		if e.fits(m) {
			entries = append(entries, e)
		}
	}
	return entries
}

// defaultOf finds the entry that boots by itself. A default that is not on
// offer (any more) falls back to the newest generation, and where there is
// none, to the local disk: a menu always has a way on.
func (s *subject) defaultOf(entries []*Entry) (index int, fallback bool, why string) {
	wanted := Choice{}
	if s.Choice != nil {
		wanted = *s.Choice
	}
	if i := find(entries, s.withProfile(wanted)); i >= 0 {
		return i, false, fmt.Sprintf("default %q is %s", wanted, entries[i].ID)
	}
	if i := find(entries, s.withProfile(Choice{})); i >= 0 {
		return i, true, fmt.Sprintf("default %q is not on offer for this machine, so the newest, %s; run `ravenboot check`", wanted, entries[i].ID)
	}
	return find(entries, Choice{Kind: KindLocal}), true,
		fmt.Sprintf("default %q is not on offer for this machine, nor is any generation, so the local disk; run `ravenboot check`", wanted)
}

func (s *subject) withProfile(c Choice) Choice {
	if c.Kind == KindGeneration && c.Profile == "" {
		c.Profile = s.Profile
	}
	return c
}

// find is the index of the entry that c names, or -1. A choice without a
// profile takes the first profile in the menu.
func find(entries []*Entry, c Choice) int {
	for i, e := range entries {
		if e.is(c) {
			return i
		}
	}
	return -1
}

func (e *Entry) is(c Choice) bool {
	if e.Kind != c.Kind {
		return false
	}
	switch e.Kind {
	case KindImage:
		return e.Image.Name == c.Image
	case KindGeneration:
		g := e.Generation
		return (c.Profile == "" || g.Profile == c.Profile) && e.Specialisation == c.Specialisation &&
			(c.Number == Latest || c.Number == g.Number || c.Number == Current && g.Current)
	}
	return true
}

// BootPlan is how a machine boots one entry.
type BootPlan struct {
	Entry *Entry // shared, not to be changed
	// Args are the kernel arguments of the profile, the default, the group and
	// the host, in this order; the generation's or image's own come before them.
	Args []string
	MenuPlan
}

// Boot decides how a machine boots the entry that id names. The error says
// why it can't: the entry is not on offer, or not for this machine.
func (d *Decider) Boot(m machine.Machine, id string) (BootPlan, error) {
	choice, err := ParseChoice(id)
	if err != nil {
		return BootPlan{}, err
	}
	r := d.rules.Load()
	s := r.subjectOf(m)
	if s.action == ActionIgnore {
		return BootPlan{}, fmt.Errorf(`unknown machine, and [default] says action = "ignore"`)
	}
	choice = s.withProfile(choice)
	entry, ok := d.entry(r, choice)
	switch {
	case !ok:
		return BootPlan{}, fmt.Errorf("entry %q is not on offer (any more)", id)
	case !entry.fits(s.machine):
		return BootPlan{}, fmt.Errorf("entry %q does not fit this machine (%s, %s)", id, s.machine.Arch, s.machine.Firmware)
	}
	plan := BootPlan{Entry: entry, MenuPlan: r.planFor(&s), Args: s.Args}
	if entry.Kind == KindGeneration {
		if p := r.profiles[entry.Generation.Profile]; p != nil && len(p.Args) > 0 {
			plan.Args = append(append([]string(nil), p.Args...), s.Args...)
		}
	}
	plan.Reason = s.describe() + fmt.Sprintf("; entry %s was asked for", entry.ID)
	return plan, nil
}

func (d *Decider) entry(r *rules, c Choice) (*Entry, bool) {
	switch c.Kind {
	case KindImage:
		entry, ok := r.images[c.Image]
		return entry, ok
	case KindGeneration:
		return d.generationEntry(r, c)
	case KindLocal:
		return localEntry, true
	case KindShell:
		return shellEntry, r.policy.Menu.Shell
	case KindReboot:
		return rebootEntry, true
	}
	return poweroffEntry, true
}

func (d *Decider) generationEntry(r *rules, c Choice) (*Entry, bool) {
	for i := range r.policy.Profiles {
		name := r.policy.Profiles[i].Name
		if c.Profile != "" && c.Profile != name {
			continue
		}
		entries := d.offerOf(r, name)
		if i := find(entries, c); i >= 0 {
			return entries[i], true
		}
	}
	return nil, false
}
