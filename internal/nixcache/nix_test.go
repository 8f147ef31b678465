package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ravenboot/internal/nar"
)

// nixStore is a Nix store of its own: Nix is the machine's, but nothing of the
// store is outside its directory.
type nixStore struct{ dir string }

func newNixStore(t testing.TB) *nixStore {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixcache")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeStore(t, dir) })
	return &nixStore{dir}
}

// removeStore deletes a store, whose directories are read-only.
func removeStore(t testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		t.Error(err)
	}
}

func (s *nixStore) store() string { return filepath.Join(s.dir, "store") }

func (s *nixStore) env() []string {
	return []string{
		"NIX_STATE_DIR=" + filepath.Join(s.dir, "var"), "NIX_LOG_DIR=" + filepath.Join(s.dir, "log"),
		"NIX_CONF_DIR=" + filepath.Join(s.dir, "etc"), "NIX_REMOTE=", "NIX_PATH=", "HOME=" + s.dir,
	}
}

func (s *nixStore) try(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), "NIX_STORE_DIR="+s.store()), s.env()...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w (apt-get install nix-bin, if it is missing)\n%s", strings.Join(argv, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (s *nixStore) run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := s.try(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// system is the expression of a toplevel that refers to itself and to packages,
// each of some files; the last refers to the first.
const system = `
{ name, salt, packages }:
let
  run = name: environment: script: derivation (environment // {
    inherit name;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-euc" ("PATH=/usr/bin:/bin; mkdir $out; cd $out;" + script) ];
  });
  package = n: run "package-${toString n}" { } ''
    mkdir bin
    echo "package ${toString n}, no executable" > readme
    printf '#!/bin/sh\n' > bin/run; chmod +x bin/run
    : > empty
    ln -s bin/run link; ln -s /etc/passwd out; ln -s "$out/readme" self
    head -c 300000 /dev/zero > zeros; seq 1 60000 > numbers
  '';
  all = builtins.genList package packages;
in
run "nixos-system-${name}" { inherit all salt; } ''
  printf '%s\n' $all > packages
  printf '%s' "$salt" > salt
  ln -s $out/salt init
''
`

// build makes a toplevel of so many packages, with a text of its own in it.
func (s *nixStore) build(t testing.TB, name, salt string, packages int) string {
	t.Helper()
	file := filepath.Join(s.dir, "system.nix")
	if err := os.WriteFile(file, []byte(system), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.run(t, "nix-build", "--no-out-link", file,
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false",
		"--argstr", "name", name, "--argstr", "salt", salt, "--arg", "packages", fmt.Sprint(packages))
}

// wide makes a toplevel of many small texts, which needs no builder for each.
func (s *nixStore) wide(t testing.TB, texts int) string {
	t.Helper()
	file := filepath.Join(s.dir, "wide.nix")
	expression := fmt.Sprintf(`derivation {
		name = "nixos-system-wide"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "cat $textsPath > $out" ];
		PATH = "/usr/bin:/bin"; passAsFile = [ "texts" ];
		texts = builtins.genList (n: builtins.toFile "text-${toString n}" "text ${toString n}") %d;
	}`, texts)
	if err := os.WriteFile(file, []byte(expression), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.run(t, "nix-build", "--no-out-link", file,
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false")
}

func (s *nixStore) closure(t testing.TB, path string) []string {
	t.Helper()
	return strings.Fields(s.run(t, "nix-store", "-qR", path))
}

// offer is a changeable Offer.
type offer struct {
	mu        sync.Mutex
	toplevels []string
}

func (o *offer) Toplevels() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.toplevels
}

func (o *offer) set(toplevels ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.toplevels = toplevels
}

// served is a Cache that runs, and its server.
type served struct {
	*Cache
	url   string
	offer *offer
	stop  func()
}

func (s *nixStore) config(t testing.TB) Config {
	return Config{StoreDir: s.store(), StateDir: filepath.Join(t.TempDir(), "state"), NixEnv: s.env(), KeyName: "lab-1"}
}

func serve(t testing.TB, config Config, log *slog.Logger, toplevels ...string) *served {
	t.Helper()
	return serveBehind(t, func(c http.Handler) http.Handler { return c }, config, log, toplevels...)
}

// serveBehind serves through a handler of the test's.
func serveBehind(t testing.TB, wrap func(http.Handler) http.Handler, config Config, log *slog.Logger, toplevels ...string) *served {
	t.Helper()
	s := &served{offer: &offer{toplevels: toplevels}}
	var err error
	if s.Cache, err = New(config, s.offer, log); err != nil {
		t.Fatal(err)
	}
	s.poll, s.retryMin = 10*time.Millisecond, 10*time.Millisecond
	server := httptest.NewServer(wrap(s.Cache))
	s.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		server.Close()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// await waits until the cache serves exactly these paths.
func (s *served) await(t testing.TB, paths ...string) {
	t.Helper()
	want := make([]string, 0, len(paths))
	for _, path := range paths {
		want = append(want, filepath.Base(path))
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var got []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got = got[:0]
		view := s.view.Load()
		for _, o := range view.objects {
			got = append(got, o.Base)
		}
		slices.Sort(got)
		if view.unknown == 0 && slices.Equal(got, want) {
			return
		}
	}
	t.Fatalf("the cache serves %q, want %q", got, want)
}

// client is a place that a system is fetched to, with a database of its own.
type client struct {
	*nixStore
	root  string
	tools string // directory of its nix and nix-store; "" takes the machine's
}

func (s *nixStore) client(t testing.TB) client {
	t.Helper()
	root, err := os.MkdirTemp("", "nixclient")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeStore(t, root) })
	return client{nixStore: s, root: root}
}

// currentNix is where `make .cache/nix/trixie` puts the tools of Debian 13's Nix.
const currentNix = "../../.cache/nix/trixie/bin"

// nixes are the tools that clients have: the machine's, and current ones.
func nixes(t testing.TB) map[string]string {
	t.Helper()
	current, err := filepath.Abs(currentNix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(current, "nix")); err != nil {
		t.Fatalf("%v; run: make .cache/nix/trixie", err)
	}
	return map[string]string{"Nix of this machine": "", "Nix of Debian 13": current}
}

func (c client) url() string { return "local?store=" + c.store() + "&root=" + c.root }

// nix runs a tool of Nix on the client's store, which trusts a key.
func (c client) nix(key string, argv ...string) (string, error) {
	if c.tools != "" {
		argv[0] = filepath.Join(c.tools, argv[0])
	}
	argv = append(argv, "--option", "trusted-public-keys", key, "--option", "narinfo-cache-negative-ttl", "0",
		"--option", "narinfo-cache-positive-ttl", "0", "--option", "build-users-group", "",
		"--option", "experimental-features", "nix-command")
	return c.try(argv...)
}

// verify says whether the client's store holds these paths, whole.
func (c client) verify(t testing.TB, paths ...string) {
	t.Helper()
	argv := []string{"nix-store", "--store", c.url(), "--verify-path"}
	if _, err := c.nix("", append(argv, paths...)...); err != nil {
		t.Error(err)
	}
}

func TestNixFetchesFromCache(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 3)
	closure := store.closure(t, toplevel)
	if len(closure) != 4 {
		t.Fatalf("a closure of %q", closure)
	}
	other := store.build(t, "other", "not on offer", 0)
	for _, compression := range []string{CompressionNone, CompressionZstd} {
		config := store.config(t)
		config.Compression = compression
		s := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
		s.await(t, closure...)
		for nix, tools := range nixes(t) {
			t.Run(compression+", "+nix, func(t *testing.T) { s.judge(t, store, tools, toplevel, closure, other) })
		}
	}
}

