package boot

import (
	"net/netip"
	"slices"
	"time"

	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

// Policy is what the administrator wants: the valid and typed form of the
// configuration's boot part.
type Policy struct {
	Menu     Menu
	Profiles []Profile
	Images   []Image
	Hosts    []Host
	Groups   []Group // asked in order, the first that matches wins
	Default  Default
}

// Menu is how every menu looks and behaves.
type Menu struct {
	Title   string
	Timeout time.Duration // 0 boots the default at once; negative waits for ever
	Shell   bool          // offer the iPXE shell
	Rounds  int           // tries of a failing download before OnFailure
}

// Profile is a Nix profile on offer.
type Profile struct {
	generation.Profile
	Args []string // kernel arguments for every generation
}

// GenerationProfiles are the policy's profiles, each with the generations pinned
// that some default names by number. A default without a profile pins its
// number in every profile: which one it will mean depends on the machine.
func (p *Policy) GenerationProfiles() []generation.Profile {
	profiles := make([]generation.Profile, len(p.Profiles))
	for i := range p.Profiles {
		profiles[i] = p.Profiles[i].Profile
		for _, c := range p.choices() {
			if c.Kind == KindGeneration && c.Number > 0 && (c.Profile == "" || c.Profile == profiles[i].Name) {
				profiles[i].Pinned = append(profiles[i].Pinned, c.Number)
			}
		}
	}
	return profiles
}

func (p *Policy) choices() []Choice {
	var all []Choice
	add := func(s *Settings) {
		if s.Choice != nil {
			all = append(all, *s.Choice)
		}
	}
	for i := range p.Hosts {
		add(&p.Hosts[i].Settings)
	}
	for i := range p.Groups {
		add(&p.Groups[i].Settings)
	}
	add(&p.Default.Settings)
	return all
}

// Image is a bootable that is no generation.
type Image struct {
	Name     string
	Label    string
	Kernel   string             // file path
	Initrds  []string           // file paths
	Args     []string           // may use {url}, the address of this image's files
	Files    []string           // further file paths, served under {url}/BASENAME
	Chain    string             // file path of an EFI program or an iPXE script, instead of Kernel
	Arch     []machine.Arch     // empty: every architecture
	Firmware []machine.Firmware // empty: every firmware
}

// Paths are the paths of all files of the image that are served.
func (i *Image) Paths() []string {
	var paths []string
	for _, path := range slices.Concat([]string{i.Kernel, i.Chain}, i.Initrds, i.Files) {
		if path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// Fits reports whether a machine can run the image.
func (i *Image) Fits(m machine.Machine) bool {
	return fitsAny(i.Arch, m.Arch) && fitsFirmware(i.Firmware, m.Firmware)
}

func fitsAny(offered []machine.Arch, have machine.Arch) bool {
	for _, a := range offered {
		if have.Runs(a) {
			return true
		}
	}
	return len(offered) == 0
}

func fitsFirmware(offered []machine.Firmware, have machine.Firmware) bool {
	for _, f := range offered {
		if f == have || have == machine.FirmwareUnknown {
			return true
		}
	}
	return len(offered) == 0
}

// Settings are the keys that a host, a group and the default may each set.
// What a host leaves out comes from the first group that matches it, and what
// that leaves out from the default.
type Settings struct {
	Profile   string
	Choice    *Choice // which entry boots by itself
	Args      []string
	Timeout   *time.Duration
	OnFailure OnFailure
	LocalBoot LocalBoot
	Loader    string // loader file name instead of the one for the firmware
	Chainload Chainload
	// Arch and Firmware replace what the machine says of itself, for those
	// that lie: a Raspberry Pi's UEFI sends option 93 = 0 (firmware#1928).
	Arch     machine.Arch
	Firmware machine.Firmware
	// NulTerminate ends option 67 with a NUL, for firmware that reads it as a
	// C string and appends what follows (netboot.xyz#1198).
	NulTerminate *bool
}

// Host is a machine named in the configuration.
type Host struct {
	Name string
	MACs []machine.MAC
	UUID machine.UUID
	Addr netip.Addr // fixed address; the zero value for none
	Settings
}

// Group is a rule that matches several machines.
type Group struct {
	Name  string // for logs; "group 2" when the configuration gives none
	Match Match
	Settings
}

// Match is a group's condition: every part that is set must hold.
type Match struct {
	MAC      *machine.MACPattern
	Subnet   netip.Prefix // the zero value for any
	Arch     machine.Arch
	Firmware machine.Firmware
}

func (c Match) holds(m machine.Machine) bool {
	switch {
	case c.MAC != nil && !c.matchesMAC(m):
		return false
	case c.Subnet.IsValid() && !c.Subnet.Contains(m.Addr):
		return false
	case c.Arch != machine.ArchUnknown && c.Arch != m.Arch:
		return false
	case c.Firmware != machine.FirmwareUnknown && c.Firmware != m.Firmware:
		return false
	}
	return true
}

func (c Match) matchesMAC(m machine.Machine) bool {
	if c.MAC.Match(m.MAC) {
		return true
	}
	for _, other := range m.Others {
		if c.MAC.Match(other) {
			return true
		}
	}
	return false
}

// Default is what a machine gets that no host and no group names.
type Default struct {
	Action Action
	Settings
}

// Action is what an unknown machine gets.
type Action string

// The actions for unknown machines.
const (
	ActionMenu   Action = "menu"   // the menu, as everybody else
	ActionLocal  Action = "local"  // its own disk
	ActionIgnore Action = "ignore" // no answer to its boot requests
)

// OnFailure is what a script does after its rounds of retries are used up.
type OnFailure string

// The ways out of a failing download.
const (
	FailureRetry OnFailure = "retry" // go on for ever
	FailureLocal OnFailure = "local" // boot the local disk
	FailureMenu  OnFailure = "menu"  // back to the menu
)

// LocalBoot is how a script hands over to the local disk.
type LocalBoot string

// The ways to the local disk (FIELD-NOTES "Local disk"; netboot.xyz#1276,
// ipxe#213).
const (
	LocalAuto    LocalBoot = "auto"    // exit on EFI, sanboot on BIOS
	LocalExit    LocalBoot = "exit"    // exit to the firmware's next boot entry
	LocalSanboot LocalBoot = "sanboot" // BIOS drive 0x80
)

// Chainload is whether an iPXE that is built into a ROM is given our loader.
type Chainload string

// The chainload settings.
const (
	ChainloadAuto   Chainload = "auto"   // where it lacks what scripts need
	ChainloadAlways Chainload = "always" // once in every boot
	ChainloadNever  Chainload = "never"
)
