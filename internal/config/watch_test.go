package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watched is a running Watcher, with what it applies and logs.
type watched struct {
	*Watcher
	applied chan string // titles of the menus
	log     *logLines
	refuse  chan error // what apply returns next, if anything
}

type logLines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(b)
}

// outcomes are outcome and reason of each line.
func (l *logLines) outcomes(t *testing.T) [][2]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all [][2]string
	for line := range strings.Lines(l.buffer.String()) {
		var fields struct{ Step, Outcome, Reason string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.Step != "config" {
			t.Fatal(line, err)
		}
		all = append(all, [2]string{fields.Outcome, fields.Reason})
	}
	return all
}

// startWatch loads path and watches it until the test ends.
func startWatch(t *testing.T, path string, change func(*Watcher)) *watched {
	t.Helper()
	w := &watched{applied: make(chan string, 100), refuse: make(chan error, 1), log: new(logLines)}
	w.Watcher = NewWatcher(path, slog.New(slog.NewJSONHandler(w.log, nil)))
	w.settle = 20 * time.Millisecond
	w.lookAgain = time.Hour // events only
	if _, err := w.Load(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(w.Watcher)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, w.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watched) apply(c *Config) error {
	select {
	case err := <-w.refuse:
		return err
	default:
		w.applied <- c.Boot.Menu.Title
		return nil
	}
}

// expect waits until a configuration with the title is in force; others must
// not come before it.
func (w *watched) expect(t *testing.T, title string) {
	t.Helper()
	select {
	case got := <-w.applied:
		if got != title {
			t.Fatalf("%q was applied, want %q", got, title)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%q was not applied; log: %q", title, w.log.outcomes(t))
	}
}

func titled(title string) string {
	return "[menu]\ntitle = \"" + title + "\"\n[[profile]]\nname = \"lab\"\npath = \"/lab\"\n"
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// replace writes beside and renames, so that nobody sees half a file.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	rename(t, path+".new", path)
}

// overwrite writes into a file of the same length.
func overwrite(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWatchChanges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lab.toml")
	write(t, path, titled("one"))
	w := startWatch(t, path, nil)

	overwrite(t, path, titled("two"))
	w.expect(t, "two")

	replace(t, path, titled("renamed"))
	w.expect(t, "renamed")

	rename(t, path, path+"~") // as editors keep a copy
	replace(t, path, titled("made anew"))
	w.expect(t, "made anew")

	replace(t, filepath.Join(dir, "another.toml"), titled("another"))
	replace(t, path, titled("made anew")) // no change
	replace(t, path, titled("last"))
	w.expect(t, "last")
}

// /etc/lab.toml -> /etc/static/lab.toml, and /etc/static -> the store.
func TestWatchNixOSLinks(t *testing.T) {
	root := t.TempDir()
	etc := filepath.Join(root, "etc")
	for _, dir := range []string{etc, filepath.Join(root, "store-1"), filepath.Join(root, "store-2")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "lab.toml"), titled(filepath.Base(dir)))
	}
	path := filepath.Join(etc, "lab.toml")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	link(t, "static/lab.toml", path)
	link(t, filepath.Join(root, "store-1"), filepath.Join(etc, "static"))

	want := []string{path, filepath.Join(etc, "static"), filepath.Join(root, "store-1", "lab.toml")}
	if diff := cmp.Diff(want, placesOnTheWay(path)); diff != "" {
		t.Error(diff)
	}
	w := startWatch(t, path, nil)
	link(t, "../store-2", filepath.Join(etc, "static.new"))
	rename(t, filepath.Join(etc, "static.new"), filepath.Join(etc, "static"))
	w.expect(t, "store-2")
	replace(t, filepath.Join(root, "store-2", "lab.toml"), titled("in the new place"))
	w.expect(t, "in the new place")
}

