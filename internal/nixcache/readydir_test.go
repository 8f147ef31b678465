package nixcache

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/nar/nartest"
	"ravenboot/internal/narinfo"
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
	h.Facts = narinfo.Facts{Base: nartest.Base, NarHash: [32]byte{1}, NarSize: 123456}
	h.URL, h.Compression = "nar/file.nar.xz", "xz"
	h.FileHash, h.FileSize = new([32]byte{2}), int64(len(h.nar))
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
	h.write(t, nartest.Base[:hashLength]+".narinfo", h.Text("/nix/store"))
}

func TestReadyDirRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	file := nartest.Base[:hashLength] + ".narinfo"
	for name, test := range map[string]struct {
		spoil func(h *handmade) error
		want  string
	}{
		"a URL with dots":      {func(h *handmade) error { h.URL = "nar/../../x"; return nil }, "escapes"},
		"an absolute URL":      {func(h *handmade) error { h.URL = outside; return nil }, "escapes"},
		"a URL of a directory": {func(h *handmade) error { h.URL = "nar"; return nil }, "no regular file"},
		"no file":              {func(h *handmade) error { h.URL = "nar/none"; return nil }, "no such file"},
		"a link out": {func(h *handmade) error {
			h.URL = "nar/link"
			return os.Symlink(outside, filepath.Join(h.dir, h.URL))
		}, "escapes"},
		"a pipe": {func(h *handmade) error {
			h.URL = "nar/pipe"
			return syscall.Mkfifo(filepath.Join(h.dir, h.URL), 0o644)
		}, "no regular file"},
		"a file of another size": {func(h *handmade) error { h.FileSize--; return nil }, "the narinfo says"},
		"a compression that nobody knows": {func(h *handmade) error {
			h.Compression = "rar"
			return nil
		}, "compression"},
		"another path's narinfo": {func(h *handmade) error {
			h.Base = "11bgd045z0d4icpbc2yyz4gx48ak44la-other"
			return nil
		}, "is the narinfo of"},
		"a reference that is missing": {func(h *handmade) error {
			h.References = []string{"11bgd045z0d4icpbc2yyz4gx48ak44la-other"}
			return nil
		}, "11bgd045z0d4icpbc2yyz4gx48ak44la-other is not in the cache"},
		"a narinfo that is a link out": {func(h *handmade) error {
			return os.Symlink(outside, filepath.Join(h.dir, file))
		}, "escapes"},
		"a huge narinfo": {func(h *handmade) error {
			h.CA = strings.Repeat("x", 2*narinfo.MaxText)
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
			if _, err := os.Lstat(filepath.Join(h.dir, file)); err != nil {
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
	narinfo := h.Hash() + ".narinfo"
	checkBatch(t, s.url, narinfo, narinfo)
	if ask(t, s.url, strings.TrimPrefix(file, "/"))[0] != nil {
		t.Errorf("%d bytes are in a batch", len(h.nar))
	}
	// What is deleted while it is on offer is refused, not half served.
	if err := os.Remove(filepath.Join(h.dir, h.URL)); err != nil {
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
	h.Signatures = []string{"another-1:" + strings.Repeat("A", 86) + "=="}
	h.CA = "fixed:r:sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d"
	s := h.serve(t)
	_, text := request(t, "GET", s.url+"/"+nartest.Base[:hashLength]+".narinfo", nil)
	got, err := parseListing(text, "/nix/store", nartest.Base)
	if err != nil {
		t.Fatal(err)
	}
	if got.URL != strings.TrimPrefix(h.resource().String(), "/") || got.CA != h.CA || got.FileSize != h.FileSize {
		t.Errorf("%s", text)
	}
	if len(got.Signatures) != 2 || got.Signatures[0] != h.Signatures[0] {
		t.Fatalf("signatures %q", got.Signatures)
	}
	public, err := signature.ParsePublicKey(s.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signature.ParseSignature(got.Signatures[1])
	if err != nil || !public.Verify(h.Fingerprint("/nix/store"), signed) {
		t.Errorf("%v; the signature is not that of %s", err, h.Fingerprint("/nix/store"))
	}
}

func TestParseListing(t *testing.T) {
	h := newHandmade(t)
	for name, test := range map[string]struct {
		compression string
		fileHash    *[32]byte
		fileSize    int64
		want        string // "" if it is taken
	}{
		"none, and nothing said of the file": {"none", nil, 0, ""},
		"none, and all said of the file":     {"none", &h.NarHash, h.NarSize, ""},
		"none with another hash":             {"none", h.FileHash, h.NarSize, "differ"},
		"none with another size":             {"none", &h.NarHash, h.NarSize + 1, "differ"},
		"xz with a file of its own":          {"xz", h.FileHash, h.FileSize, ""},
		"a compression that nobody knows":    {"rar", h.FileHash, h.FileSize, "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			info := h.Info
			info.Compression, info.FileHash, info.FileSize = test.compression, test.fileHash, test.fileSize
			l, err := parseListing(info.Text("/nix/store"), "/nix/store", nartest.Base)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.compression == "none" && (*l.FileHash != h.NarHash || l.FileSize != h.NarSize) {
				t.Errorf("the file is said to have %d bytes and the hash %x", l.FileSize, *l.FileHash)
			}
		})
	}
}

// What is taken from a narinfo is what clients are told, but for the URL, which
// is one of this cache.
func FuzzParseListing(f *testing.F) {
	key, err := OpenKey(f.TempDir(), "lab-1")
	if err != nil {
		f.Fatal(err)
	}
	h := newHandmade(f)
	f.Add(h.Text("/nix/store"))
	h.Compression, h.FileHash, h.FileSize = CompressionNone, nil, 0
	h.Signatures, h.References = []string{"a-1:AAAA"}, []string{nartest.Base}
	f.Add(h.Text("/nix/store"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseListing(text, "/nix/store", nartest.Base)
		if err != nil {
			return
		}
		if len(l.Signatures) > 10 {
			l.Signatures = l.Signatures[:10] // with one more they could be too many
		}
		told, err := l.forClients("/nix/store", key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseListing(told, "/nix/store", nartest.Base)
		if err != nil {
			t.Fatalf("%q became %q, %v", text, told, err)
		}
		if named, err := parseResource("/" + again.URL); err != nil || named != l.resource() || named != again.resource() {
			t.Errorf("clients are told of %q, %v, want %s", again.URL, err, l.resource())
		}
		again.URL, again.Signatures = l.URL, l.Signatures
		if !reflect.DeepEqual(again, l) {
			t.Errorf("%+v became %+v", l, again)
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
