package generation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a profile must be quiet before it is read: publishing
	// a generation makes two links and renames one.
	settle = 100 * time.Millisecond
	// settleMax is how long a profile that isn't quiet (an initrd being copied)
	// may put off its reading.
	settleMax = 500 * time.Millisecond
	// poll is for what no event tells: NFS, and a closure that arrives after the
	// link that points at it.
	poll = 30 * time.Second
)

// Run watches the profiles until the context ends, and then returns nil. A new
// generation shows within about a second, or half a minute where the file
// system can't be watched.
func (c *Catalog) Run(ctx context.Context) error {
	w := c.newWatch()
	defer w.close()
	w.refresh()
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	due := newDebounce(c.settle, c.settleMax)
	defer due.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-w.events:
			if w.concerns(event) {
				due.touch()
			}
		case err := <-w.errors:
			// Events were lost (a full queue): what changed can't be known.
			c.log.Debug("profile watch", "reason", err)
			due.touch()
		case <-due.timer.C:
			due.reset()
			w.refresh()
		case <-ticker.C:
			w.refresh()
		case <-c.changed:
			w.refresh()
		}
	}
}

// debounce gathers events that come together.
type debounce struct {
	timer          *time.Timer
	quiet, longest time.Duration
	deadline       time.Time // zero while nothing is due
}

func newDebounce(quiet, longest time.Duration) *debounce {
	d := &debounce{timer: time.NewTimer(longest), quiet: quiet, longest: longest}
	d.timer.Stop()
	return d
}

func (d *debounce) touch() {
	now := time.Now()
	if d.deadline.IsZero() {
		d.deadline = now.Add(d.longest)
	}
	d.timer.Reset(min(d.quiet, d.deadline.Sub(now)))
}

func (d *debounce) reset() { d.deadline = time.Time{} }

// watch is the file system's side of Run. Without inotify (its instances are
// few for each user) its channels are nil, and Run only polls.
type watch struct {
	catalog *Catalog
	notify  *fsnotify.Watcher // nil if there is none
	events  <-chan fsnotify.Event
	errors  <-chan error
	paths   []string
	refused map[string]bool // directories that can't be watched, logged already
}

func (c *Catalog) newWatch() *watch {
	w := &watch{catalog: c, refused: make(map[string]bool)}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		c.log.Warn("profiles can't be watched, they are read every "+c.poll.String(), "reason", err)
		return w
	}
	w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
	return w
}

func (w *watch) close() {
	if w.notify != nil {
		w.notify.Close()
	}
}

// refresh reads the profiles. A directory that is watched from now on may have
// changed between its reading and its watch, so it reads once more; each round
// can go one directory deeper towards a profile that isn't there yet.
func (w *watch) refresh() {
	const rounds = 10
	for range rounds {
		w.catalog.refresh()
		if !w.sync() {
			return
		}
	}
}

// sync watches what the last reading found, and reports whether that is more
// than before. It asks fsnotify for what is watched, because a watch ends with
// its directory.
func (w *watch) sync() (more bool) {
	dirs, paths := w.catalog.watched()
	w.paths = paths
	if w.notify == nil {
		return false
	}
	have := w.notify.WatchList()
	for _, dir := range have {
		if !dirs[dir] {
			// It fails only if the directory has just gone.
			_ = w.notify.Remove(dir)
		}
	}
	for dir := range dirs {
		if slices.Contains(have, dir) {
			continue
		}
		if err := w.notify.Add(dir); err != nil {
			w.refuse(dir, err)
			continue
		}
		delete(w.refused, dir)
		more = true
	}
	return more
}

func (w *watch) refuse(dir string, err error) {
	if w.refused[dir] || errors.Is(err, os.ErrNotExist) {
		return
	}
	w.refused[dir] = true
	w.catalog.log.Warn("directory can't be watched, it is read every "+w.catalog.poll.String(),
		"path", dir, "reason", err)
}

// concerns passes over the noise of a shared directory, such as the other
// profiles in /nix/var/nix/profiles.
func (w *watch) concerns(event fsnotify.Event) bool {
	for _, path := range w.paths {
		if event.Name == path || strings.HasPrefix(event.Name, path+"-") ||
			strings.HasPrefix(event.Name, path+"/") || strings.HasPrefix(path, event.Name+"/") {
			return true
		}
	}
	return false
}

// nearest splits a path into the nearest directory that is there, symlinks
// resolved, and the rest. inotify knows one watch for each directory, so each
// must go by one name.
func nearest(path string) (dir, rest string) {
	for dir = path; ; dir = filepath.Dir(dir) {
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		if info, err := os.Stat(resolved); err == nil && info.IsDir() {
			return resolved, strings.TrimPrefix(path, dir)
		}
	}
}