// judge has a Nix of these tools fetch a system that is on offer, and another
// path that isn't.
func (s *served) judge(t *testing.T, store *nixStore, tools, toplevel string, closure []string, other string) {
	key := s.PublicKey()
	client := func(t *testing.T) client {
		c := store.client(t)
		c.tools = tools
		return c
	}
	t.Run("nix copy", func(t *testing.T) {
		c := client(t)
		if _, err := c.nix(key, "nix", "copy", "--from", s.url, "--to", c.url(), toplevel); err != nil {
			t.Fatal(err)
		}
		c.verify(t, closure...)
	})
	t.Run("nix-store -r", func(t *testing.T) {
		c := client(t)
		if _, err := c.nix(key, "nix-store", "--store", c.url(), "-r", toplevel, "--option", "substituters", s.url); err != nil {
			t.Fatal(err)
		}
		c.verify(t, closure...)
	})
	t.Run("nix path-info", func(t *testing.T) {
		out, err := client(t).nix(key, "nix", "path-info", "--store", s.url, "-r", "--sigs", toplevel)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(out, "\n"); len(lines) != len(closure) || strings.Count(out, "lab-1:") != len(closure) {
			t.Errorf("path-info says\n%s", out)
		}
	})
	t.Run("another key", func(t *testing.T) {
		c := client(t)
		elsewhere, err := OpenKey(t.TempDir(), "lab-1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.nix(elsewhere.Public(), "nix", "copy", "--from", s.url, "--to", c.url(), toplevel)
		if err == nil || !strings.Contains(err.Error(), "signature") {
			t.Errorf("without trust in the key: %v", err)
		}
	})
	t.Run("not on offer", func(t *testing.T) {
		c := client(t)
		// Without its own substituters: it would ask them in vain.
		if _, err := c.nix(key, "nix", "copy", "--from", s.url, "--to", c.url(), other, "--option", "substituters", ""); err == nil {
			t.Error("a path that is not on offer was served")
		}
	})
}

// cutWriter breaks the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	if _, err := w.ResponseWriter.Write(p[:w.left]); err != nil {
		return 0, err
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Nix goes on where the connection was lost, because NARs have ranges.
func TestNixResumes(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 1)
	closure := store.closure(t, toplevel)
	var cut, resumed atomic.Int64
	cutting := func(cache http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Range") != "":
				resumed.Add(1)
			case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/nar/"):
				cut.Add(1)
				w = &cutWriter{w, 500}
			}
			cache.ServeHTTP(w, r)
		})
	}
	s := serveBehind(t, cutting, store.config(t), slog.New(slog.DiscardHandler), toplevel)
	s.await(t, closure...)
	for nix, tools := range nixes(t) {
		t.Run(nix, func(t *testing.T) {
			cut.Store(0)
			resumed.Store(0)
			c := store.client(t)
			c.tools = tools
			if _, err := c.nix(s.PublicKey(), "nix", "copy", "--from", s.url, "--to", c.url(), toplevel); err != nil {
				t.Fatal(err)
			}
			c.verify(t, closure...)
			if cut.Load() == 0 || resumed.Load() == 0 {
				t.Errorf("%d transfers were cut, %d resumed", cut.Load(), resumed.Load())
			}
		})
	}
}

func readNAR(t testing.TB, dir, base string) []byte {
	t.Helper()
	r := nar.NewReader(dir, base, 0)
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
