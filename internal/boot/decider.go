package boot

import (
	"fmt"
	"sync"
	"sync/atomic"

	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

// Generations is asked for what a profile offers, newest first. It is asked at
// every decision, so it must not touch the disk. The answer is shared and must
// not be changed; it is nil for a profile that has none.
type Generations interface {
	Generations(profile string) []generation.Generation
}

// Loaders is asked whether a loader file is there to be served. It is asked at
// every DHCP packet, so it must not touch the disk.
type Loaders interface {
	Has(name string) bool
}

// Decider answers what a machine gets. It is safe for concurrent use.
type Decider struct {
	generations Generations
	loaders     Loaders
	rules       atomic.Pointer[rules]
}

// rules is a policy, indexed. It is never changed after it was made, but for
// the cache of menu lines.
type rules struct {
	policy   Policy
	byMAC    map[machine.MAC]*Host
	byUUID   map[machine.UUID]*Host
	profiles map[string]*Profile
	images   map[string]*Entry
	offered  []*Entry // the images, in the policy's order
	offers   sync.Map // profile name -> *offer
}

// New makes a Decider that follows the policy.
func New(policy Policy, generations Generations, loaders Loaders) *Decider {
	d := &Decider{generations: generations, loaders: loaders}
	d.SetPolicy(policy)
	return d
}

// SetPolicy replaces the policy for all decisions that begin from now on.
func (d *Decider) SetPolicy(policy Policy) {
	r := &rules{
		policy:   policy,
		byMAC:    make(map[machine.MAC]*Host, len(policy.Hosts)),
		byUUID:   make(map[machine.UUID]*Host, len(policy.Hosts)),
		profiles: make(map[string]*Profile, len(policy.Profiles)),
		images:   make(map[string]*Entry, len(policy.Images)),
	}
	for i := range policy.Hosts {
		host := &policy.Hosts[i]
		for _, mac := range host.MACs {
			r.byMAC[mac] = host
		}
		if host.UUID.IsKnown() {
			r.byUUID[host.UUID] = host
			r.byUUID[host.UUID.Swapped()] = host
		}
	}
	for i := range policy.Profiles {
		r.profiles[policy.Profiles[i].Name] = &policy.Profiles[i]
	}
	for i := range policy.Images {
		entry := imageEntry(&policy.Images[i])
		r.images[entry.ID] = entry
		r.offered = append(r.offered, entry)
	}
	d.rules.Store(r)
}

// Host is the host that the machine is, by any of its MACs, then by its UUID;
// nil for a machine that the configuration doesn't name.
func (d *Decider) Host(m machine.Machine) *Host { return d.rules.Load().host(m) }

func (r *rules) host(m machine.Machine) *Host {
	if h := r.byMAC[m.MAC]; h != nil {
		return h
	}
	for _, other := range m.Others {
		if h := r.byMAC[other]; h != nil {
			return h
		}
	}
	if m.UUID.IsKnown() {
		return r.byUUID[m.UUID]
	}
	return nil
}

// Image is the image of that name, or nil.
func (d *Decider) Image(name string) *Image {
	if entry := d.rules.Load().images[name]; entry != nil {
		return entry.Image
	}
	return nil
}

// subject is a machine together with what the rules say of it.
type subject struct {
	Settings
	machine machine.Machine // as the overrides of Arch and Firmware make it
	name    string          // the host's name, or ""
	action  Action
	rule    string // what decided: "host lab-07", "group rpi", "default"
}

// subjectOf finds who a machine is. A host keeps what it sets itself, and takes
// the rest from the first group that matches it, then from the default.
func (r *rules) subjectOf(m machine.Machine) subject {
	s := subject{machine: m, action: ActionMenu}
	host := r.host(m)
	if host != nil {
		s.name, s.rule, s.Settings = host.Name, "host "+host.Name, host.Settings
		s.applyOverrides()
	}
	group := r.group(s.machine)
	if group != nil {
		if host == nil {
			s.rule = group.Name
		}
		s.Settings = s.Settings.or(group.Settings)
		s.applyOverrides()
	}
	if host == nil && group == nil {
		s.rule, s.action = "default", r.policy.Default.Action
	}
	s.Settings = s.Settings.or(r.policy.Default.Settings)
	s.applyOverrides()
	return s
}

func (r *rules) group(m machine.Machine) *Group {
	for i := range r.policy.Groups {
		if r.policy.Groups[i].Match.holds(m) {
			return &r.policy.Groups[i]
		}
	}
	return nil
}

func (s *subject) applyOverrides() {
	if s.Arch != machine.ArchUnknown {
		s.machine.Arch = s.Arch
	}
	if s.Firmware != machine.FirmwareUnknown {
		s.machine.Firmware = s.Firmware
	}
}

// or fills what s leaves out from a more general rule. Kernel arguments add
// up, the general ones first, so that the special ones have the last word.
func (s Settings) or(general Settings) Settings {
	s.Profile = first(s.Profile, general.Profile)
	s.Choice = first(s.Choice, general.Choice)
	s.Timeout = first(s.Timeout, general.Timeout)
	s.OnFailure = first(s.OnFailure, general.OnFailure)
	s.LocalBoot = first(s.LocalBoot, general.LocalBoot)
	s.Loader = first(s.Loader, general.Loader)
	s.Chainload = first(s.Chainload, general.Chainload)
	s.Arch = first(s.Arch, general.Arch)
	s.Firmware = first(s.Firmware, general.Firmware)
	s.NulTerminate = first(s.NulTerminate, general.NulTerminate)
	switch {
	case len(s.Args) == 0:
		s.Args = general.Args
	case len(general.Args) > 0:
		s.Args = append(append(make([]string, 0, len(s.Args)+len(general.Args)), general.Args...), s.Args...)
	}
	return s
}

func first[T comparable](own, general T) T {
	var unset T
	if own == unset {
		return general
	}
	return own
}

// describe says who a machine is, for reasons in logs.
func (s *subject) describe() string {
	if s.name == "" && s.rule == "default" {
		return "no host or group matches, so [default] decides"
	}
	return fmt.Sprintf("%s matches", s.rule)
}
