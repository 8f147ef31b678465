package nixcache

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"ravenboot/internal/nar/nartest"
	"ravenboot/internal/narinfo"
)

// origin is an upstream: the files of a directory, with what a test does to the
// answers. It counts requests.
type origin struct {
	*httptest.Server
	dir string

	mu     sync.Mutex
	counts map[string]int // by the path's end, such as ".narinfo"
	ranges []string       // that were asked for
	spoil  func(w http.ResponseWriter, r *http.Request) bool
}

func newOrigin(t testing.TB, dir string) *origin {
	t.Helper()
	o := &origin{dir: dir, counts: make(map[string]int)}
	files := http.FileServer(http.Dir(dir))
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.counts[filepath.Ext(r.URL.Path)]++
		if from := r.Header.Get("Range"); from != "" {
			o.ranges = append(o.ranges, from)
		}
		spoil := o.spoil
		o.mu.Unlock()
		if spoil == nil || !spoil(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *origin) set(spoil func(w http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = spoil
}

// nars is how many requests there were that weren't for narinfos.
func (o *origin) nars() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ext, count := range o.counts {
		if ext != ".narinfo" && ext != "" {
			n += count
		}
	}
	return n
}

func (o *origin) config(t testing.TB, keys ...string) Config {
	t.Helper()
	return Config{
		Upstream: &Upstream{URL: o.URL, PublicKeys: keys, Keep: 1 << 30},
		StateDir: filepath.Join(t.TempDir(), "state"), KeyName: "lab-1", NixStore: "/nowhere/nix-store",
	}
}

// upstreamOf gives the source of a cache, without the patience that it has with real
// ones.
func upstreamOf(c *Cache) *upstream {
	u := c.source.(*upstream)
	u.remote.pause = time.Millisecond
	return u
}

// Every compression reaches a client, is fetched once, and is there when
// upstream isn't.
func TestNixFetchesFromUpstream(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 3)
	closure := store.closure(t, toplevel)
	other := store.build(t, "other", "not on offer", 0)
	keys := t.TempDir()
	builder, err := OpenKey(keys, "builder-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"xz", "none", "zstd", "bzip2", "gzip", "br"} {
		dir := t.TempDir()
		store.publish(t, dir, "?compression="+compression+"&secret-key="+filepath.Join(keys, KeyFile), toplevel, other)
		o := newOrigin(t, dir)
		config := o.config(t, builder.Public())
		s := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
		s.await(t, closure...)
		for nix, tools := range nixes(t) {
			t.Run(compression+", "+nix, func(t *testing.T) { s.judge(t, store, tools, toplevel, closure, other) })
		}
		if got := o.nars(); got != len(closure) {
			t.Errorf("%s: %d NARs were fetched, want each of %d once", compression, got, len(closure))
		}
		s.stop()
		o.Close()
		t.Run(compression+", without upstream after a restart", func(t *testing.T) {
			again := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
			again.await(t, closure...)
			c := store.client(t)
			if _, err := c.nix(builder.Public(), "nix", "copy", "--from", again.url, "--to", c.url(), toplevel); err != nil {
				t.Fatal(err)
			}
			c.verify(t, closure...)
		})
	}
}

// A cache that makes its NARs as it sends them doesn't know their files' sizes.
func TestUpstreamIsAnotherRavenboot(t *testing.T) {
	store := newNixStore(t)
	toplevel := store.build(t, "lab", "first", 2)
	closure := store.closure(t, toplevel)
	for _, compression := range []string{CompressionNone, CompressionZstd} {
		config := store.config(t)
		config.Compression = compression
		first := serve(t, config, slog.New(slog.DiscardHandler), toplevel)
		first.await(t, closure...)
		second := serve(t, Config{
			Upstream: &Upstream{URL: first.url, PublicKeys: []string{first.PublicKey()}, Keep: 1 << 30},
			StateDir: t.TempDir(), KeyName: "lab-2", NixStore: "/nowhere/nix-store",
		}, slog.New(slog.DiscardHandler), toplevel)
		second.await(t, closure...)
		names := names(t, second.url, closure)
		for i, file := range ask(t, second.url, names...) {
			if file != nil {
				t.Errorf("%s is in a batch before it was fetched from upstream", names[i])
			}
		}
		for nix, tools := range nixes(t) {
			for _, time := range []string{"the first time", "kept"} {
				t.Run(compression+", "+nix+", "+time, func(t *testing.T) {
					c := store.client(t)
					c.tools = tools
					if _, err := c.nix(second.PublicKey(), "nix", "copy", "--from", second.url, "--to", c.url(), toplevel); err != nil {
						t.Fatal(err)
					}
					c.verify(t, closure...)
				})
			}
		}
		checkBatch(t, second.url, names...)
	}
}

