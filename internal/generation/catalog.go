package generation

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Catalog holds the generations of all profiles. Run keeps it fresh. Reading it
// is one atomic load and never touches the disk; all methods are safe for
// concurrent use.
type Catalog struct {
	log  *slog.Logger
	view atomic.Pointer[map[string][]Generation] // by profile; never changed once stored

	settle, settleMax, poll time.Duration // see watch.go

	changed chan struct{} // tells Run that the profiles are others

	mu       sync.Mutex // held while reading the disk
	profiles []Profile
	store    store
	states   map[string]*state // by profile
}

// state is what the last reading of a profile left.
type state struct {
	profile     Profile
	generations []Generation
	problems    map[string]bool // what was logged and still holds
	failed      bool
	watch       []string
	paths       []string
}

// NewCatalog reads the profiles once. A profile that can't be read is logged
// and has no generations until it can be; only profiles without a name or an
// absolute path, or with the same name twice, are an error.
func NewCatalog(profiles []Profile, log *slog.Logger) (*Catalog, error) {
	if err := checkProfiles(profiles); err != nil {
		return nil, err
	}
	c := &Catalog{
		log: log, profiles: slices.Clone(profiles),
		settle: settle, settleMax: settleMax, poll: poll,
		changed: make(chan struct{}, 1),
	}
	c.refresh()
	return c, nil
}

func checkProfiles(profiles []Profile) error {
	names := make(map[string]bool)
	for _, p := range profiles {
		switch {
		case p.Name == "":
			return fmt.Errorf("the profile at %s has no name", p.Path)
		case names[p.Name]:
			return fmt.Errorf("two profiles are named %s", p.Name)
		case !filepath.IsAbs(p.Path):
			return fmt.Errorf("profile %s: its path %q is not absolute", p.Name, p.Path)
		case p.Keep < 0:
			return fmt.Errorf("profile %s: it can't keep %d generations", p.Name, p.Keep)
		}
		names[p.Name] = true
	}
	return nil
}

// Generations gives what a profile offers, newest first, and nil for a profile
// that is unknown or has none. The slice is shared and must not be changed; it
// is the same one until something changes.
func (c *Catalog) Generations(profile string) []Generation {
	return (*c.view.Load())[profile]
}

// Generation gives one generation of a profile if it is on offer. It is shared
// and must not be changed.
func (c *Catalog) Generation(profile string, number int) (*Generation, bool) {
	gens := c.Generations(profile)
	i, ok := slices.BinarySearchFunc(gens, number, func(g Generation, n int) int { return n - g.Number })
	if !ok {
		return nil, false
	}
	return &gens[i], true
}

// SetProfiles replaces the profiles after a change of the configuration, and
// returns when they are read. Profiles that NewCatalog would refuse are logged,
// and the former ones stay.
func (c *Catalog) SetProfiles(profiles []Profile) {
	if err := checkProfiles(profiles); err != nil {
		c.log.Error("profiles not changed", "reason", err)
		return
	}
	c.mu.Lock()
	c.profiles = slices.Clone(profiles)
	c.mu.Unlock()
	c.refresh()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// refresh reads all profiles again and publishes what it found.
func (c *Catalog) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	states := make(map[string]*state, len(c.profiles))
	view := make(map[string][]Generation, len(c.profiles))
	for _, p := range c.profiles {
		s := c.update(p, c.states[p.Name])
		states[p.Name] = s
		if s.generations != nil {
			view[p.Name] = s.generations
		}
	}
	c.store.forget()
	c.states = states
	c.view.Store(&view)
}

// update reads a profile, given its former state or nil. A reading that fails
// keeps the former generations: an NFS server that is away for a minute, or a
// store that isn't mounted, must not empty the menus. It keeps nothing of a
// profile that has moved, or that may no longer offer secrets.
func (c *Catalog) update(p Profile, former *state) *state {
	if former == nil || former.profile.Path != p.Path || former.profile.AllowSecrets != p.AllowSecrets {
		former = &state{}
	}
	r := c.store.scan(p)
	s := &state{
		profile: p, generations: r.generations, failed: r.err != nil,
		problems: make(map[string]bool), watch: r.watch, paths: r.paths,
	}
	log := c.log.With("profile", p.Name)
	for _, warning := range r.warnings {
		s.note(log, former, warning)
	}
	if r.err != nil {
		s.note(log, former, r.err)
		s.generations = former.generations
		return s
	}
	if reflect.DeepEqual(s.generations, former.generations) {
		// The same slice, so that whoever derived something from it can tell.
		s.generations = former.generations
	}
	if former.failed || !same(s.generations, former.generations) {
		s.announce(log)
	}
	return s
}

func same(a, b []Generation) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// note logs a problem the first time that it is met.
func (s *state) note(log *slog.Logger, former *state, problem error) {
	text := problem.Error()
	s.problems[text] = true
	if !former.problems[text] {
		log.Warn("profile has a problem", "reason", text)
	}
}

func (s *state) announce(log *slog.Logger) {
	current := 0
	for _, g := range s.generations {
		if g.Current {
			current = g.Number
		}
	}
	log.Info("profile read", "generations", len(s.generations),
		"newest", s.generations[0].Number, "current", current)
}

// watched gives the directories to watch, as they are or the nearest one above
// that is there, and the paths whose changes matter, all without symlinks.
func (c *Catalog) watched() (dirs map[string]bool, paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dirs = make(map[string]bool)
	for _, s := range c.states {
		for _, dir := range s.watch {
			at, _ := nearest(dir)
			dirs[at] = true
		}
		for _, path := range s.paths {
			at, rest := nearest(filepath.Dir(path))
			paths = append(paths, filepath.Join(at, rest, filepath.Base(path)))
		}
	}
	return dirs, paths
}
