package generation

import (
	"fmt"
	"time"
)

// Profile says where a profile lives and how it is offered.
type Profile struct {
	Name string // as menus, URLs and the configuration call it
	// Path is the profile's link, such as /nix/var/nix/profiles/lab. The
	// generations lie beside it as lab-N-link. On a server without Nix the link
	// itself may be missing, and lab-N-link may be directories.
	Path string
	// Keep is how many of the newest generations are offered; 0 offers all. The
	// current generation is offered beyond that number when it is older: after
	// a rollback it is the one that the administrator trusts, and it must push
	// neither itself nor the newest out of the menu.
	Keep int
	// Pinned are generations that are offered even beyond Keep, because some
	// machine's default names them.
	Pinned []int
	// AllowSecrets offers generations that have initrd secrets, too.
	AllowSecrets bool
}

// System is one bootable: a generation's own or one of its specialisations.
type System struct {
	// Toplevel is the system's store path and Init its init program, as the
	// booted machine knows them. On a server without Nix they don't exist.
	Toplevel, Init string
	// Kernel and Initrd are regular files on this server, with all symlinks
	// resolved. Initrd is "" for a system without one.
	Kernel, Initrd string
	// KernelParams is the system's own kernel command line, without init=.
	KernelParams []string
	Label        string // "NixOS Yarara 26.05 (Linux 6.18)"
	// System is the Nix system, "x86_64-linux". It is "" only for a directory
	// that has neither a bootspec nor a file "system" to tell it.
	System string
}

// Specialisation is a named variant of a generation.
type Specialisation struct {
	Name string
	System
}

// Generation is one numbered system of a profile.
type Generation struct {
	Profile string // the profile's name
	Number  int
	// Date is when the generation was made: the time stamp of its link, as
	// Nix itself shows it.
	Date time.Time
	// Current says that the profile points at this generation. After a
	// rollback that is not the newest one.
	Current bool
	System
	KernelVersion   string           // "6.18", or "" if it can't be told
	Specialisations []Specialisation // sorted by name
}

// Warning says what of a profile isn't offered as it should be. Scan returns
// its warnings as values of this type.
type Warning struct {
	Path   string // the link, directory or file that it is about
	Err    error  // what is wrong, and what became of it
	Advice string // what the administrator can do
}

func (w *Warning) Error() string {
	return fmt.Sprintf("%s: %v; %s", w.Path, w.Err, w.Advice)
}

// Unwrap gives what is wrong.
func (w *Warning) Unwrap() error { return w.Err }