// names are those of NARs, as their narinfos tell them.
func names(t *testing.T, url string, closure []string) []string {
	t.Helper()
	var names []string
	for _, path := range closure {
		_, text := request(t, "GET", url+narinfoOf(path), nil)
		info, err := narinfo.Parse(text, filepath.Dir(path), filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.URL)
	}
	return names
}

// signedFile is an upstream with one path, whose NAR is no real one.
type signedFile struct {
	*handmade
	*origin
	builder Key
	nar     []byte // without compression
	file    []byte
}

func newSignedFile(t testing.TB, compression string) *signedFile {
	t.Helper()
	f := &signedFile{handmade: &handmade{dir: t.TempDir()}}
	f.nar = make([]byte, 200_000)
	// As compressible as programs are.
	random := rand.New(rand.NewPCG(1, 2))
	for i := range f.nar {
		f.nar[i] = byte(random.IntN(16))
	}
	f.file = packWith(t, compression, f.nar)
	f.Facts = narinfo.Facts{Base: nartest.Base, NarHash: sha256.Sum256(f.nar), NarSize: int64(len(f.nar))}
	f.Info.URL, f.Compression = "nar/file.nar", compression
	f.FileHash, f.FileSize = new(sha256.Sum256(f.file)), int64(len(f.file))
	var err error
	if f.builder, err = OpenKey(t.TempDir(), "builder-1"); err != nil {
		t.Fatal(err)
	}
	f.write(t, "nix-cache-info", []byte("StoreDir: /nix/store\n"))
	f.write(t, "nar/file.nar", f.file)
	f.sign(t)
	f.writeNarinfo(t)
	f.origin = newOrigin(t, f.handmade.dir)
	return f
}

func (f *signedFile) sign(t testing.TB) {
	t.Helper()
	signed, err := f.builder.secret.Sign(nil, f.Fingerprint("/nix/store"))
	if err != nil {
		t.Fatal(err)
	}
	f.Signatures = []string{signed.String()}
}

func packWith(t testing.TB, compression string, nar []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	var w io.WriteCloser
	switch compression {
	case CompressionNone:
		return nar
	case "gzip":
		w = gzip.NewWriter(&packed)
	case CompressionZstd:
		var err error
		if w, err = zstd.NewWriter(&packed); err != nil {
			t.Fatal(err)
		}
	case "xz", "bzip2":
		cmd := exec.Command(compression)
		cmd.Stdin, cmd.Stdout = bytes.NewReader(nar), &packed
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
	if _, err := w.Write(nar); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func (f *signedFile) serve(t testing.TB, log *slog.Logger, change func(*Config)) *served {
	t.Helper()
	config := f.config(t, f.builder.Public())
	if change != nil {
		change(&config)
	}
	s := serve(t, config, log, "/nix/store/"+nartest.Base)
	s.await(t, nartest.Base)
	upstreamOf(s.Cache)
	return s
}

func (f *signedFile) fetch(s *served) (status int, body []byte, err error) {
	r, err := http.Get(s.url + f.resource().String())
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	body, err = io.ReadAll(r.Body)
	return r.StatusCode, body, err
}

// keptFiles are those of what is kept, once no download is under way.
func keptFiles(t testing.TB, s *served) map[string]int64 {
	t.Helper()
	u := s.source.(*upstream)
	eventually(t, "no download is under way", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.downloads) == 0
	})
	entries, err := os.ReadDir(u.kept.dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]int64)
	var total int64
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = info.Size()
		total += info.Size()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept.total != total {
		t.Errorf("%d bytes are accounted for, %d are there", u.kept.total, total)
	}
	return files
}

