package nixcache

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/nar/nartest"
)

// publish copies paths into a directory, as an administrator does.
func (s *nixStore) publish(t testing.TB, dir, parameters string, paths ...string) {
	t.Helper()
	argv := []string{"nix", "copy", "--extra-experimental-features", "nix-command", "--to", "file://" + dir + parameters}
	s.run(t, append(argv, paths...)...)
}

func dirConfig(t testing.TB, dir string) Config {
	t.Helper()
	return Config{Dir: dir, StateDir: filepath.Join(t.TempDir(), "state"), KeyName: "lab-1", NixStore: "/nowhere/nix-store"}
}

// Every compression that Nix 2.8 writes reaches a client, from a server without
// Nix.
func TestNixFetchesFromReadyDir(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 3)
	closure := store.closure(t, toplevel)
	other := store.build(t, "other", "not on offer", 0)
	for _, compression := range []string{"xz", "none", "zstd", "bzip2", "gzip", "br"} {
		dir := t.TempDir()
		store.publish(t, dir, "?compression="+compression, toplevel, other)
		s := serve(t, dirConfig(t, dir), slog.New(slog.DiscardHandler), toplevel)
		s.await(t, closure...)
		for nix, tools := range nixes(t) {
			t.Run(compression+", "+nix, func(t *testing.T) { s.judge(t, store, tools, toplevel, closure, other) })
		}
	}
}

// What a current Nix writes is read as well.
func TestReadyDirOfEachNix(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 2)
	closure := store.closure(t, toplevel)
	for nix, tools := range nixes(t) {
		t.Run(nix, func(t *testing.T) {
			c := store.client(t)
			c.tools = tools
			dir := t.TempDir()
			if _, err := c.nix("", "nix", "copy", "--to", "file://"+dir, toplevel); err != nil {
				t.Fatal(err)
			}
			s := serve(t, dirConfig(t, dir), slog.New(slog.DiscardHandler), toplevel)
			s.await(t, closure...)
			if _, err := c.nix(s.PublicKey(), "nix", "copy", "--from", s.url, "--to", c.url(), toplevel); err != nil {
				t.Fatal(err)
			}
			c.verify(t, closure...)
		})
	}
}

// Who trusts the key that the directory was signed with needs no other.
func TestReadyDirKeepsSignatures(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 1)
	closure := store.closure(t, toplevel)
	keys, dir := t.TempDir(), t.TempDir()
	builder, err := OpenKey(keys, "builder-1")
	if err != nil {
		t.Fatal(err)
	}
	store.publish(t, dir, "?secret-key="+filepath.Join(keys, KeyFile), toplevel)
	s := serve(t, dirConfig(t, dir), slog.New(slog.DiscardHandler), toplevel)
	s.await(t, closure...)
	for name, key := range map[string]string{"the builder's": builder.Public(), "the server's": s.PublicKey()} {
		t.Run(name, func(t *testing.T) {
			c := store.client(t)
			if _, err := c.nix(key, "nix", "copy", "--from", s.url, "--to", c.url(), toplevel); err != nil {
				t.Fatal(err)
			}
			c.verify(t, closure...)
		})
	}
}

func TestReadyDirIsFollowed(t *testing.T) {
	store := newNixStore(t)
	one, two := store.build(t, "lab", "one", 1), store.build(t, "lab", "two", 2)
	closureOne, closureTwo := store.closure(t, one), store.closure(t, two)
	dir := filepath.Join(t.TempDir(), "cache")
	var log journal
	s := serve(t, dirConfig(t, dir), log.logger(), one, two)
	said := func(text string) func() bool { return func() bool { return strings.Contains(log.String(), text) } }
	eventually(t, "the missing directory is logged", said("is no binary cache"))
	if got := status(t, s.url+"/nix-cache-info"); got != http.StatusServiceUnavailable {
		t.Errorf("nix-cache-info of a directory that isn't there: %d", got)
	}
	store.publish(t, dir, "", one)
	eventually(t, "the first system is there", func() bool { return status(t, s.url+narinfoOf(one)) == http.StatusOK })
	if got := status(t, s.url+narinfoOf(two)); got != http.StatusNotFound {
		t.Errorf("a system that is not in the directory: %d", got)
	}
	store.publish(t, dir, "", two)
	s.await(t, append(closureOne, closureTwo...)...)
	s.offer.set(two)
	s.await(t, closureTwo...)
	if got := status(t, s.url+narinfoOf(one)); got != http.StatusNotFound {
		t.Errorf("a system that is no longer on offer: %d", got)
	}
	// Copied again with another compression: clients are told of the new files.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	store.publish(t, dir, "?compression=none", two)
	eventually(t, "the new narinfo is served", func() bool {
		_, text := request(t, "GET", s.url+narinfoOf(two), nil)
		return strings.Contains(string(text), "Compression: none\n")
	})
}

