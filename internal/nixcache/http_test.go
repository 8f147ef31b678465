package nixcache

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	gonarinfo "github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/nar/nartest"
	"ravenboot/internal/narinfo"
)

// planted is a cache that serves store objects which no Nix has made.
func planted(t testing.TB, log *slog.Logger, nodes map[string][]nartest.Node) (*Cache, *httptest.Server) {
	t.Helper()
	config := Config{StoreDir: t.TempDir(), StateDir: t.TempDir(), NixStore: "/bin/false", KeyName: "lab-1"}
	c, err := New(config, &offer{}, log)
	if err != nil {
		t.Fatal(err)
	}
	closures := c.source.(*storeSource).closures
	all := make(map[string]*object)
	for base, nodes := range nodes {
		nartest.Plant(t, config.StoreDir, base, nodes...)
		f := narinfo.Facts{Base: base, NarSize: int64(len(readNAR(t, config.StoreDir, base)))}
		closures.add(f, stamp{})
		all[f.Hash()] = closures.known[base]
	}
	c.view.Store(&view{objects: all})
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, server
}

func request(t testing.TB, method, url string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func TestAnswers(t *testing.T) {
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: nartest.Objects["tree"]})
	// Another path that is in the store, and not on offer.
	const other = "11bgd045z0d4icpbc2yyz4gx48ak44la-secret"
	nartest.Plant(t, c.store.dir, other, nartest.File("", "secret"))
	whole := string(readNAR(t, c.store.dir, nartest.Base))
	zeros := strings.Repeat("0", narHashLength)
	nar := "/nar/" + nartest.Base[:hashLength] + "-" + zeros + ".nar"
	tag := `"` + zeros + `"`
	const none, nixNAR = "", "application/x-nix-nar"
	for _, test := range []struct {
		method, path string
		header       http.Header
		status       int
		contentType  string
		body         string // none: not looked at
	}{
		{"GET", "/nix-cache-info", nil, 200, "text/x-nix-cache-info", "StoreDir: " + c.store.dir + "\nWantMassQuery: 1\nPriority: 30\n"},
		{"HEAD", "/nix-cache-info", nil, 200, "text/x-nix-cache-info", none},
		{"GET", "/" + nartest.Base[:hashLength] + ".narinfo", nil, 200, "text/x-nix-narinfo", none},
		{"HEAD", "/" + nartest.Base[:hashLength] + ".narinfo", nil, 200, "text/x-nix-narinfo", none},
		{"GET", nar, nil, 200, nixNAR, whole},
		{"HEAD", nar, nil, 200, nixNAR, none},
		{"GET", nar, http.Header{"Range": {"bytes=0-9"}}, 206, nixNAR, whole[:10]},
		{"GET", nar, http.Header{"Range": {"bytes=100000-"}}, 206, nixNAR, whole[100000:]},
		{"GET", nar, http.Header{"Range": {"bytes=-77"}}, 206, nixNAR, whole[len(whole)-77:]},
		{"GET", nar, http.Header{"Range": {"bytes=5-6,100-110"}}, 200, nixNAR, whole},
		{"GET", nar, http.Header{"Range": {"bytes=99999999-"}}, 416, "text/plain; charset=utf-8", none},
		{"GET", nar, http.Header{"Range": {"bytes=7-8"}, "If-Range": {tag}}, 206, nixNAR, whole[7:9]},
		{"GET", nar, http.Header{"Range": {"bytes=7-8"}, "If-Range": {`"x"`}}, 200, nixNAR, whole},
		{"GET", nar, http.Header{"If-None-Match": {tag}}, 304, none, none},
		{"HEAD", nar + ".zst", nil, 200, nixNAR, none},
		{"POST", nar, nil, 405, "text/plain; charset=utf-8", none},
		{"PUT", "/nix-cache-info", nil, 405, "text/plain; charset=utf-8", none},
		{"GET", "/" + other[:hashLength] + ".narinfo", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", "/nar/" + other[:hashLength] + "-" + zeros + ".nar", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", "/nar/" + nartest.Base[:hashLength] + "-" + strings.Repeat("1", narHashLength) + ".nar", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", "/nar/" + nartest.Base + "/bin/a", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", "/", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", "/nar/../nix-cache-info", nil, 404, "text/plain; charset=utf-8", none},
		{"GET", nar + ".xz", nil, 404, "text/plain; charset=utf-8", none},
	} {
		name := fmt.Sprint(test.method, " ", strings.ReplaceAll(test.path, zeros, "0"), test.header)
		r, body := request(t, test.method, server.URL+test.path, test.header)
		if r.StatusCode != test.status || r.Header.Get("Content-Type") != test.contentType {
			t.Errorf("%s: %s, %q", name, r.Status, r.Header.Get("Content-Type"))
		}
		if test.body != none && string(body) != test.body {
			t.Errorf("%s: %d bytes, want %d: %.100q", name, len(body), len(test.body), body)
		}
		if r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: Content-Encoding %s", name, r.Header.Get("Content-Encoding"))
		}
		if strings.HasSuffix(test.path, ".nar") && test.status == 200 {
			if r.ContentLength != int64(len(whole)) || r.Header.Get("Accept-Ranges") != "bytes" || r.Header.Get("ETag") != tag {
				t.Errorf("%s: %d bytes, %v", name, r.ContentLength, r.Header)
			}
		}
	}
}

