package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the file must be left alone before it is read, and how
// long a change must last before it is applied: many programs empty a file
// first and write it then, and half a configuration may well be valid.
const settle = 200 * time.Millisecond

// lookAgain is how often the file is read without an event. Network file
// systems send none, and a directory that was replaced takes its watch along.
const lookAgain = 30 * time.Second

// Watcher loads a configuration file, and puts its changes in force.
type Watcher struct {
	// Observe is told of every file that was read after Load: whether it is in
	// force. Set it before Run.
	Observe func(inForce bool)

	path              string
	log               *slog.Logger
	reloads           chan chan error
	last              []byte // what was read last, good or bad
	seen              []byte // a change that must show itself a second time
	failed            string // why the file could last not be read; "" if it could
	settle, lookAgain time.Duration
}

// NewWatcher makes a watcher for a configuration file. Load comes first, then
// Run.
func NewWatcher(path string, log *slog.Logger) *Watcher {
	return &Watcher{
		Observe: func(bool) {}, path: path, log: log, reloads: make(chan chan error), settle: settle, lookAgain: lookAgain,
	}
}

// LogTo changes where the watcher logs to, between Load and Run: how to log is
// one of the things that the file says.
func (w *Watcher) LogTo(log *slog.Logger) { w.log = log }

// Load is the function Load, and remembers what it read, so that a change
// between Load and Run isn't missed.
func (w *Watcher) Load() (*Config, error) {
	absolute, data, err := readFile(w.path)
	if err != nil {
		return nil, err
	}
	w.last = data
	return parse(w.path, filepath.Dir(absolute), data)
}

// Run calls apply for each valid change of the file, until ctx ends. What is
// wrong with a file, or why apply refused it, is logged, and the configuration
// before it is taken to stay in force. Apply is called from one goroutine.
func (w *Watcher) Run(ctx context.Context, apply func(*Config) error) error {
	events := w.events()
	defer events.close()
	settled := time.NewTimer(0) // begins the watch, and finds changes since Load
	again := time.NewTicker(w.lookAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events.Events:
			if events.concerns(event) {
				settled.Reset(w.settle)
			}
		case <-events.Errors: // events were lost
			settled.Reset(w.settle)
		case <-settled.C:
			events.watch(w.path)
			if w.look(apply) {
				settled.Reset(w.settle)
			}
		case <-again.C:
			settled.Reset(w.settle)
		case answer := <-w.reloads:
			answer <- w.reload(apply)
		}
	}
}

// Reload has Run read the file at once, and apply it even if it is the same as
// before. It returns what Run logs: why the file is not in force, or nil.
func (w *Watcher) Reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case w.reloads <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look reads the file, and applies a change that it sees the second time. It
// reports whether it must look again soon.
func (w *Watcher) look(apply func(*Config) error) (again bool) {
	absolute, data, err := readFile(w.path)
	if err != nil {
		if err.Error() != w.failed {
			w.refused(err)
		}
		w.failed, w.seen = err.Error(), nil
		return false
	}
	w.failed = ""
	switch {
	case bytes.Equal(data, w.last):
		w.seen = nil
		return false
	case w.seen == nil || !bytes.Equal(data, w.seen):
		w.seen = append([]byte{}, data...) // not nil, even of an empty file
		return true
	}
	_ = w.use(absolute, data, apply) // logged
	return false
}

// reload reads and applies the file without any doubt.
func (w *Watcher) reload(apply func(*Config) error) error {
	absolute, data, err := readFile(w.path)
	if err != nil {
		w.refused(err)
		w.failed = err.Error()
		return err
	}
	return w.use(absolute, data, apply)
}

func (w *Watcher) use(absolute string, data []byte, apply func(*Config) error) error {
	w.last, w.seen, w.failed = data, nil, ""
	c, err := parse(w.path, filepath.Dir(absolute), data)
	if err == nil {
		err = apply(c)
	}
	if err != nil {
		w.refused(err)
		return err
	}
	for _, warning := range c.Warnings {
		w.log.Warn("configuration", "step", "config", "outcome", "doubtful", "reason", warning)
	}
	w.Observe(true)
	w.log.Info("configuration", "step", "config", "outcome", "in force", "reason", w.path+" was read again")
	return nil
}

// refused logs each error in a line of its own.
func (w *Watcher) refused(err error) {
	w.Observe(false)
	reasons := []error{err}
	var all Errors
	if errors.As(err, &all) {
		reasons = all.Unwrap()
	}
	for _, reason := range reasons {
		w.log.Error("configuration", "step", "config", "outcome", "refused", "reason", reason.Error())
	}
	w.log.Warn("configuration", "step", "config", "outcome", "unchanged",
		"reason", "the configuration before this change stays in force; `ravenboot check` tells when the file is right")
}

// fileEvents is the file system's news about the places on the way to a file.
// Without inotify its channels are nil, and stay silent.
type fileEvents struct {
	*fsnotify.Watcher
	places map[string]bool
}

func (w *Watcher) events() *fileEvents {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("configuration", "step", "config", "outcome", "watched by reading",
			"reason", "no file events ("+err.Error()+"); changes are seen within "+w.lookAgain.String())
		fs = new(fsnotify.Watcher)
		return &fileEvents{Watcher: fs}
	}
	return &fileEvents{Watcher: fs}
}

func (e *fileEvents) close() {
	if e.Events != nil {
		_ = e.Close() // nothing to do about it
	}
}

// watch looks after every place where the way to the file can change. The
// directories are watched, because a file that is renamed over or a link that
// is swapped takes a watch of its own along.
func (e *fileEvents) watch(path string) {
	e.places = make(map[string]bool)
	for _, place := range placesOnTheWay(path) {
		e.places[place] = true
		if e.Events != nil {
			// A directory that can't be watched is read every lookAgain.
			_ = e.Add(filepath.Dir(place))
		}
	}
}

func (e *fileEvents) concerns(event fsnotify.Event) bool { return e.places[event.Name] }