// handmade is a directory whose narinfo no Nix has made.
type handmade struct {
	dir string
	listing
	nar []byte
}

func newHandmade(t testing.TB) *handmade {
	t.Helper()
	h := &handmade{dir: t.TempDir(), nar: bytes.Repeat([]byte("NAR "), 1<<20)}
	h.facts = facts{base: nartest.Base, narHash: [32]byte{1}, narSize: 123456}
	h.url, h.compression = "nar/file.nar.xz", "xz"
	h.fileHash, h.fileSize = new([32]byte{2}), int64(len(h.nar))
	h.write(t, "nix-cache-info", []byte("StoreDir: /nix/store\n"))
	h.write(t, "nar/file.nar.xz", h.nar)
	return h
}

func (h *handmade) write(t testing.TB, name string, content []byte) {
	t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (h *handmade) writeNarinfo(t testing.TB) {
	t.Helper()
	h.write(t, nartest.Base[:hashLength]+".narinfo", h.text("/nix/store"))
}

func TestReadyDirRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	narinfo := nartest.Base[:hashLength] + ".narinfo"
	for name, test := range map[string]struct {
		spoil func(h *handmade) error
		want  string
	}{
		"a URL with dots":      {func(h *handmade) error { h.url = "nar/../../x"; return nil }, "escapes"},
		"an absolute URL":      {func(h *handmade) error { h.url = outside; return nil }, "escapes"},
		"a URL of a directory": {func(h *handmade) error { h.url = "nar"; return nil }, "no regular file"},
		"no file":              {func(h *handmade) error { h.url = "nar/none"; return nil }, "no such file"},
		"a link out": {func(h *handmade) error {
			h.url = "nar/link"
			return os.Symlink(outside, filepath.Join(h.dir, h.url))
		}, "escapes"},
		"a pipe": {func(h *handmade) error {
			h.url = "nar/pipe"
			return syscall.Mkfifo(filepath.Join(h.dir, h.url), 0o644)
		}, "no regular file"},
		"a file of another size": {func(h *handmade) error { h.fileSize--; return nil }, "the narinfo says"},
		"a compression that nobody knows": {func(h *handmade) error {
			h.compression = "rar"
			return nil
		}, "compression"},
		"another path's narinfo": {func(h *handmade) error {
			h.base = "11bgd045z0d4icpbc2yyz4gx48ak44la-other"
			return nil
		}, "is the narinfo of"},
		"a reference that is missing": {func(h *handmade) error {
			h.references = []string{"11bgd045z0d4icpbc2yyz4gx48ak44la-other"}
			return nil
		}, "11bgd045z0d4icpbc2yyz4gx48ak44la-other is not in the cache"},
		"a narinfo that is a link out": {func(h *handmade) error {
			return os.Symlink(outside, filepath.Join(h.dir, narinfo))
		}, "escapes"},
		"a huge narinfo": {func(h *handmade) error {
			h.ca = strings.Repeat("x", 2*maxNarinfo)
			return nil
		}, "is longer than"},
		"a cache of another store": {func(h *handmade) error {
			return os.WriteFile(filepath.Join(h.dir, "nix-cache-info"), []byte("StoreDir: /elsewhere\n"), 0o644)
		}, "is not in the store /elsewhere"},
		"no nix-cache-info": {func(h *handmade) error {
			return os.Remove(filepath.Join(h.dir, "nix-cache-info"))
		}, "nix copy --to file://"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandmade(t)
			if err := test.spoil(h); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(h.dir, narinfo)); err != nil {
				h.writeNarinfo(t)
			}
			c, err := New(dirConfig(t, h.dir), &offer{toplevels: []string{"/nix/store/" + nartest.Base}}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			c.source.refresh()
			if _, err := c.source.closure(t.Context(), "/nix/store/"+nartest.Base); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func (h *handmade) serve(t testing.TB) *served {
	t.Helper()
	h.writeNarinfo(t)
	s := serve(t, dirConfig(t, h.dir), slog.New(slog.DiscardHandler), "/nix/store/"+nartest.Base)
	s.await(t, nartest.Base)
	return s
}

func TestReadyDirAnswers(t *testing.T) {
	h := newHandmade(t)
	s := h.serve(t)
	file := h.resource().String()
	if !strings.HasSuffix(file, ".nar.xz") {
		t.Fatal(file)
	}
	tag := h.resource().tag()
	for _, test := range []struct {
		method, path string
		header       http.Header
		status       int
		body         []byte
	}{
		{"GET", file, nil, 200, h.nar},
		{"HEAD", file, nil, 200, nil},
		{"GET", file, http.Header{"Range": {"bytes=3000000-"}}, 206, h.nar[3000000:]},
		{"GET", file, http.Header{"Range": {"bytes=7-8"}, "If-Range": {`"x"`}}, 200, h.nar},
		{"GET", file, http.Header{"If-None-Match": {tag}}, 304, nil},
		{"POST", file, nil, 405, nil},
		{"GET", strings.TrimSuffix(file, ".xz"), nil, 404, nil},
		{"GET", "/nar/file.nar.xz", nil, 404, nil},
		{"GET", "/nar/../nix-cache-info", nil, 404, nil},
		{"GET", "/nix-cache-info", nil, 200, []byte("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n")},
	} {
		r, body := request(t, test.method, s.url+test.path, test.header)
		if r.StatusCode != test.status || test.body != nil && !bytes.Equal(body, test.body) {
			t.Errorf("%s %s %v: %s, %d bytes", test.method, test.path, test.header, r.Status, len(body))
		}
		if test.path == file && r.StatusCode == 200 {
			if r.ContentLength != int64(len(h.nar)) || r.Header.Get("Accept-Ranges") != "bytes" || r.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s: %d bytes, %v", test.path, r.ContentLength, r.Header)
			}
		}
	}
	// What is deleted while it is on offer is refused, not half served.
	if err := os.Remove(filepath.Join(h.dir, h.url)); err != nil {
		t.Fatal(err)
	}
	if got := status(t, s.url+file); got != http.StatusNotFound {
		t.Errorf("a file that was deleted: %d", got)
	}
}

// A change is seen by looking at the directory alone.
func TestReadyDirChanged(t *testing.T) {
	h := newHandmade(t)
	c, err := New(dirConfig(t, h.dir), &offer{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first.narinfo", "second.narinfo"} {
		c.source.refresh()
		if c.source.changed() {
			t.Fatal("a change where there was none")
		}
		time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
		h.write(t, name, nil)
		if !c.source.changed() {
			t.Errorf("%s was not seen", name)
		}
	}
}

// fileTaker is a response that sees what it is given to read from.
type fileTaker struct {
	*httptest.ResponseRecorder
	files int
}

func (w *fileTaker) ReadFrom(from io.Reader) (int64, error) {
	if limited, ok := from.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			w.files++
		}
	}
	return io.Copy(w.ResponseRecorder, from)
}

// Nothing between net/http and the file hides the one from the other, so that
// the kernel can copy.
func TestReadyDirSendfile(t *testing.T) {
	h := newHandmade(t)
	s := h.serve(t)
	w := &fileTaker{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, httptest.NewRequest("GET", h.resource().String(), nil))
	if w.files == 0 || !bytes.Equal(w.Body.Bytes(), h.nar) {
		t.Errorf("%d bytes, %d of the reads from a file", w.Body.Len(), w.files)
	}
}

func TestReadyDirSigns(t *testing.T) {
	h := newHandmade(t)
	h.signatures = []string{"another-1:" + strings.Repeat("A", 86) + "=="}
	h.ca = "fixed:r:sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d"
	s := h.serve(t)
	_, text := request(t, "GET", s.url+"/"+nartest.Base[:hashLength]+".narinfo", nil)
	got, err := parseListing(text, "/nix/store", nartest.Base[:hashLength])
	if err != nil {
		t.Fatal(err)
	}
	if got.url != strings.TrimPrefix(h.resource().String(), "/") || got.ca != h.ca || got.fileSize != h.fileSize {
		t.Errorf("%s", text)
	}
	if len(got.signatures) != 2 || got.signatures[0] != h.signatures[0] {
		t.Fatalf("signatures %q", got.signatures)
	}
	public, err := signature.ParsePublicKey(s.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signature.ParseSignature(got.signatures[1])
	if err != nil || !public.Verify(h.fingerprint("/nix/store"), signed) {
		t.Errorf("%v; the signature is not that of %s", err, h.fingerprint("/nix/store"))
	}
}

func TestParseListing(t *testing.T) {
	hash := nartest.Base[:hashLength]
	good := "StorePath: /nix/store/" + nartest.Base + "\nURL: nar/x.nar.xz\nCompression: xz\n" +
		"FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d\nFileSize: 114980\n" +
		"NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6\nNarSize: 464152\n" +
		"References: 11bgd045z0d4icpbc2yyz4gx48ak44la-b 10bgd045z0d4icpbc2yyz4gx48ak44la-a 10bgd045z0d4icpbc2yyz4gx48ak44la-a\n" +
		"Deriver: unknown-deriver\nNewInNix99: a: b\nSig: a-1:AAAA\nSig: b-1:AAAA\n"
	l, err := parseListing([]byte(good), "/nix/store", hash)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"10bgd045z0d4icpbc2yyz4gx48ak44la-a", "11bgd045z0d4icpbc2yyz4gx48ak44la-b"}
	if !slices.Equal(l.references, want) || l.deriver != "" || len(l.signatures) != 2 || l.fileSize != 114980 {
		t.Errorf("%+v", l)
	}
	if old, err := parseListing([]byte(strings.Replace(good, "Compression: xz\n", "", 1)), "/nix/store", hash); err != nil || old.compression != "bzip2" {
		t.Errorf("without Compression: %+v, %v", old, err)
	}
	for name, change := range map[string][2]string{
		"not a narinfo":               {good, "<html>"},
		"no URL":                      {"URL: nar/x.nar.xz\n", ""},
		"an empty URL":                {"URL: nar/x.nar.xz", "URL: "},
		"a URL with blanks":           {"nar/x.nar.xz", "nar/x y"},
		"no NarHash":                  {"NarHash", "NarHush"},
		"SHA-1":                       {"sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6", "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"},
		"a short hash":                {"sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", "sha256:1094"},
		"a size below zero":           {"NarSize: 464152", "NarSize: -1"},
		"two sizes":                   {"NarSize: 464152", "NarSize: 464152\nNarSize: 464153"},
		"another store":               {"/nix/store/", "/gnu/store/"},
		"a reference with a slash":    {"48ak44la-b", "48ak44la-b/../x"},
		"a deriver with a slash":      {"unknown-deriver", "../../x.drv"},
		"a signature with blanks":     {"b-1:AAAA", "b-1:AA AA"},
		"none with a file of its own": {"Compression: xz", "Compression: none"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if l, err := parseListing([]byte(text), "/nix/store", hash); err == nil {
			t.Errorf("%s: taken as %+v", name, l)
		}
	}
	if _, err := parseListing([]byte(good+strings.Repeat("Sig: a-1:AAAA\n", maxSignatures)), "/nix/store", hash); err == nil {
		t.Error("any number of signatures is taken")
	}
}

// What is taken from a narinfo is what clients are told.
func FuzzParseListing(f *testing.F) {
	h := newHandmade(f)
	f.Add(h.text("/nix/store"))
	h.compression, h.fileHash, h.fileSize = CompressionNone, nil, 0
	h.signatures, h.ca, h.deriver = []string{"a-1:AAAA"}, "text:sha256:0", nartest.Base+".drv"
	h.references = []string{nartest.Base}
	f.Add(h.text("/nix/store"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseListing(text, "/nix/store", nartest.Base[:hashLength])
		if err != nil {
			return
		}
		written := l.text("/nix/store")
		again, err := parseListing(written, "/nix/store", nartest.Base[:hashLength])
		if err != nil || !bytes.Equal(again.text("/nix/store"), written) {
			t.Errorf("%q became %q, %v", text, written, err)
		}
	})
}

func FuzzParseCacheInfo(f *testing.F) {
	f.Add([]byte("StoreDir: /nix/store\nWantMassQuery: 1\n"))
	f.Add([]byte("StoreDir: ../x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir, err := parseCacheInfo(text)
		if err != nil {
			return
		}
		if again, err := parseCacheInfo([]byte("StoreDir: " + dir + "\n")); err != nil || again != dir {
			t.Errorf("%q was read as %q", text, dir)
		}
	})
}