func TestZstdNAR(t *testing.T) {
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: nartest.Objects["tree"]})
	url := server.URL + c.view.Load().objects[nartest.Base[:hashLength]].resource(true).String()
	for range 3 { // encoders are used again
		r, body := request(t, "GET", url, http.Header{"Range": {"bytes=5-"}})
		if r.StatusCode != 200 || r.Header.Get("Accept-Ranges") != "" || r.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%s %v", r.Status, r.Header)
		}
		decoder, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoder.DecodeAll(body, nil)
		decoder.Close()
		if err != nil || !bytes.Equal(got, readNAR(t, c.store.dir, nartest.Base)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

func TestNarinfo(t *testing.T) {
	key, err := OpenKey(t.TempDir(), "lab-1")
	if err != nil {
		t.Fatal(err)
	}
	f := narinfo.Facts{
		Base: nartest.Base, NarHash: [32]byte{1, 2, 3}, NarSize: 1234, Deriver: nartest.Base + ".drv",
		References: []string{"00bgd045z0d4icpbc2yyz4gx48ak44la-a", "10bgd045z0d4icpbc2yyz4gx48ak44la-b"},
	}
	for _, test := range []struct {
		zstd bool
		want []string
	}{
		{false, []string{"Compression: none\n", "FileSize: 1234\n", ".nar\n"}},
		{true, []string{"Compression: zstd\n", ".nar.zst\n"}},
	} {
		text, err := made(&f, "/nix/store", test.zstd, key)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		info, err := gonarinfo.Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := info.Check(); err != nil {
			t.Error(err)
		}
		public, err := signature.ParsePublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if !public.Verify(info.Fingerprint(), info.Signatures[0]) {
			t.Errorf("the signature is not that of %s", info.Fingerprint())
		}
		if d := cmp.Diff(f.References, info.References); d != "" || info.Deriver != f.Deriver || info.NarSize != 1234 {
			t.Errorf("%s\n%s", d, text)
		}
	}
}

// What is in the store and what the database says of it may differ after a
// crash. The client must see that the NAR isn't whole.
func TestDamagedObjects(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(path string) error
		want   string
	}{
		"a file is shorter": {func(p string) error { return os.WriteFile(p+"/bin/a", []byte("short"), 0o555) }, "not of the size"},
		"a file is longer":  {func(p string) error { return os.WriteFile(p+"/lib/deep/deeper/x", make([]byte, 500), 0o644) }, "not of the size"},
		"it is gone":        {os.RemoveAll, "no such file"},
	} {
		for _, suffix := range []string{"", ".zst"} {
			t.Run(name+suffix, func(t *testing.T) {
				var log journal
				c, server := planted(t, log.logger(), map[string][]nartest.Node{nartest.Base: nartest.Objects["tree"]})
				path := filepath.Join(c.store.dir, nartest.Base)
				for _, file := range []string{"bin/a", "lib/deep/deeper/x"} {
					if err := os.Chmod(filepath.Join(path, file), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				if err := test.damage(path); err != nil {
					t.Fatal(err)
				}
				o := c.view.Load().objects[nartest.Base[:hashLength]]
				r, err := http.Get(server.URL + o.resource(suffix != "").String())
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				_, err = io.Copy(io.Discard, r.Body)
				// Without compression one that is longer has its length: the hash tells.
				if r.StatusCode == http.StatusOK && err == nil && !(suffix == "" && name == "a file is longer") {
					t.Error("the client can't tell that the NAR isn't whole")
				}
				eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), test.want) })
			})
		}
	}
}

