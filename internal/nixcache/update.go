package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// Run keeps what is served in step with what is on offer, until ctx ends; then
// it returns nil. What it needs nix-store for happens here, and never in a
// request.
func (c *Cache) Run(ctx context.Context) error {
	if c.off {
		<-ctx.Done()
		return nil
	}
	u := c.newUpdater()
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	for {
		u.poll(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// updater is what Run works with.
type updater struct {
	*Cache
	closures  *closures
	file      string
	toplevels []string        // that the view was made of
	problems  map[string]bool // that were logged and still hold
	pause     time.Duration   // before the next try; 0 if nothing failed
	retry     time.Time
	started   bool
	said      summary
}

func (c *Cache) newUpdater() *updater {
	u := &updater{Cache: c, file: filepath.Join(c.config.StateDir, FactsFile)}
	u.closures = newClosures(&c.store, func(f *facts) ([]byte, error) {
		return f.narinfo(c.store.dir, c.config.Compression == CompressionZstd, c.key)
	})
	if err := u.closures.load(u.file); err != nil {
		u.log.Warn("cache", "step", "start", "outcome", "forgotten", "reason", err, "hint", "the store is asked again")
	}
	return u
}

// poll updates the view if something else is on offer, or if it is time to try
// again.
func (u *updater) poll(ctx context.Context, now time.Time) {
	toplevels := u.offer.Toplevels()
	same := u.started && slices.Equal(toplevels, u.toplevels)
	if same && (u.pause == 0 || now.Before(u.retry)) {
		return
	}
	if !same {
		u.pause = 0
	}
	u.started, u.toplevels = true, slices.Clone(toplevels)
	if u.update(ctx) {
		u.pause = 0
		return
	}
	u.pause = min(max(2*u.pause, u.retryMin), u.retryMax)
	u.retry = time.Now().Add(u.pause)
}

// update makes the view of the toplevels, one after the other. What was served
// goes on being served until all of them are done.
func (u *updater) update(ctx context.Context) (complete bool) {
	begun := time.Now()
	u.closures.forgetChanged()
	former, problems := u.problems, make(map[string]bool)
	objects := make(map[string]*object)
	complete = true
	u.publish(objects, len(u.toplevels))
	for i, toplevel := range u.toplevels {
		closure, err := u.closure(ctx, toplevel)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			complete = false
			problem := toplevel + ": " + err.Error()
			problems[problem] = true
			if !former[problem] {
				u.log.Error("cache", "step", "closure", "outcome", "left out", "toplevel", toplevel, "reason", err)
			}
			continue
		}
		for _, o := range closure {
			objects[o.hash()] = o
		}
		u.publish(objects, len(u.toplevels)-i-1+len(problems))
	}
	u.problems = problems
	u.view.Store(&view{objects: objects, unknown: len(problems)})
	u.save(objects)
	u.announce(objects, begun)
	return complete
}

func (u *updater) closure(ctx context.Context, toplevel string) ([]*object, error) {
	base, err := baseOf(u.store.dir, toplevel)
	if err != nil {
		return nil, fmt.Errorf("%w; copy it there with nix copy, or name the store in [cache] store", err)
	}
	if _, err := u.store.stamp(base); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is not in this server's store; copy it there with nix copy")
	}
	return u.closures.closure(ctx, base)
}

// publish shows what is known so far, beside what was served before.
func (u *updater) publish(objects map[string]*object, unknown int) {
	former := u.view.Load().objects
	all := make(map[string]*object, len(objects)+len(former))
	maps.Copy(all, former)
	maps.Copy(all, objects)
	u.view.Store(&view{objects: all, unknown: unknown})
}

func (u *updater) save(objects map[string]*object) {
	u.closures.keep(objects)
	if !u.closures.changed {
		return
	}
	if err := u.closures.save(u.file); err != nil {
		u.log.Warn("cache", "step", "save", "outcome", "not saved", "reason", err,
			"hint", "after a restart the store is asked again")
	}
}

// summary is what is said of an update.
type summary struct {
	systems, paths int
	bytes          int64
}

// announce says what is served, if that is news: what can't be served is tried
// again every minute.
func (u *updater) announce(objects map[string]*object, begun time.Time) {
	now := summary{systems: len(u.toplevels) - len(u.problems), paths: len(objects)}
	for _, o := range objects {
		now.bytes += o.narSize
	}
	if now == u.said {
		return
	}
	u.said = now
	u.log.Info("cache", "step", "closure", "outcome", "ready", "systems", now.systems,
		"paths", now.paths, "bytes", now.bytes, "duration", time.Since(begun))
}
