package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// systemStore is the store that plain directories may link into.
const systemStore = "/nix/store"

// flaw is why something is left out, and what to do about it.
type flaw struct {
	err    error
	advice string
}

func flawed(advice, format string, args ...any) *flaw {
	return &flaw{fmt.Errorf(format, args...), advice}
}

// place is where a toplevel lies on this server, and from where the files that
// are served for it may come: what a symlink finds elsewhere is not on offer.
type place struct {
	dir     string // the toplevel, symlinks resolved
	store   string // the store that dir is an object of; "" for a plain directory
	profile string // directory of the profile, symlinks resolved

	declaredStore string            // the store as the bootspec calls it, "" if as store
	found         map[string]string // declared path -> file on this server
}

// newPlace looks at a resolved directory. A store object is HASH-NAME, in
// whatever directory the store is.
func newPlace(dir, profile string) *place {
	p := &place{dir: dir, profile: profile, found: make(map[string]string)}
	if isStoreObject(filepath.Base(dir)) {
		p.store = filepath.Dir(dir)
	}
	return p
}

// relocate notes that the store was copied from elsewhere: a server without Nix
// may hold the closures under /srv/nix/store.
func (p *place) relocate(toplevel string) {
	if filepath.Base(toplevel) == filepath.Base(p.dir) && filepath.Dir(toplevel) != p.store {
		p.declaredStore = filepath.Dir(toplevel)
	}
}

// file finds the file that a bootspec declares. In a store that is the path
// itself. Beside a plain directory's boot.json lies a copy, and declared is a
// path of the machine that the system was built on; a specialisation without a
// copy of its own has its parent's.
func (p *place) file(declared, beside string) (string, *flaw) {
	candidate := declared
	if p.store != "" {
		if rest, ok := strings.CutPrefix(declared, p.declaredStore+"/"); ok && p.declaredStore != "" {
			candidate = filepath.Join(p.store, rest)
		}
	} else if _, err := os.Lstat(beside); err == nil {
		file, f := p.resolve(beside)
		if f == nil {
			p.found[declared] = file
		}
		return file, f
	}
	if file, ok := p.found[declared]; ok {
		return file, nil
	}
	file, f := p.resolve(candidate)
	if f == nil {
		p.found[declared] = file
	}
	return file, f
}

// resolve follows symlinks to a regular, readable file that may be served.
func (p *place) resolve(path string) (string, *flaw) {
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", p.missing(path, err)
	}
	if !p.contains(file) {
		return "", flawed("only files of the store or of the profile's directory are served: copy the file there",
			"%s leads to %s, outside of what may be served", path, file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", p.missing(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", flawed("replace it with the file itself", "%s is no regular file", file)
	}
	// Nix registers paths before their data is on the disk, so a power loss
	// leaves files without content.
	if info.Size() == 0 {
		return "", flawed("repair the store with nix-store --verify --check-contents --repair, or copy the file again",
			"%s is empty", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", flawed("make it readable for the user that ravenboot runs as", "can't open it: %w", err)
	}
	f.Close()
	return file, nil
}

func (p *place) missing(path string, err error) *flaw {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return flawed("make it readable for the user that ravenboot runs as", "can't follow %s: %w", path, err)
	case p.store != "":
		return flawed("copy the system's closure to this server, or delete the generation",
			"%s is not on this server", path)
	default:
		return flawed("copy kernel and initrd as files into the generation's directory (cp --dereference)",
			"%s is not on this server", path)
	}
}

func (p *place) contains(file string) bool {
	if p.store != "" {
		return inStore(p.store, file)
	}
	return within(p.dir, file) || within(p.profile, file) || inStore(systemStore, file)
}

func within(dir, file string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}

// inStore wants a store object between the store and the file: a store also
// holds locks, links and half-built paths.
func inStore(store, file string) bool {
	rel, err := filepath.Rel(store, file)
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	object, _, _ := strings.Cut(rel, "/")
	return isStoreObject(object)
}

// hashLength is the length of a store path's hash: 160 bits in Nix's base 32.
const hashLength = 32

// isStoreObject says whether s is HASH-NAME.
func isStoreObject(s string) bool {
	if len(s) < hashLength+2 || s[hashLength] != '-' || !isStoreName(s[hashLength+1:]) {
		return false
	}
	for _, r := range s[:hashLength] {
		if !strings.ContainsRune("0123456789abcdfghijklmnpqrsvwxyz", r) {
			return false
		}
	}
	return true
}