func TestUpstreamIsAskedOnceForAll(t *testing.T) {
	f := newSignedFile(t, "gzip")
	half, onwards := len(f.file)/2, make(chan struct{})
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/nar/file.nar" {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(f.file)))
		_, _ = w.Write(f.file[:half])
		_ = http.NewResponseController(w).Flush()
		<-onwards
		_, _ = w.Write(f.file[half:])
		return true
	})
	s := f.serve(t, slog.New(slog.DiscardHandler), nil)
	url := s.url + f.resource().String()
	var group sync.WaitGroup
	begun := make(chan struct{}, 20)
	for i := range 20 {
		group.Go(func() {
			r, err := http.NewRequest("GET", url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			want, status := f.file, http.StatusOK
			if i%2 == 1 { // one that goes on where it was cut off
				r.Header.Set("Range", "bytes=1000-")
				want, status = f.file[1000:], http.StatusPartialContent
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			first := make([]byte, 1000)
			if _, err := io.ReadFull(response.Body, first); err != nil {
				t.Error(err)
			}
			begun <- struct{}{}
			rest, err := io.ReadAll(response.Body)
			if response.StatusCode != status || err != nil || !bytes.Equal(append(first, rest...), want) {
				t.Errorf("%s, %d bytes, %v", response.Status, len(first)+len(rest), err)
			}
		})
	}
	// All of them have the beginning before upstream has sent the end.
	for range 20 {
		<-begun
	}
	if r, _ := request(t, "HEAD", url, nil); r.StatusCode != http.StatusOK || r.ContentLength != int64(len(f.file)) {
		t.Errorf("HEAD: %s, %d bytes", r.Status, r.ContentLength)
	}
	close(onwards)
	group.Wait()
	if f.nars() != 1 {
		t.Errorf("upstream was asked %d times", f.nars())
	}
	if got := keptFiles(t, s); len(got) != 1 || got[filepath.Base(f.resource().String())] != int64(len(f.file)) {
		t.Errorf("kept %v", got)
	}
}

func TestUpstreamHeadFetchesNothing(t *testing.T) {
	f := newSignedFile(t, "gzip")
	s := f.serve(t, slog.New(slog.DiscardHandler), nil)
	r, _ := request(t, "HEAD", s.url+f.resource().String(), nil)
	if r.StatusCode != http.StatusOK || r.ContentLength != int64(len(f.file)) || r.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	if f.nars() != 0 {
		t.Error("the NAR was fetched")
	}
}

// A connection that is lost is taken up where it was lost, unseen by the client.
func TestUpstreamIsResumed(t *testing.T) {
	f := newSignedFile(t, "gzip")
	var ranges bool
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/nar/file.nar" {
			return false
		}
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && ranges {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.file)-1, len(f.file)))
			w.Header().Set("Content-Length", fmt.Sprint(len(f.file)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(f.file)))
			from = 0
		}
		to := len(f.file)
		if r.Header.Get("Range") == "" {
			to = to / 3
		}
		_, _ = w.Write(f.file[from:to])
		if to < len(f.file) {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		return true
	})
	for _, ranges = range []bool{true, false} {
		s := f.serve(t, slog.New(slog.DiscardHandler), nil)
		if status, body, err := f.fetch(s); status != http.StatusOK || err != nil || !bytes.Equal(body, f.file) {
			t.Errorf("with ranges %v: %d, %d bytes, %v", ranges, status, len(body), err)
		}
		s.stop()
	}
}

// A client never has a wrong file whole, and nothing wrong is kept.
func TestUpstreamIsNotBelieved(t *testing.T) {
	for _, compression := range []string{"none", "gzip", "zstd", "xz", "bzip2"} {
		for name, spoil := range map[string]func(f *signedFile){
			"a byte of the file":  func(f *signedFile) { f.file[len(f.file)/2] ^= 1 },
			"the last byte":       func(f *signedFile) { f.file[len(f.file)-1] ^= 1 },
			"the file is shorter": func(f *signedFile) { f.file = f.file[:len(f.file)-1] },
			// The file's hash isn't signed: whoever alters the one can alter the other.
			"another NAR, and its FileHash": func(f *signedFile) {
				f.nar[1000]++
				f.file = packWith(t, f.Compression, f.nar)
				f.FileHash, f.FileSize = new(sha256.Sum256(f.file)), int64(len(f.file))
			},
			"a bomb": func(f *signedFile) {
				f.nar = append(f.nar, make([]byte, 2<<20)...)
				f.file = packWith(t, f.Compression, f.nar)
				f.FileHash, f.FileSize = new(sha256.Sum256(f.file)), int64(len(f.file))
			},
		} {
			if compression == "none" && (strings.HasPrefix(name, "another") || name == "a bomb") {
				continue // where the narinfo says so itself it is refused at once
			}
			t.Run(compression+", "+name, func(t *testing.T) {
				f := newSignedFile(t, compression)
				f.file, f.nar = bytes.Clone(f.file), bytes.Clone(f.nar)
				spoil(f)
				f.write(t, "nar/file.nar", f.file)
				f.writeNarinfo(t)
				var log journal
				s := f.serve(t, log.logger(), nil)
				_, body, err := f.fetch(s)
				if err == nil && int64(len(body)) >= f.FileSize {
					t.Errorf("%d bytes arrived, and no error", len(body))
				}
				for file := range keptFiles(t, s) {
					if !strings.HasSuffix(file, partial) {
						t.Errorf("%s is kept", file)
					}
				}
				if n := strings.Count(log.String(), "step=upstream"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, &log)
				}
			})
		}
	}
}

