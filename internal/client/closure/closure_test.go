package closure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"golang.org/x/sys/unix"
)

// bench is a server's store with its cache, and a machine.
type bench struct {
	store  *nixStore
	cache  string // directory
	server *httptest.Server
	root   string
	key    signature.PublicKey
	secret string

	requests atomic.Int64
	before   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) http.ResponseWriter] // nil: it was answered
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{store: newNixStore(t), root: t.TempDir()}
	t.Cleanup(func() { removeStore(t, b.root) })
	b.cache = filepath.Join(b.store.dir, "cache")
	var public string
	b.secret, public = b.store.key(t, "lab-1")
	var err error
	if b.key, err = signature.ParsePublicKey(public); err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(b.cache))
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.requests.Add(1)
		if before := b.before.Load(); before != nil {
			if w = (*before)(w, r); w == nil {
				return
			}
		}
		if info, err := os.Stat(filepath.Join(b.cache, r.URL.Path)); err == nil {
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, info.ModTime().UnixNano()))
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(b.server.Close)
	return b
}

func (b *bench) hook(f func(w http.ResponseWriter, r *http.Request) http.ResponseWriter) {
	b.before.Store(&f)
}

// publish builds a system and copies it to the cache, signed.
func (b *bench) publish(t *testing.T, salt string, packages, own int, options string, more ...string) string {
	t.Helper()
	toplevel := b.store.build(t, salt, packages, own, more...)
	b.store.copyTo(t, b.cache, toplevel, "secret-key="+b.secret+"&"+options)
	return toplevel
}

// closureOf prepares the download of a system.
func (b *bench) closureOf(t *testing.T, toplevel string) *Closure {
	t.Helper()
	c, err := New(Config{
		Cache: b.server.URL, Root: b.root, Toplevel: toplevel,
		Keys: []signature.PublicKey{b.key}, Say: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) fetch(t *testing.T, toplevel string) *Closure {
	t.Helper()
	c := b.closureOf(t, toplevel)
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// system is what the machine's profile leads to.
func (b *bench) system(t *testing.T) string {
	t.Helper()
	link := filepath.Join(b.root, b.store.dir, "var/nix/profiles/system")
	name, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(filepath.Join(filepath.Dir(link), name))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestClosureArrives(t *testing.T) {
	for _, compression := range []string{"none", "zstd", "xz", "gzip", "bzip2"} {
		t.Run(compression, func(t *testing.T) {
			b := newBench(t)
			options := "compression=" + compression
			first := b.publish(t, "one", 12, 5000, options)
			c := b.fetch(t, first)
			b.store.verify(t, b.root, first)
			if p := c.Progress(); p.Paths != p.PathsTotal || p.Paths != len(b.store.closure(t, first)) || p.Bytes != p.BytesTotal {
				t.Errorf("at the end the progress is %+v", p)
			}

			b.requests.Store(0)
			if b.fetch(t, first); b.requests.Load() != 0 {
				t.Errorf("%d requests for a system that is there", b.requests.Load())
			}

			second := b.publish(t, "two", 13, 7000, options)
			want := len(b.store.closure(t, second)) - 12 // what both have
			if c := b.fetch(t, second); c.Progress().PathsTotal != want {
				t.Errorf("%d paths for the update, want %d", c.Progress().PathsTotal, want)
			}
			b.store.verify(t, b.root, second)
			if got := b.system(t); got != second {
				t.Errorf("the profile leads to %s", got)
			}

			b.requests.Store(0)
			if b.fetch(t, first); b.requests.Load() != 0 {
				t.Errorf("%d requests for the older system", b.requests.Load())
			}
			if got := b.system(t); got != first {
				t.Errorf("the profile leads to %s", got)
			}
			// Nix itself takes what it finds as its own, roots included.
			if out, err := b.store.nix(b.root, "nix-store", "--gc"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			b.store.verify(t, b.root, first)
			b.store.verify(t, b.root, second)
		})
	}
}

// altering answers with NARs in which a text was replaced by another.
func altering(b *bench, old, new string) func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	return func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		text, err := os.ReadFile(filepath.Join(b.cache, r.URL.Path))
		if err != nil || !strings.HasSuffix(r.URL.Path, ".nar") {
			return w
		}
		_, _ = w.Write(bytes.ReplaceAll(text, []byte(old), []byte(new)))
		return nil
	}
}

func TestClosureRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, b *bench)
		want  error
	}{
		"content altered":   {func(_ *testing.T, b *bench) { b.hook(altering(b, " after ", " aftex ")) }, ErrAltered},
		"structure altered": {func(_ *testing.T, b *bench) { b.hook(altering(b, "regular", "regulax")) }, ErrAltered},
		"a key of others": {func(t *testing.T, b *bench) {
			_, public := b.store.key(t, "lab-1-other")
			b.key, _ = signature.ParsePublicKey(public)
		}, ErrUntrusted},
		"another key of the same name": {func(t *testing.T, b *bench) {
			_, public := b.store.key(t, "lab-2")
			b.key, _ = signature.ParsePublicKey(strings.Replace(public, "lab-2", "lab-1", 1))
		}, ErrUntrusted},
		"unsigned": {func(t *testing.T, b *bench) {
			editNarinfos(t, b, func(line string) bool { return !strings.HasPrefix(line, "Sig:") })
		}, ErrUntrusted},
		"references altered": {func(t *testing.T, b *bench) {
			editNarinfos(t, b, func(line string) bool { return !strings.HasPrefix(line, "References:") })
		}, ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publish(t, "one", 5, 5000, "compression=none")
			test.spoil(t, b)
			err := b.closureOf(t, toplevel).Run(t.Context())
			if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			if !strings.Contains(err.Error(), "-package-") && !strings.Contains(err.Error(), "-nixos-system-lab") {
				t.Errorf("%v names no path", err)
			}
			if _, err := b.store.nix(b.root, "nix-store", "--check-validity", toplevel); err == nil {
				t.Error("it is registered all the same")
			}
			b.before.Store(nil)
		})
	}
}

