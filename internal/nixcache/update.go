package nixcache

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Run keeps what is served in step with what is on offer, until ctx ends; then
// it returns nil. What it needs nix-store or another cache's narinfos for happens
// here, and never in a request.
func (c *Cache) Run(ctx context.Context) error {
	if c.off {
		<-ctx.Done()
		return nil
	}
	defer c.source.close()
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
	toplevels []string           // that the view was made of
	problems  map[string]problem // that still hold, by toplevel
	pause     time.Duration      // before the next try; 0 if nothing failed
	retry     time.Time
	started   bool
	said      summary
}

// problem is why a toplevel is left out.
type problem struct {
	text string
	said time.Time
}

// repeat is how soon another reason for the same toplevel is logged: while a
// directory is being filled, it is a different path that is missing each second.
const repeat = time.Minute

func (c *Cache) newUpdater() *updater { return &updater{Cache: c} }

// poll updates the view if something else is on offer, or if it is time to try
// again.
func (u *updater) poll(ctx context.Context, now time.Time) {
	toplevels := u.offer.Toplevels()
	same := u.started && slices.Equal(toplevels, u.toplevels)
	if same && (u.pause == 0 || now.Before(u.retry)) && !u.source.changed() {
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
	u.source.refresh()
	former, problems := u.problems, make(map[string]problem)
	objects := make(map[string]*object)
	complete = true
	u.publish(objects, len(u.toplevels), former)
	for i, toplevel := range u.toplevels {
		closure, err := u.source.closure(ctx, toplevel)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			complete = false
			problems[toplevel] = u.complain(toplevel, err, former[toplevel])
			u.publish(objects, len(u.toplevels)-i-1+len(problems), former, problems)
			continue
		}
		for _, o := range closure {
			objects[o.Hash()] = o
		}
		u.publish(objects, len(u.toplevels)-i-1+len(problems), former, problems)
	}
	u.problems = problems
	u.view.Store(&view{objects: objects, unknown: len(problems), failed: failed(problems)})
	u.save(objects, complete)
	u.announce(objects, begun)
	return complete
}

// publish shows what is known so far, beside what was served before.
func (u *updater) publish(objects map[string]*object, unknown int, problems ...map[string]problem) {
	former := u.view.Load().objects
	all := make(map[string]*object, len(objects)+len(former))
	maps.Copy(all, former)
	maps.Copy(all, objects)
	u.view.Store(&view{objects: all, unknown: unknown, failed: failed(problems...)})
}

// failed are the hashes of the toplevels that have problems.
func failed(problems ...map[string]problem) map[string]bool {
	hashes := make(map[string]bool)
	for _, some := range problems {
		for toplevel := range some {
			hashes[hashOf(toplevel)] = true
		}
	}
	return hashes
}

// hashOf is that of a store path, "" if it has none.
func hashOf(toplevel string) string {
	hash, _, _ := strings.Cut(filepath.Base(toplevel), "-")
	return hash
}

// complain logs why a toplevel is left out, unless that has been said.
func (u *updater) complain(toplevel string, err error, former problem) problem {
	now := problem{err.Error(), time.Now()}
	if now.text == former.text || now.said.Sub(former.said) < repeat {
		return former
	}
	u.log.Error("cache", "step", "closure", "outcome", "left out", "toplevel", toplevel, "reason", err)
	return now
}

func (u *updater) save(objects map[string]*object, complete bool) {
	if err := u.source.keep(objects, complete); err != nil {
		u.log.Warn("cache", "step", "save", "outcome", "not saved", "reason", err)
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
		now.bytes += o.NarSize
	}
	if now == u.said {
		return
	}
	u.said = now
	u.log.Info("cache", "step", "closure", "outcome", "ready", "systems", now.systems,
		"paths", now.paths, "bytes", now.bytes, "duration", time.Since(begun))
}