// A cache that changes its key may keep the key's name, and then paths signed
// with either come from it, some with a signature of each.
func TestUpstreamTakesAnyOfItsKeys(t *testing.T) {
	f := newSignedFile(t, "gzip")
	good := f.Signatures[0]
	namesake, err := OpenKey(t.TempDir(), "builder-1")
	if err != nil {
		t.Fatal(err)
	}
	mine := f.builder
	f.builder = namesake
	f.NarSize++ // of what isn't trusted, and the name of a key that is
	f.sign(t)
	f.NarSize--
	bad := f.Signatures[0]
	for name, test := range map[string]struct {
		keys       []Key
		signatures []string
	}{
		"the only one":                {[]Key{mine}, []string{good}},
		"the first of its name":       {[]Key{mine, namesake}, []string{good}},
		"the second of its name":      {[]Key{namesake, mine}, []string{good}},
		"its signature is the second": {[]Key{namesake, mine}, []string{bad, good}},
		"beside one of a new form":    {[]Key{mine}, []string{"new", good}},
	} {
		t.Run(name, func(t *testing.T) {
			f.Signatures = test.signatures
			f.writeNarinfo(t)
			var keys []string
			for _, key := range test.keys {
				keys = append(keys, key.Public())
			}
			c, err := New(f.config(t, keys...), &offer{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer c.source.close()
			if _, err := c.source.closure(t.Context(), "/nix/store/"+nartest.Base); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUpstreamRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, f *signedFile)
		want  string
	}{
		"no signature":      {func(t *testing.T, f *signedFile) { f.Signatures = nil }, "public_keys"},
		"another signature": {func(t *testing.T, f *signedFile) { f.NarSize++; f.sign(t); f.NarSize-- }, "public_keys"},
		"another key of that name": {func(t *testing.T, f *signedFile) {
			mine := f.builder
			var err error
			if f.builder, err = OpenKey(t.TempDir(), "builder-1"); err != nil {
				t.Fatal(err)
			}
			f.sign(t)
			f.builder = mine
		}, "public_keys"},
		"a URL elsewhere":   {func(t *testing.T, f *signedFile) { f.Info.URL = "http://127.0.0.1:1/x.nar" }, "leads out"},
		"a URL that climbs": {func(t *testing.T, f *signedFile) { f.Info.URL = "nar/../../x.nar" }, "leads out"},
		"a URL that climbs in disguise": {func(t *testing.T, f *signedFile) {
			f.Info.URL = "nar/%2e%2e/%2e%2e/x.nar"
		}, "leads out"},
		"a URL with a name in it": {func(t *testing.T, f *signedFile) {
			f.Info.URL = strings.Replace(f.origin.URL, "//", "//a@", 1) + "/x"
		}, "leads out"},
		"nothing to check it with": {func(t *testing.T, f *signedFile) { f.Compression, f.FileHash = "lzip", nil }, "FileHash"},
		"a reference that it lacks": {func(t *testing.T, f *signedFile) {
			f.References = []string{"11bgd045z0d4icpbc2yyz4gx48ak44la-other"}
			f.sign(t)
		}, "doesn't have that"},
		"another store": {func(t *testing.T, f *signedFile) {
			f.write(t, "nix-cache-info", []byte("StoreDir: /elsewhere\n"))
		}, "is not in the store"},
		"an endless nix-cache-info": {func(t *testing.T, f *signedFile) {
			f.write(t, "nix-cache-info", make([]byte, 1<<20))
		}, "longer than"},
		"a redirect elsewhere": {func(t *testing.T, f *signedFile) {
			f.set(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
				return true
			})
		}, "a redirect"},
		"a Content-Encoding": {func(t *testing.T, f *signedFile) {
			f.set(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Encoding", "br")
				return false
			})
		}, "Content-Encoding"},
		"nobody there": {func(t *testing.T, f *signedFile) { f.Close() }, "can be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSignedFile(t, "gzip")
			test.spoil(t, f)
			f.writeNarinfo(t)
			c, err := New(f.config(t, f.builder.Public()), &offer{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer c.source.close()
			if _, err := c.source.closure(t.Context(), "/nix/store/"+nartest.Base); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// hang begins an answer and never ends it.
func hang(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Length", "1000000")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

func TestUpstreamFaults(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(f *signedFile) func(w http.ResponseWriter, r *http.Request) bool
		status int
	}{
		"an error": {func(*signedFile) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, "on fire", http.StatusInternalServerError)
				return true
			}
		}, http.StatusBadGateway},
		"it hangs up": {func(*signedFile) func(http.ResponseWriter, *http.Request) bool {
			return func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
		}, http.StatusBadGateway},
		"it says nothing": {func(*signedFile) func(http.ResponseWriter, *http.Request) bool {
			return hang
		}, http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSignedFile(t, "gzip")
			var log journal
			s := f.serve(t, log.logger(), nil)
			upstreamOf(s.Cache).remote.idle = 50 * time.Millisecond
			f.set(test.spoil(f))
			for range 3 {
				if got := status(t, s.url+f.resource().String()); got != test.status {
					t.Errorf("%d, want %d", got, test.status)
				}
			}
			keptFiles(t, s)
			f.set(nil)
			if status, body, err := f.fetch(s); status != http.StatusOK || err != nil || !bytes.Equal(body, f.file) {
				t.Errorf("afterwards: %d, %d bytes, %v", status, len(body), err)
			}
			eventually(t, "the recovery is logged", func() bool { return strings.Contains(log.String(), "outcome=recovered") })
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
				t.Errorf("logged %d errors:\n%s", n, &log)
			}
		})
	}
}

// What was fetched before a restart is not fetched again.
func TestUpstreamPartialIsTakenUp(t *testing.T) {
	f := newSignedFile(t, "gzip")
	half := len(f.file) / 2
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/nar/file.nar" {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(f.file)))
		_, _ = w.Write(f.file[:half])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	state := t.TempDir()
	first := f.serve(t, slog.New(slog.DiscardHandler), func(c *Config) { c.StateDir = state })
	r, err := http.Get(first.url + f.resource().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r.Body, make([]byte, half-1)); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	first.stop()
	if got := keptFiles(t, first); got[filepath.Base(f.resource().String())+partial] != int64(half) {
		t.Errorf("kept %v, want %d bytes", got, half)
	}
	f.set(nil)
	second := f.serve(t, slog.New(slog.DiscardHandler), func(c *Config) { c.StateDir = state })
	if status, body, err := f.fetch(second); status != http.StatusOK || err != nil || !bytes.Equal(body, f.file) {
		t.Errorf("%d, %d bytes, %v", status, len(body), err)
	}
	if want := fmt.Sprintf("bytes=%d-", half); len(f.ranges) != 1 || f.ranges[0] != want {
		t.Errorf("upstream was asked for %q, want %q", f.ranges, want)
	}
}

// A cache that was made anew has its files elsewhere.
func TestUpstreamWasMadeAnew(t *testing.T) {
	f := newSignedFile(t, "gzip")
	s := f.serve(t, slog.New(slog.DiscardHandler), nil)
	if err := os.Remove(filepath.Join(f.handmade.dir, "nar/file.nar")); err != nil {
		t.Fatal(err)
	}
	f.Info.URL = "nar/moved.nar"
	f.write(t, f.Info.URL, f.file)
	f.writeNarinfo(t)
	if status, _, err := f.fetch(s); status != http.StatusBadGateway || err != nil {
		t.Errorf("a file that upstream has no longer: %d, %v", status, err)
	}
	eventually(t, "the new narinfo is known", func() bool { return status(t, s.url+f.resource().String()) == http.StatusOK })
}

// What came while it was on offer isn't served any more when it isn't.
func TestUpstreamFollowsTheOffer(t *testing.T) {
	f := newSignedFile(t, "gzip")
	s := f.serve(t, slog.New(slog.DiscardHandler), nil)
	if status, _, err := f.fetch(s); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	s.offer.set()
	s.await(t)
	if status, _, err := f.fetch(s); status != http.StatusNotFound || err != nil {
		t.Errorf("a NAR that is kept, and not on offer: %d, %v", status, err)
	}
	if _, err := os.Stat(filepath.Join(s.config.StateDir, UpstreamDir, narinfoFile(f.Hash()))); !os.IsNotExist(err) {
		t.Errorf("its narinfo is still there: %v", err)
	}
}

func TestKept(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, size int, age time.Duration) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(-age)
		if err := os.Chtimes(file, used, used); err != nil {
			t.Fatal(err)
		}
	}
	have := func() string {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return strings.Join(names, " ")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, age := range map[string]time.Duration{"a": 4 * time.Hour, "b": 3 * time.Hour, "c": 2 * time.Hour, "d": time.Hour} {
		put(name, 30, age)
	}
	k, err := openKept(dir, 100)
	must(err)
	if got := have(); got != "b c d" {
		t.Fatalf("after the start: %s", got)
	}
	f := k.open("b", 30)
	if f == nil {
		t.Fatal("b can't be opened")
	}
	defer f.Close()
	put("e", 30, 0)
	must(k.add("e", 30))
	if got := have(); got != "b d e" {
		t.Errorf("b was used, c wasn't: %s", got)
	}
	reserved, err := k.reserve(20)
	must(err)
	if got := have(); got != "b e" {
		t.Errorf("with 20 bytes reserved: %s", got)
	}
	k.release(reserved)
	if reserved, err = k.reserve(1000); reserved != 0 || err != nil || have() != "b e" {
		t.Errorf("too large: %d, %v, %s", reserved, err, have())
	}
	put("huge", 1000, 0)
	must(k.add("huge", 1000))
	if got := have(); got != "b e" || k.total != 60 {
		t.Errorf("after a file that is too large: %s, %d bytes", got, k.total)
	}
	put("e", 7, 0)
	if f := k.open("e", 30); f != nil || have() != "b" {
		t.Errorf("one of another size: %v, %s", f, have())
	}
	again, err := openKept(dir, 10)
	must(err)
	if got := have(); got != "" || again.total != 0 {
		t.Errorf("with a limit of 10 bytes: %s, %d bytes", got, again.total)
	}
}

