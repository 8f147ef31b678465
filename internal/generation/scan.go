package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Scan reads the generations of a profile, newest (highest number) first: the
// newest p.Keep that can be booted, the current one and the pinned ones. The warnings, each a
// *Warning, say what was left out. The error says why there are none at all, with
// the profile's path and without its name; a bad generation alone is never one.
func Scan(p Profile) (gens []Generation, warnings []error, err error) {
	r := new(store).scan(p)
	return r.generations, r.warnings, r.err
}

// store remembers toplevels by their store path, whose content never changes.
type store struct {
	last, seen map[storeKey]*toplevel
}

type storeKey struct {
	dir          string
	allowSecrets bool
}

// result is one reading of a profile.
type result struct {
	generations []Generation
	warnings    []error
	err         error
	// watch is the directories whose content matters: that of the profile, and
	// generations that are plain directories, which may change in place.
	watch []string
	// paths are the profile's link, the one that it leads to, and those plain
	// directories. A change matters if its path begins with one of them.
	paths []string
}

// scanner is one reading of a profile under way.
type scanner struct {
	store   *store
	profile Profile
	links   links
	root    string // links.dir, symlinks resolved
	result
}

func (s *store) scan(p Profile) result {
	sc := &scanner{store: s, profile: p, links: findLinks(p.Path)}
	sc.paths = []string{filepath.Clean(p.Path), filepath.Join(sc.links.dir, sc.links.name)}
	sc.watch = []string{filepath.Dir(sc.paths[0]), sc.links.dir}
	numbers, err := sc.numbers()
	if err != nil {
		sc.err = fmt.Errorf("%s: %w", p.Path, err)
		return sc.result
	}
	sc.readAll(numbers)
	sc.markCurrent(numbers)
	if len(sc.generations) == 0 {
		sc.err = fmt.Errorf("%s: none of its generations can be booted; the warnings about them say why", p.Path)
	}
	return sc.result
}

// numbers lists the generations that have a link, newest first.
func (s *scanner) numbers() ([]int, error) {
	var err error
	if s.root, err = filepath.EvalSymlinks(s.links.dir); err != nil {
		return nil, advise(err)
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, advise(err)
	}
	var numbers []int
	for _, entry := range entries {
		if n, ok := parseNumber(s.links.name, entry.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("no generations %s-N-link in %s; make one with nix-env --profile %s --set SYSTEM",
			s.links.name, s.links.dir, s.profile.Path)
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

func advise(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; correct the profile's path, or make the directory", err)
	}
	return fmt.Errorf("%w; make it readable for the user that ravenboot runs as", err)
}

// readAll counts what can be booted against Keep, so that broken generations
// don't use up the menu.
func (s *scanner) readAll(numbers []int) {
	for _, n := range numbers {
		full := s.profile.Keep > 0 && len(s.generations) >= s.profile.Keep
		if full && n != s.links.current && !slices.Contains(s.profile.Pinned, n) {
			continue
		}
		g, f := s.read(n)
		if f != nil {
			s.warn(&Warning{s.links.path(n), fmt.Errorf("generation left out: %w", f.err), f.advice})
			continue
		}
		s.generations = append(s.generations, g)
	}
}

// warn adds a warning once: generations share initrds.
func (s *scanner) warn(warning error) {
	same := func(w error) bool { return w.Error() == warning.Error() }
	if !slices.ContainsFunc(s.warnings, same) {
		s.warnings = append(s.warnings, warning)
	}
}

func (s *scanner) read(number int) (Generation, *flaw) {
	link := s.links.path(number)
	info, err := os.Lstat(link)
	if err != nil {
		return Generation{}, unreadable(err)
	}
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return Generation{}, dangling(link, err)
	}
	t, f := s.toplevel(dir)
	if f != nil {
		return Generation{}, f
	}
	for _, warning := range t.warnings {
		s.warn(warning)
	}
	return Generation{
		Profile: s.profile.Name, Number: number, Date: info.ModTime(),
		System: t.System, KernelVersion: t.kernelVersion, Specialisations: t.specialisations,
	}, nil
}

func dangling(link string, err error) *flaw {
	target, _ := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) && target != "" {
		return flawed("copy the system's closure to this server, or delete the generation",
			"dangling link to %s", target)
	}
	return flawed("make it readable for the user that ravenboot runs as", "can't follow it: %w", err)
}

// toplevel reads a resolved directory, or remembers it. A reading with a flaw
// or warnings is not remembered: somebody may be about to repair it.
func (s *scanner) toplevel(dir string) (*toplevel, *flaw) {
	p := newPlace(dir, s.root)
	if p.store == "" {
		s.watch = append(s.watch, dir)
		s.paths = append(s.paths, dir)
		return readToplevel(p, s.profile.AllowSecrets)
	}
	key := storeKey{dir, s.profile.AllowSecrets}
	if t := s.store.get(key); t != nil {
		return t, nil
	}
	t, f := readToplevel(p, s.profile.AllowSecrets)
	if f == nil && len(t.warnings) == 0 {
		s.store.put(key, t)
	}
	return t, f
}

func (s *store) get(key storeKey) *toplevel {
	t := s.seen[key]
	if t == nil {
		t = s.last[key]
	}
	if t != nil {
		s.put(key, t)
	}
	return t
}

func (s *store) put(key storeKey, t *toplevel) {
	if s.seen == nil {
		s.seen = make(map[storeKey]*toplevel)
	}
	s.seen[key] = t
}

// forget drops what wasn't seen since the last call.
func (s *store) forget() { s.last, s.seen = s.seen, nil }

// markCurrent marks the generation that the profile points at. Without a
// profile link (a server without Nix) that is the newest.
func (s *scanner) markCurrent(numbers []int) {
	if len(s.generations) == 0 {
		return
	}
	if s.links.current == 0 {
		s.generations[0].Current = true
		return
	}
	if !slices.Contains(numbers, s.links.current) {
		s.warn(&Warning{s.profile.Path,
			fmt.Errorf("it points at generation %d, which isn't there", s.links.current),
			"point it at another with nix-env --switch-generation"})
	}
	for i := range s.generations {
		s.generations[i].Current = s.generations[i].Number == s.links.current
	}
}