func TestPlacesOnTheWayEnd(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	link(t, "loop", loop)
	if got := placesOnTheWay(loop); len(got) > maxLinks+2 {
		t.Errorf("%d places", len(got))
	}
	absent := filepath.Join(dir, "a", "b", "c")
	if diff := cmp.Diff([]string{filepath.Join(dir, "a")}, placesOnTheWay(absent)); diff != "" {
		t.Error(diff)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.toml")
	write(t, path, titled("one"))
	w := startWatch(t, path, func(w *Watcher) { w.settle = time.Hour }) // no events
	ctx := context.Background()

	write(t, path, "[menus]\n[tftp]\nport = 69\n")
	var errs Errors
	if err := w.Reload(ctx); !errors.As(err, &errs) || len(errs) != 2 {
		t.Errorf("a wrong file gave %v", err)
	}
	write(t, path, titled("refused"))
	w.refuse <- errors.New("port 69 is taken")
	if err := w.Reload(ctx); err == nil || err.Error() != "port 69 is taken" {
		t.Errorf("what apply refused gave %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(ctx); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gave %v", err)
	}
	write(t, path, titled("good"))
	for range 2 { // the second time without a change
		if err := w.Reload(ctx); err != nil {
			t.Errorf("a good file gave %v", err)
		}
		w.expect(t, "good")
	}
	outcomes := w.log.outcomes(t)
	for i, want := range [][2]string{
		{"refused", path + ":1: menus: is no key; do you mean menu?"},
		{"refused", path + ":3: tftp.port: is no key here; it belongs in [dhcp]"},
		{"unchanged", "stays in force"},
		{"refused", "port 69 is taken"},
		{"unchanged", "stays in force"},
		{"refused", "no such file or directory"},
		{"unchanged", "stays in force"},
		{"in force", path},
		{"in force", path},
	} {
		if i >= len(outcomes) || outcomes[i][0] != want[0] || !strings.Contains(outcomes[i][1], want[1]) {
			t.Fatalf("line %d of the log is not %q: %q", i, want, outcomes)
		}
	}
}

// A bad file is reported once, and what comes after it is taken.
func TestWatchRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.toml")
	write(t, path, titled("one"))
	w := startWatch(t, path, func(w *Watcher) { w.lookAgain = 50 * time.Millisecond })
	replace(t, path, "[menus]\n")
	deadline := time.Now().Add(10 * time.Second)
	for len(w.log.outcomes(t)) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing was logged")
		}
		time.Sleep(time.Millisecond)
	}
	replace(t, path, titled("good"))
	w.expect(t, "good")
	refused := 0
	for _, line := range w.log.outcomes(t) {
		if line[0] == "refused" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d refusals: %q", refused, w.log.outcomes(t))
	}
}

// A file that was emptied to be written is not taken for a configuration
// without any keys.
func TestWatchWaitsForTheWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.toml")
	write(t, path, titled("one"))
	w := NewWatcher(path, slog.New(slog.DiscardHandler))
	if _, err := w.Load(); err != nil {
		t.Fatal(err)
	}
	var applied []string
	look := func(want bool) {
		t.Helper()
		again := w.look(func(c *Config) error { applied = append(applied, c.Boot.Menu.Title); return nil })
		if again != want {
			t.Errorf("must look again: %v, want %v", again, want)
		}
	}
	look(false)
	write(t, path, "")
	look(true)
	write(t, path, titled("two"))
	look(true)
	look(false)
	look(false)
	if diff := cmp.Diff([]string{"two"}, applied); diff != "" {
		t.Error(diff)
	}
}

// A change that came between Load and Run is seen without an event.
func TestWatchSeesEarlierChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.toml")
	write(t, path, titled("one"))
	w := startWatch(t, path, func(*Watcher) { write(t, path, titled("two")) })
	w.expect(t, "two")
}

// Where there are no events the file is read from time to time.
func TestWatchWithoutEvents(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "lab.toml")
	other := filepath.Join(dir, "b")
	for _, d := range []string{filepath.Dir(path), other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, titled("one"))
	write(t, filepath.Join(other, "lab.toml"), titled("two"))
	w := startWatch(t, path, func(w *Watcher) { w.lookAgain = 50 * time.Millisecond })
	// The watch goes away with the directory, and its parent isn't watched.
	rename(t, filepath.Dir(path), filepath.Join(dir, "old"))
	rename(t, other, filepath.Dir(path))
	w.expect(t, "two")
}

func TestReloadWithoutRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := NewWatcher("lab.toml", slog.New(slog.DiscardHandler))
	if err := w.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
