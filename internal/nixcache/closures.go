package nixcache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ravenboot/internal/narinfo"
)

// closures knows store paths, and so the closures that they make up. It is not
// safe for concurrent use.
type closures struct {
	store *store
	sign  func(*narinfo.Facts) ([]byte, error)
	known map[string]*object // by base
	// changed says that there is something to save.
	changed bool
}

func newClosures(s *store, sign func(*narinfo.Facts) ([]byte, error)) *closures {
	return &closures{store: s, sign: sign, known: make(map[string]*object)}
}

func (c *closures) add(f narinfo.Facts, at stamp) {
	o := &object{Facts: f, stamp: at}
	o.narinfo = sync.OnceValues(func() ([]byte, error) { return c.sign(&o.Facts) })
	c.known[f.Base] = o
	c.changed = true
}

// closure gives the closure of a path, asking the store's tools for what isn't
// known of it.
func (c *closures) closure(ctx context.Context, base string) ([]*object, error) {
	if closure := c.walk(base); closure != nil {
		return closure, nil
	}
	members, err := c.store.requisites(ctx, base)
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(members, func(member string) bool { return c.known[member] != nil })
	for some := range slices.Chunk(missing, callSize) {
		if err := c.learn(ctx, some); err != nil {
			return nil, err
		}
	}
	closure := c.walk(base)
	if closure == nil {
		return nil, fmt.Errorf("the store's database is not consistent: %s refers to paths beyond its closure", base)
	}
	return closure, nil
}

// learn asks the store's database about paths.
func (c *closures) learn(ctx context.Context, bases []string) error {
	// Before the database: what changes in between is asked again next time.
	stamps := make([]stamp, len(bases))
	for i, base := range bases {
		var err error
		if stamps[i], err = c.store.stamp(base); err != nil {
			return err
		}
	}
	all, err := c.store.facts(ctx, bases)
	if err != nil {
		return err
	}
	at := make(map[string]stamp, len(bases))
	for i, base := range bases {
		at[base] = stamps[i]
	}
	for _, f := range all {
		s, asked := at[f.Base]
		if !asked {
			return fmt.Errorf("nix-store --dump-db told of %s, which it was not asked for", f.Base)
		}
		c.add(f, s)
	}
	return nil
}

// walk follows references from a path; nil says that not all of them are known.
func (c *closures) walk(base string) []*object {
	seen := map[string]bool{base: true}
	next := []string{base}
	var closure []*object
	for len(next) > 0 {
		o := c.known[next[len(next)-1]]
		next = next[:len(next)-1]
		if o == nil {
			return nil
		}
		closure = append(closure, o)
		for _, reference := range o.References {
			if !seen[reference] {
				seen[reference] = true
				next = append(next, reference)
			}
		}
	}
	slices.SortFunc(closure, func(a, b *object) int { return strings.Compare(a.Base, b.Base) })
	return closure
}

// forgetChanged forgets the paths that are gone, or are others than those that
// the database was asked about.
func (c *closures) forgetChanged() {
	for base, o := range c.known {
		if at, err := c.store.stamp(base); err != nil || at != o.stamp {
			delete(c.known, base)
			c.changed = true
		}
	}
}

// keep forgets all paths but these.
func (c *closures) keep(objects map[string]*object) {
	for base, o := range c.known {
		if objects[o.Hash()] != o {
			delete(c.known, base)
			c.changed = true
		}
	}
}
