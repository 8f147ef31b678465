package assets

import (
	"os"
	"path/filepath"
	"sync/atomic"
)

// Loader is an iPXE loader that is there to be served.
type Loader struct {
	Name string // as boot.LoaderNames has it
	Path string
	Size int64
}

// Loaders finds iPXE loaders in directories.
type Loaders struct{ found atomic.Pointer[map[string]Loader] }

// FindLoaders looks into the directories, the first that has a file wins, then
// into the places where distributions put iPXE.
func FindLoaders(dirs []string) *Loaders {
	l := &Loaders{}
	l.SetDirs(dirs)
	return l
}

// SetDirs looks again, into other directories.
func (l *Loaders) SetDirs(dirs []string) {
	found := map[string]Loader{}
	for _, dir := range append(append([]string(nil), dirs...), "/usr/lib/ipxe", "/boot", "/usr/share/ipxe") {
		for _, name := range []string{"undionly.kpxe", "snponly.efi", "ipxe.efi", "ipxe-arm64.efi", "snponly-arm64.efi"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if _, have := found[name]; err != nil || have || !info.Mode().IsRegular() {
				continue
			}
			found[name] = Loader{Name: name, Path: filepath.Join(dir, name), Size: info.Size()}
		}
	}
	l.found.Store(&found)
}

// Has reports whether a loader is there.
func (l *Loaders) Has(name string) bool { _, ok := (*l.found.Load())[name]; return ok }

// List is every loader that is there.
func (l *Loaders) List() []Loader {
	var all []Loader
	for _, one := range *l.found.Load() {
		all = append(all, one)
	}
	return all
}

// MissingLoader is a loader that is not there, and where to get it.
type MissingLoader struct{ Name, Advice string }

// Missing is every loader that is not there.
func (l *Loaders) Missing() []MissingLoader { return nil }