// editNarinfos keeps those lines of all narinfos that it is told to.
func editNarinfos(t *testing.T, b *bench, keep func(line string) bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.cache, "*.narinfo"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return !keep(line) })
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// cutter ends a connection after so many bytes, so many times.
type cutter struct {
	http.ResponseWriter
	left  int
	times *atomic.Int64
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left && c.times.Add(-1) >= 0 {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestClosureOutlastsLostConnections(t *testing.T) {
	for _, compression := range []string{"none", "xz"} {
		t.Run(compression, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publish(t, "one", 3, 900_000, "compression="+compression)
			var ranges, times, narinfos atomic.Int64
			times.Store(2)
			b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
				if r.Header.Get("Range") != "" {
					ranges.Add(1)
				}
				if strings.Contains(r.URL.Path, "/nar/") {
					return &cutter{w, 100_000, &times}
				}
				if narinfos.Add(1) == 2 {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(http.StatusServiceUnavailable)
					return nil
				}
				return w
			})
			b.fetch(t, toplevel)
			b.store.verify(t, b.root, toplevel)
			if times.Load() > 0 {
				t.Error("nothing was cut")
			}
			if got := ranges.Load(); compression == "none" && got != 2 {
				t.Errorf("%d downloads were gone on with, want 2", got)
			}
		})
	}
}

func TestClosureGoesOnAfterAPowerCut(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 30, 5000, "compression=none")
	ctx, cut := context.WithCancel(t.Context())
	var nars atomic.Int64
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if strings.Contains(r.URL.Path, "/nar/") && nars.Add(1) == 20 {
			cut()
		}
		return w
	})
	if err := b.closureOf(t, toplevel).Run(ctx); err == nil {
		t.Fatal("it wasn't cut")
	}
	if _, err := b.store.nix(b.root, "nix-store", "--check-validity", toplevel); err == nil {
		t.Error("half a closure is registered")
	}
	// What a power cut leaves of a file that was not yet on the disk.
	placed, err := filepath.Glob(filepath.Join(b.root, b.store.dir, "store", "*-package-*"))
	if err != nil || len(placed) < 5 {
		t.Fatal(placed, err)
	}
	if err := os.Truncate(filepath.Join(placed[0], "readme"), 0); err != nil {
		t.Fatal(err)
	}
	nars.Store(1000)
	b.fetch(t, toplevel)
	if got, most := nars.Load()-1000, int64(31-len(placed)+1); got > most {
		t.Errorf("%d NARs were fetched again, want at most %d", got, most)
	}
	b.store.verify(t, b.root, toplevel)
}

// A file system can lose what its journal didn't have, behind the database's
// back.
func TestClosureBringsBackWhatIsLost(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 3, 5000, "compression=none")
	b.fetch(t, toplevel)
	removeStore(t, filepath.Join(b.root, toplevel))
	if got := b.fetch(t, toplevel).Progress().Paths; got != 1 {
		t.Errorf("%d paths fetched, want the lost one", got)
	}
	b.store.verify(t, b.root, toplevel)
}