// observed gathers what came of requests.
type observed struct {
	mu      sync.Mutex
	results map[string]int
}

func (o *observed) observe(_, kind, result string, _ int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.results == nil {
		o.results = make(map[string]int)
	}
	o.results[kind+" "+result]++
}

func (o *observed) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.results[what]
}

func TestTransfersAreBounded(t *testing.T) {
	big := []nartest.Node{nartest.File("", strings.Repeat("x", 32<<20))}
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: big})
	var seen observed
	c.config.Observe = seen.observe
	c.slots = make(chan struct{}, 1)
	c.queueTime = 50 * time.Millisecond
	url := server.URL + c.view.Load().objects[nartest.Base[:hashLength]].resource(false).String()

	slow, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	r, _ := request(t, "GET", url, nil)
	if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
	}
	if r, _ := request(t, "HEAD", url, nil); r.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %s", r.Status)
	}
	slow.Body.Close()
	eventually(t, "the place is free again", func() bool { return seen.count("nar aborted") == 1 })
	c.queueTime = time.Minute
	if r, body := request(t, "GET", url, nil); r.StatusCode != http.StatusOK || len(body) < 32<<20 {
		t.Errorf("%s, %d bytes", r.Status, len(body))
	}
	if seen.count("nar busy") != 1 || seen.count("nar sent") != 1 || seen.count("nar probe") != 1 {
		t.Errorf("observed %v", seen.results)
	}
}

func TestStalledClientIsCutOff(t *testing.T) {
	big := []nartest.Node{nartest.File("", strings.Repeat("x", 32<<20))}
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: big})
	var seen observed
	c.config.Observe = seen.observe
	c.stretchTime = 100 * time.Millisecond
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", c.view.Load().objects[nartest.Base[:hashLength]].resource(false))
	eventually(t, "the transfer ends", func() bool { return seen.count("nar stalled") == 1 })
}

// A machine that is quicker than the server's look at a system is asked to wait;
// one that wants a system which can't be given is told so.
func TestSystemThatIsLookedUp(t *testing.T) {
	c, server := planted(t, slog.New(slog.DiscardHandler), nil)
	const toplevel, other = "00bgd045z0d4icpbc2yyz4gx48ak44la-system", "11bgd045z0d4icpbc2yyz4gx48ak44la-other"
	c.offer = &offer{toplevels: []string{c.store.path(toplevel)}}
	status := func(base string) (int, string) {
		r, _ := request(t, "GET", server.URL+"/"+base[:hashLength]+".narinfo", nil)
		return r.StatusCode, r.Header.Get("Retry-After")
	}
	if code, again := status(toplevel); code != http.StatusServiceUnavailable || again != "1" {
		t.Errorf("%d, Retry-After %q, want 503 and 1", code, again)
	}
	if code, _ := status(other); code != http.StatusNotFound {
		t.Errorf("%d for what is not on offer, want 404", code)
	}
	u := c.newUpdater() // whose nix-store always fails
	for range 2 {
		u.poll(t.Context(), time.Now())
		if code, _ := status(toplevel); code != http.StatusNotFound {
			t.Errorf("%d for a system that can't be given, want 404", code)
		}
	}
}
