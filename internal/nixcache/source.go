package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"ravenboot/internal/narinfo"
)

// source is where the store paths come from that the cache serves. Requests
// call serve, small and storeDir, at any time; the others are for Run alone.
type source interface {
	// storeDir is the store that the paths are of; "" while it isn't known.
	storeDir() string
	// changed says that a closure which couldn't be given may be there now.
	changed() bool
	// refresh forgets what is no longer as it was.
	refresh()
	// closure gives the closure of a toplevel.
	closure(ctx context.Context, toplevel string) ([]*object, error)
	// keep is told of all that is served, and whether that is all on offer.
	keep(objects map[string]*object, complete bool) error
	// serve answers a request for an object's NAR.
	serve(t *transfer, o *object, named resource)
	// small gives the file of an object's NAR if it fits into a batch, and nil
	// if it doesn't or isn't here yet.
	small(o *object, named resource) ([]byte, error)
	// close ends what still goes on, when Run ends.
	close()
}

// object is a store path that the cache can serve.
type object struct {
	narinfo.Facts
	stamp stamp
	// narinfo is made at the first request: signing takes as long as answering.
	narinfo func() ([]byte, error)
	// listed says where the NAR is; nil where it is made from the store.
	listed *listing
}

// has reports whether a NAR's name is one that clients were given. From the
// store NARs are served in both forms, whatever the configuration says now:
// clients keep narinfos for a month.
func (o *object) has(named resource) bool {
	if o.listed != nil {
		return named == o.listed.resource()
	}
	return named == o.resource(false) || named == o.resource(true)
}

// storeSource makes NARs from the store of this machine.
type storeSource struct {
	*store
	closures *closures
	file     string // of what is known of the store
}

func (c *Cache) newStoreSource() *storeSource {
	s := &storeSource{store: &c.store, file: filepath.Join(c.config.StateDir, FactsFile)}
	s.closures = newClosures(&c.store, func(f *narinfo.Facts) ([]byte, error) {
		return made(f, c.store.dir, c.config.Compression == CompressionZstd, c.key)
	})
	if err := s.closures.load(s.file); err != nil {
		c.log.Warn("cache", "step", "start", "outcome", "forgotten", "reason", err, "hint", "the store is asked again")
	}
	return s
}

func (s *storeSource) storeDir() string { return s.store.dir }

func (s *storeSource) changed() bool { return false }

func (s *storeSource) refresh() { s.closures.forgetChanged() }

func (s *storeSource) closure(ctx context.Context, toplevel string) ([]*object, error) {
	base, err := narinfo.BaseOf(s.store.dir, toplevel)
	if err != nil {
		return nil, fmt.Errorf("%w; copy it there with nix copy, or name the store in [cache] store", err)
	}
	if _, err := s.store.stamp(base); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is not in this server's store; copy it there with nix copy")
	}
	return s.closures.closure(ctx, base)
}

func (s *storeSource) keep(objects map[string]*object, _ bool) error {
	s.closures.keep(objects)
	if !s.closures.changed {
		return nil
	}
	if err := s.closures.save(s.file); err != nil {
		return fmt.Errorf("%w; after a restart the store is asked again", err)
	}
	return nil
}

func (s *storeSource) close() {}