// onSmallDisk gives the machine a file system with options of tmpfs.
func (b *bench) onSmallDisk(t *testing.T, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", b.root, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount: %v (run as root, or by scripts/as-root.sh)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(b.root, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestClosurePrunesWhatIsOld(t *testing.T) {
	b := newBench(t)
	b.onSmallDisk(t, "size=170M")
	var systems []string
	for _, salt := range []string{"one", "two", "three", "four"} {
		systems = append(systems, b.publish(t, salt, 3, 30_000_000, "compression=none"))
		b.fetch(t, systems[len(systems)-1])
	}
	b.store.verify(t, b.root, systems[3])
	for i, there := range []bool{false, true, true, true} {
		_, err := b.store.nix(b.root, "nix-store", "--check-validity", systems[i])
		if (err == nil) != there {
			t.Errorf("system %d: %v, want it there: %v", i+1, err, there)
		}
	}
}

func TestClosureSaysThatTheDiskIsTooSmall(t *testing.T) {
	b := newBench(t)
	b.onSmallDisk(t, "size=100M")
	small := b.publish(t, "small", 3, 1000, "compression=none")
	b.fetch(t, small)
	large := b.publish(t, "large", 3, 60_000_000, "compression=none")
	err := b.closureOf(t, large).Run(t.Context())
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "larger disk") {
		t.Fatal(err)
	}
	// Files of a byte take a block each: no cache tells that beforehand.
	if _, err := b.store.nix(b.root, "nix-store", "--verify", "--check-contents"); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	key, err := signature.ParsePublicKey("lab-1:" + strings.Repeat("A", 43) + "=")
	if err != nil {
		t.Fatal(err)
	}
	const system = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-nixos-system-lab"
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no key":      {Config{Cache: "http://192.0.2.1/cache", Toplevel: system}, "no public key"},
		"no cache":    {Config{Toplevel: system, Keys: []signature.PublicKey{key}}, "not the http URL"},
		"other cache": {Config{Cache: "file:///srv", Toplevel: system, Keys: []signature.PublicKey{key}}, "not the http URL"},
		"no path":     {Config{Cache: "http://192.0.2.1/cache", Toplevel: "/nix/store/x", Keys: []signature.PublicKey{key}}, "no store path"},
		"a link":      {Config{Cache: "http://192.0.2.1/cache", Toplevel: filepath.Base(system), Keys: []signature.PublicKey{key}}, "no store path"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestToplevelOf(t *testing.T) {
	const system = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-nixos-system-lab"
	if got, err := ToplevelOf(system + "/init"); err != nil || got != system {
		t.Errorf("%q, %v", got, err)
	}
	for _, init := range []string{"", "/sbin/init", system, "/nix/store/../etc/init", system + "/../x/init"} {
		if got, err := ToplevelOf(init); err == nil {
			t.Errorf("init=%s gives %q", init, got)
		}
	}
}

func TestPauseGivesUp(t *testing.T) {
	c, err := newCache("http://127.0.0.1:1", 1, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	c.patience = time.Millisecond
	if err := c.text(t.Context(), "x.narinfo", func([]byte) error { return nil }); err == nil {
		t.Error("no error from a server that isn't there")
	}
}

// TestNixEngine has the real Nix do the download.
func TestNixEngine(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"NIX_STATE_DIR", "NIX_LOG_DIR", "NIX_CONF_DIR", "HOME"} {
		t.Setenv(name, filepath.Join(b.store.dir, "client", name))
	}
	toplevel := b.publish(t, "one", 3, 5000, "compression=zstd")
	var said bytes.Buffer
	if err := b.closureOf(t, toplevel).RunNix(t.Context(), &said); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	b.store.verify(t, b.root, toplevel)
	if got := b.system(t); got != toplevel {
		t.Errorf("the profile leads to %s", got)
	}
	_, public := b.store.key(t, "others-1")
	b.key, _ = signature.ParsePublicKey(public)
	other := b.publish(t, "two", 4, 5000, "compression=none")
	if err := b.closureOf(t, other).RunNix(t.Context(), &said); err == nil || !strings.Contains(said.String(), "signature") {
		t.Errorf("%v for paths that a key of others has signed; Nix said:\n%s", err, said.String())
	}
}

// TestNixEngineIsDurable: Nix is told to write paths to the disk before it says
// that they are valid.
func TestNixEngineIsDurable(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 1, 10, "compression=none")
	// A Nix that takes only what it was told to be sure of.
	dir := t.TempDir()
	const script = "#!/bin/sh\ncase \"$*\" in *' --option fsync-store-paths true '*) echo durable;; *) echo not durable;; esac\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "nix"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	var said bytes.Buffer
	if err := b.closureOf(t, toplevel).RunNix(t.Context(), &said); err == nil || said.String() != "durable\n" {
		t.Errorf("%v, %q", err, said.String())
	}
}
