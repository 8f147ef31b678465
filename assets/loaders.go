package assets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// refreshEvery is how often Run looks for loaders that were installed or
// removed: a handful of directory reads.
const refreshEvery = 10 * time.Second

// Loader is an iPXE loader that is there to be served.
type Loader struct {
	Name string // as boot.LoaderNames has it, or the file's own
	Path string
	Size int64 // bytes, when it was found
}

// Loaders knows the loaders that are there and holds in memory those that were
// asked for. It is safe for concurrent use.
type Loaders struct {
	known []string // directories that every search includes
	files map[string]string

	mu    sync.Mutex // held while searching
	dirs  []string
	found atomic.Pointer[findings]
	cache cache
}

// findings is the outcome of a search. It is never changed once stored.
type findings struct {
	byName   map[string]Loader
	problems []string // sorted
}

// FindLoaders searches the directories, of which the first that has a loader
// wins, and then the places where Debian, Fedora, Arch and nixpkgs put iPXE.
// Besides the loaders that internal/boot knows, under any distribution's name
// for them, a host may name every other plain file that lies in one of dirs, and
// the boot programs among those of the distribution.
func FindLoaders(dirs []string) *Loaders {
	return findLoaders(dirs, knownDirs, knownFiles)
}

func findLoaders(dirs, known []string, files map[string]string) *Loaders {
	l := &Loaders{known: known, files: files}
	l.SetDirs(dirs)
	return l
}

// SetDirs searches other directories from now on.
func (l *Loaders) SetDirs(dirs []string) {
	l.mu.Lock()
	l.dirs = slices.Clone(dirs)
	l.mu.Unlock()
	l.Refresh()
}

// Refresh searches again.
func (l *Loaders) Refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := search{byName: map[string]Loader{}, problems: map[string]bool{}}
	for _, dir := range l.dirs {
		if _, err := os.ReadDir(dir); err != nil {
			s.problems[fmt.Sprintf("loader directory: %v", err)] = true
		}
	}
	for _, t := range targets {
		s.target(t, slices.Concat(l.dirs, l.known), l.files[t.name])
	}
	for _, dir := range l.dirs {
		s.plainFiles(dir, isPlainName)
	}
	for _, dir := range l.known {
		s.plainFiles(dir, isBootProgram)
	}
	l.found.Store(&findings{byName: s.byName, problems: slices.Sorted(keys(s.problems))})
}

// Run searches again from time to time, until ctx ends, so that a loader that
// is installed later is found without a restart. It logs what has changed.
func (l *Loaders) Run(ctx context.Context, log *slog.Logger) error {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	former := &findings{}
	for {
		now := l.found.Load()
		logChanges(former, now, log)
		former = now
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.Refresh()
		}
	}
}

func logChanges(former, now *findings, log *slog.Logger) {
	for _, problem := range now.problems {
		if !slices.Contains(former.problems, problem) {
			log.Warn("loaders", "problem", problem)
		}
	}
	if former.byName == nil {
		return // the start: what is there is in the answer to `check`
	}
	for name, loader := range now.byName {
		if _, had := former.byName[name]; !had {
			log.Info("loaders", "found", name, "path", loader.Path)
		}
	}
	for name, loader := range former.byName {
		if _, has := now.byName[name]; !has {
			log.Warn("loaders", "gone", name, "path", loader.Path)
		}
	}
}

// Has reports whether a loader is there. It doesn't touch the disk.
func (l *Loaders) Has(name string) bool {
	_, ok := l.lookup(name)
	return ok
}

func (l *Loaders) lookup(name string) (Loader, bool) {
	byName := l.found.Load().byName
	if loader, ok := byName[name]; ok {
		return loader, true
	}
	loader, ok := byName[aliases[name]]
	return loader, ok
}

// List is what is there, sorted by name.
func (l *Loaders) List() []Loader {
	var list []Loader
	for _, loader := range l.found.Load().byName {
		list = append(list, loader)
	}
	slices.SortFunc(list, func(a, b Loader) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Problems says of files and directories that could have been of use why they
// aren't.
func (l *Loaders) Problems() []string { return l.found.Load().problems }

// Content is a loader's file, whole.
type Content struct {
	Loader
	ModTime time.Time
	Data    []byte // shared, must not be changed
}

// Open gives a loader's content, by its name or a distribution's. It is read
// anew only after the file has changed. The error is fs.ErrNotExist for a name
// that is not there.
func (l *Loaders) Open(name string) (*Content, error) {
	loader, ok := l.lookup(name)
	if !ok {
		return nil, fmt.Errorf("loader %q: %w", name, fs.ErrNotExist)
	}
	return l.cache.open(loader)
}

// search is a search under way.
type search struct {
	byName   map[string]Loader
	problems map[string]bool
}

// target looks for a loader under all its spellings.
func (s *search) target(t target, dirs []string, known string) {
	var paths []string
	for _, dir := range dirs {
		for _, spelling := range t.spellings() {
			paths = append(paths, filepath.Join(dir, spelling))
		}
	}
	if known != "" {
		paths = append(paths, known)
	}
	for _, path := range paths {
		info, problem := statLoader(path)
		if info == nil && problem == "" {
			continue
		}
		elsewhere := false
		if problem == "" {
			problem, elsewhere = wrongContent(path, t)
		}
		if problem == "" {
			s.byName[t.name] = Loader{Name: t.name, Path: path, Size: info.Size()}
			return
		}
		// A snponly.efi for arm64 is a find for that search, unless it was named
		// for another architecture.
		if !elsewhere || filepath.Base(path) == t.name && strings.Contains(t.name, "-") {
			s.problems[fmt.Sprintf("%s is not used as %s: %s", path, t.name, problem)] = true
		}
	}
}

// plainFiles takes a directory's other files under their own names.
func (s *search) plainFiles(dir string, wanted func(name string) bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // reported for configured directories; the known ones may be missing
	}
	for _, entry := range entries {
		name := entry.Name()
		_, have := s.byName[name]
		if _, canonical := aliases[name]; have || canonical || !wanted(name) {
			continue
		}
		path := filepath.Join(dir, name)
		info, problem := statLoader(path)
		if info == nil || problem != "" || wrongPlain(name, path) != "" {
			continue
		}
		s.byName[name] = Loader{Name: name, Path: path, Size: info.Size()}
	}
}

// statLoader looks at a file, following links, which is how Debian and Nix
// put loaders together. info is nil for what is no file.
func statLoader(path string) (info fs.FileInfo, problem string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ""
	case err != nil:
		return nil, err.Error()
	case !info.Mode().IsRegular():
		return nil, ""
	case info.Size() == 0:
		return info, "it is empty"
	case info.Size() > largestLoader:
		return info, fmt.Sprintf("it has %d bytes, and no loader has more than %d", info.Size(), largestLoader)
	}
	return info, ""
}

// isPlainName reports whether a name can be asked for: a single component, not
// hidden, of printable ASCII without a space.
func isPlainName(name string) bool {
	if name == "" || len(name) > mostName || name[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == '\\' })
}

// isBootProgram picks what firmware can start out of a distribution's
// directory, where ROM images and disk images lie beside it.
func isBootProgram(name string) bool {
	switch filepath.Ext(name) {
	case ".efi", ".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".0":
		return isPlainName(name)
	}
	return false
}

func keys(m map[string]bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
