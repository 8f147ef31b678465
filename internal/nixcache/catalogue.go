package nixcache

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"
)

// maxClosure bounds what narinfos can make this server remember. A large
// desktop has some ten thousand paths.
const maxClosure = 200_000

// catalogue knows store paths by their narinfos, and follows the references in
// those. It is not safe for concurrent use.
type catalogue struct {
	known   map[string]*object // by base
	lookups int                // how many at a time
	learn   func(ctx context.Context, base string) (*object, error)
}

// closure gives the closure of a path, and looks up what isn't known of it.
func (c *catalogue) closure(ctx context.Context, base string) ([]*object, error) {
	seen := map[string]bool{base: true}
	var closure []*object
	for next := []string{base}; len(next) > 0; {
		if err := c.lookUp(ctx, next); err != nil {
			return nil, err
		}
		var references []string
		for _, base := range next {
			o := c.known[base]
			closure = append(closure, o)
			for _, reference := range o.References {
				if !seen[reference] {
					seen[reference] = true
					references = append(references, reference)
				}
			}
		}
		if len(seen) > maxClosure {
			return nil, fmt.Errorf("the closure of %s has more than %d paths", base, maxClosure)
		}
		next = references
	}
	return closure, nil
}

// lookUp makes sure that paths are known. What has been learnt stays so where
// one of them can't be.
func (c *catalogue) lookUp(ctx context.Context, bases []string) error {
	var mu sync.Mutex
	learnt := make(map[string]*object)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.lookups)
	for _, base := range bases {
		if c.known[base] != nil {
			continue
		}
		group.Go(func() error {
			o, err := c.learn(ctx, base)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			learnt[base] = o
			return nil
		})
	}
	err := group.Wait()
	if c.known == nil {
		c.known = make(map[string]*object)
	}
	maps.Copy(c.known, learnt)
	return err
}

// forget forgets some paths.
func (c *catalogue) forget(which func(*object) bool) {
	maps.DeleteFunc(c.known, func(_ string, o *object) bool { return which(o) })
}