// What was kept by an earlier run is checked again before it is whole for a
// client: a disk can lose bytes, and each machine would refuse them for ever.
func TestUpstreamChecksWhatWasKept(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("size known %v", known), func(t *testing.T) {
			f := newSignedFile(t, "gzip")
			if !known {
				f.FileSize = 0
				f.writeNarinfo(t)
			}
			state := t.TempDir()
			start := func() *served {
				return f.serve(t, slog.New(slog.DiscardHandler), func(c *Config) { c.StateDir = state })
			}
			right := func(s *served) {
				t.Helper()
				if status, body, err := f.fetch(s); status != http.StatusOK || err != nil || !bytes.Equal(body, f.file) {
					t.Fatalf("%d, %d bytes, %v", status, len(body), err)
				}
			}
			first := start()
			right(first)
			files := keptFiles(t, first)
			first.stop()

			file := filepath.Join(state, UpstreamDir, "nar", filepath.Base(f.resource().String()))
			if known { // as a server leaves it that is killed before it has checked
				if err := os.Rename(file, file+partial); err != nil {
					t.Fatal(err)
				}
			}
			f.set(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
			second := start()
			right(second) // without upstream
			if diff := cmp.Diff(files, keptFiles(t, second)); diff != "" {
				t.Errorf("kept (-before +after):\n%s", diff)
			}
			second.stop()

			f.set(nil)
			damaged := bytes.Clone(f.file)
			damaged[len(damaged)/2] ^= 1
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			third := start()
			if status, body, err := f.fetch(third); status == http.StatusOK && err == nil {
				t.Errorf("%d bytes of a damaged file are served as a whole one", len(body))
			}
			keptFiles(t, third)
			right(third)
		})
	}
}
