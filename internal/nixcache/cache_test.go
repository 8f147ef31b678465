package nixcache

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ravenboot/internal/nar/nartest"
)

// journal gathers a log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal("in a minute not: " + what)
}

func status(t testing.TB, url string) int {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // so that the connection is used again
		t.Fatal(err)
	}
	return r.StatusCode
}

func narinfoOf(path string) string { return "/" + filepath.Base(path)[:hashLength] + ".narinfo" }

// tool is a nix-store that counts its calls, and fails while a file is there.
func tool(t testing.TB) (path, calls, broken string) {
	t.Helper()
	dir := t.TempDir()
	path, calls, broken = filepath.Join(dir, "nix-store"), filepath.Join(dir, "calls"), filepath.Join(dir, "broken")
	script := "#!/bin/sh\necho \"$1\" >> " + calls + "\nif [ -e " + broken + " ]; then echo 'error: the disk is on fire' >&2; exit 1; fi\nexec nix-store \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, calls, broken
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func TestCacheFollowsTheOffer(t *testing.T) {
	store := newNixStore(t)
	one, two := store.build(t, "lab", "one", 2), store.build(t, "lab", "two", 3)
	closureOne, closureTwo := store.closure(t, one), store.closure(t, two)
	config := store.config(t)
	var calls string
	config.NixStore, calls, _ = tool(t)
	s := serve(t, config, slog.New(slog.DiscardHandler), one)
	s.await(t, closureOne...)
	if got := status(t, s.url+narinfoOf(two)); got != http.StatusNotFound {
		t.Errorf("a path that is not on offer, but in the store: %d", got)
	}
	s.offer.set(two, one)
	s.await(t, append(closureOne, closureTwo...)...)
	s.offer.set(two)
	s.await(t, closureTwo...)
	if got := status(t, s.url+narinfoOf(one)); got != http.StatusNotFound {
		t.Errorf("a path that is no longer on offer: %d", got)
	}
	s.offer.set()
	s.await(t)
	if got := strings.Fields(read(t, calls)); len(got) != 4 {
		t.Errorf("nix-store was called %q, want two calls for each system", got)
	}
}

func TestRestartAsksNothing(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "one", 2)
	closure := store.closure(t, toplevel)
	config := store.config(t)
	first := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
	first.await(t, closure...)
	file := filepath.Join(config.StateDir, FactsFile)
	eventually(t, "the facts are saved", func() bool { return read(t, file) != "" })
	key := first.PublicKey()
	first.stop()

	var calls string
	config.NixStore, calls, _ = tool(t)
	second := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
	second.await(t, closure...)
	if got := read(t, calls); got != "" {
		t.Errorf("after a restart nix-store was called: %s", got)
	}
	if second.PublicKey() != key {
		t.Error("a restart made another key")
	}
	second.stop()

	for name, damage := range map[string]string{
		"cut short":      read(t, file)[:len(read(t, file))-20],
		"empty":          "",
		"another store":  strings.Replace(read(t, file), store.dir, "/elsewhere", 1),
		"another form":   strings.Replace(read(t, file), `"version":1`, `"version":2`, 1),
		"a path too far": strings.Replace(read(t, file), `"path":"`, `"path":"../`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			third := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
			third.await(t, closure...)
			third.stop()
			if read(t, calls) == "" {
				t.Error("nix-store was not asked")
			}
			_ = os.Remove(calls)
		})
	}
}

// A path that was deleted and built again may have another content.
func TestRebuiltPathIsAskedAgain(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "one", 1)
	closure := store.closure(t, toplevel)
	config := store.config(t)
	first := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
	first.await(t, closure...)
	first.stop()
	store.run(t, "nix-store", "--delete", toplevel)
	if again := store.build(t, "lab", "one", 1); again != toplevel {
		t.Fatalf("%s became %s", toplevel, again)
	}
	var calls string
	config.NixStore, calls, _ = tool(t)
	second := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
	second.await(t, closure...)
	if got := strings.Fields(read(t, calls)); len(got) != 2 {
		t.Errorf("nix-store was called %q, want twice", got)
	}
}

func TestUnknownClosures(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "one", 1)
	config := store.config(t)
	var broken string
	config.NixStore, _, broken = tool(t)
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log journal
	absent := filepath.Join(store.store(), nartest.Base)
	s := serve(t, config, log.logger(), absent, "/srv/lab/lab-1", toplevel)
	said := func(text string) func() bool { return func() bool { return strings.Contains(log.String(), text) } }
	eventually(t, "the tool's failure is logged", said("the disk is on fire"))
	eventually(t, "the missing toplevel is logged", said("not in this server's store"))
	eventually(t, "the toplevel elsewhere is logged", said("is not in the store"))
	if got := status(t, s.url+narinfoOf(toplevel)); got != http.StatusNotFound {
		t.Errorf("a path whose closure is not known: %d", got)
	}
	eventually(t, "the 404 is logged", said("systems on offer is not known"))
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is tried again", func() bool { return status(t, s.url+narinfoOf(toplevel)) == http.StatusOK })
	if n := strings.Count(log.String(), "the disk is on fire"); n != 1 {
		t.Errorf("the failure was logged %d times", n)
	}
}

func TestCacheIsOffWithoutNix(t *testing.T) {
	var log journal
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, Config{StateDir: state, NixStore: "/nowhere/nix-store"}, log.logger(), "/nix/store/"+nartest.Base)
	for _, path := range []string{"/nix-cache-info", "/" + nartest.Base[:hashLength] + ".narinfo"} {
		if got := status(t, s.url+path); got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
	if n := strings.Count(log.String(), "outcome=off"); n != 1 {
		t.Errorf("said %d times that it is off:\n%s", n, &log)
	}
	if s.PublicKey() != "" {
		t.Error("it has a key")
	}
}

func TestNewRefuses(t *testing.T) {
	for want, config := range map[string]Config{
		"absolute":    {StoreDir: "store"},
		"compression": {Compression: "xz"},
		"transfers":   {MaxTransfers: -1},
		"key name":    {KeyName: "a b", NixStore: "/bin/true"},
	} {
		config.StateDir = t.TempDir()
		if _, err := New(config, &offer{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", config, err, want)
		}
	}
}

// Requests and changes of the offer at once, for the race detector.
func TestChangesUnderLoad(t *testing.T) {
	store := newNixStore(t)
	one, two := store.build(t, "lab", "one", 2), store.build(t, "lab", "two", 1)
	closureOne, closureTwo := store.closure(t, one), store.closure(t, two)
	s := serve(t, store.config(t), slog.New(slog.DiscardHandler), one)
	s.await(t, closureOne...)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var answered atomic.Int64
	for _, path := range []string{one, two, closureOne[0]} {
		group.Go(func() {
			for ctx.Err() == nil {
				if got := status(t, s.url+narinfoOf(path)); got == http.StatusOK {
					answered.Add(1)
				}
			}
		})
	}
	for range 3 {
		s.offer.set(two)
		s.await(t, closureTwo...)
		s.offer.set(one, two)
		s.await(t, append(closureOne, closureTwo...)...)
	}
	cancel()
	group.Wait()
	if answered.Load() == 0 {
		t.Error("nothing was served")
	}
}
