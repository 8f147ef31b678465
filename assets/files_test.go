package assets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
)

// lab is what the HTTP tests serve: a store, a profile of one generation with a
// specialisation, an image and a loader.
type lab struct {
	dir    string
	files  *Files
	seen   observed
	server *httptest.Server
}

func (l *lab) Generation(profile string, number int) (*generation.Generation, bool) {
	if profile != "lab" || number != 42 {
		return nil, false
	}
	system := func(kernel, initrd string) generation.System {
		return generation.System{Kernel: filepath.Join(l.dir, kernel), Initrd: filepath.Join(l.dir, initrd)}
	}
	return &generation.Generation{
		Number: 42, System: system("store/linux/bzImage", "store/initrd/initrd"),
		Specialisations: []generation.Specialisation{
			{Name: "debug", System: system("store/linux-debug/bzImage", "store/initrd/link")},
			{Name: "bare", System: generation.System{Kernel: filepath.Join(l.dir, "store/linkdir/bzImage")}},
		},
	}, true
}

func (l *lab) Image(name string) *boot.Image {
	if name != "memtest" {
		return nil
	}
	return &boot.Image{
		Kernel: filepath.Join(l.dir, "memtest86+x64.bin"), Files: []string{filepath.Join(l.dir, "vmlinuz"), filepath.Join(l.dir, "gone")},
	}
}

var (
	kernel = program(amd64, 3<<20)
	initrd = program(amd64, 100_000)
)

func newLab(t testing.TB, config FilesConfig) *lab {
	t.Helper()
	l := &lab{dir: write(t, map[string][]byte{
		"store/linux/bzImage": kernel, "store/initrd/initrd": initrd, "store/linux-debug/bzImage": []byte("debug"),
		"memtest86+x64.bin": []byte("memtest"), "vmlinuz-6.18": []byte("image kernel"), "secret": []byte("secret"),
		"loaders/snponly.efi": program(amd64, 5000),
	})}
	for link, to := range map[string]string{
		"store/initrd/link": "../../secret", // has been put there since the generation was read
		"store/linkdir":     "linux",
		"vmlinuz":           "vmlinuz-6.18", // as the administrator's distribution has it
	} {
		if err := os.Symlink(to, filepath.Join(l.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1, 0) // as everything in the Nix store
	if err := os.Chtimes(filepath.Join(l.dir, "store/linux/bzImage"), old, old); err != nil {
		t.Fatal(err)
	}
	config.Observe, config.Scripts = l.seen.observe, scriptFor{}
	l.files = NewFiles(only(filepath.Join(l.dir, "loaders")), l, l, config, discard)
	l.server = httptest.NewServer(l.routes())
	t.Cleanup(l.server.Close)
	return l
}

// routes are those of internal/web.
func (l *lab) routes() http.Handler {
	r := mux.NewRouter()
	r.SkipClean(true)
	get := func(route string, handler http.HandlerFunc) {
		r.HandleFunc(route, handler).Methods(http.MethodGet, http.MethodHead)
	}
	get("/generation/{profile}/{number}/{file}", l.files.Generation)
	get("/generation/{profile}/{number}/{specialisation}/{file}", l.files.Generation)
	get("/image/{name}/{file}", l.files.Image)
	get("/loader/{name}", l.files.Loader)
	get("/loader/{machine}/{name}", l.files.Loader)
	return r
}

// do sends a request and reads the whole answer.
func (l *lab) do(t *testing.T, method, path string, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, l.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	// No transparent decompression: a test must see what is on the wire.
	response, err := (&http.Transport{DisableCompression: true}).RoundTrip(request)
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

func TestOnOffer(t *testing.T) {
	l := newLab(t, FilesConfig{})
	for path, want := range map[string]string{
		"/generation/lab/42/kernel":               string(kernel),
		"/generation/lab/42/initrd":               string(initrd),
		"/generation/lab/42/debug/kernel":         "debug",
		"/image/memtest/memtest86+x64.bin":        "memtest",
		"/image/memtest/vmlinuz":                  "image kernel",
		"/loader/snponly.efi":                     string(program(amd64, 5000)),
		"/loader/ipxe-snponly-x86_64.efi":         string(program(amd64, 5000)),
		"/loader/52-54-00-12-34-56/snponly.efi":   string(program(amd64, 5000)),
		"/loader/autoexec.ipxe":                   "#!ipxe\n# 00:00:00:00:00:00 at 127.0.0.1\n",
		"/loader/52-54-00-12-34-56/autoexec.ipxe": "#!ipxe\n# 52:54:00:12:34:56 at 127.0.0.1\n",
	} {
		response, body := l.do(t, http.MethodGet, path, map[string]string{"Accept-Encoding": "gzip"})
		if response.StatusCode != http.StatusOK || string(body) != want || response.ContentLength != int64(len(want)) ||
			response.Header.Get("Content-Encoding") != "" || response.Close {
			t.Errorf("GET %s: %s, %d bytes of %d, %v", path, response.Status, len(body), response.ContentLength, response.Header)
		}
		head, _ := l.do(t, http.MethodHead, path, nil)
		if head.StatusCode != http.StatusOK || head.ContentLength != int64(len(want)) || head.Header.Get("ETag") != response.Header.Get("ETag") {
			t.Errorf("HEAD %s: %s, %d bytes", path, head.Status, head.ContentLength)
		}
		if strings.Contains(path, "autoexec") {
			continue
		}
		if got := response.Header.Get("Content-Type"); got != "application/octet-stream" {
			t.Errorf("%s is of type %s", path, got)
		}
		tag := response.Header.Get("ETag")
		if again, body := l.do(t, http.MethodGet, path, map[string]string{"If-None-Match": tag}); tag == "" || again.StatusCode != http.StatusNotModified || len(body) > 0 {
			t.Errorf("%s with ETag %s again: %s", path, tag, again.Status)
		}
	}
}

func TestNotOnOffer(t *testing.T) {
	l := newLab(t, FilesConfig{})
	for _, path := range []string{
		"/generation/lab/42/secret", "/generation/lab/41/kernel", "/generation/lab/042x/kernel", "/generation/lab/-42/kernel",
		"/generation/lab/99999999999999999999/kernel", "/generation/other/42/kernel", "/generation/lab/42/none/kernel",
		"/generation/lab/42/bare/initrd",                                    // has none
		"/generation/lab/42/debug/initrd", "/generation/lab/42/bare/kernel", // a link, and below a link
		"/image/memtest/secret", "/image/memtest/gone", "/image/other/memtest86+x64.bin", "/image/memtest/..%2fsecret",
		"/loader/secret", "/loader/..%2fsecret", "/loader/%2e%2e", "/loader/52-54-00-12-34-56/secret",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if response, _ := l.do(t, method, path, nil); response.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %s", method, path, response.Status)
			}
		}
	}
	if response, _ := l.do(t, http.MethodPut, "/loader/snponly.efi", nil); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %s", response.Status)
	}
}

func TestLastModified(t *testing.T) {
	l := newLab(t, FilesConfig{})
	store, _ := l.do(t, http.MethodHead, "/generation/lab/42/kernel", nil)
	if got := store.Header.Get("Last-Modified"); got != "" {
		t.Errorf("a file of the store was last modified %s", got)
	}
	image, _ := l.do(t, http.MethodHead, "/image/memtest/vmlinuz", nil)
	modified := image.Header.Get("Last-Modified")
	again, _ := l.do(t, http.MethodGet, "/image/memtest/vmlinuz", map[string]string{"If-Modified-Since": modified})
	if modified == "" || again.StatusCode != http.StatusNotModified {
		t.Errorf("last modified %q: %s", modified, again.Status)
	}
}

// TestETag has another file take the place of one of the same size and time, as
// in a store after garbage collection.
func TestETag(t *testing.T) {
	l := newLab(t, FilesConfig{})
	path := filepath.Join(l.dir, "store/initrd/initrd")
	old := time.Unix(1, 0)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	before, _ := l.do(t, http.MethodHead, "/generation/lab/42/initrd", nil)
	if err := errors.Join(
		os.WriteFile(path+".new", bytes.Repeat([]byte("x"), len(initrd)), 0o444), os.Chtimes(path+".new", old, old), os.Rename(path+".new", path),
	); err != nil {
		t.Fatal(err)
	}
	after, _ := l.do(t, http.MethodHead, "/generation/lab/42/initrd", nil)
	if a, b := before.Header.Get("ETag"), after.Header.Get("ETag"); a == b {
		t.Errorf("both have ETag %s", a)
	}
}

func TestRanges(t *testing.T) {
	l := newLab(t, FilesConfig{})
	const path = "/generation/lab/42/kernel"
	size := len(kernel)
	whole, _ := l.do(t, http.MethodHead, path, nil)
	for _, row := range []struct {
		header     map[string]string
		status     int
		begin, end int
	}{
		{map[string]string{"Range": "bytes=0-0"}, 206, 0, 1},
		{map[string]string{"Range": "bytes=1000-"}, 206, 1000, size},
		{map[string]string{"Range": "bytes=-7"}, 206, size - 7, size},
		{map[string]string{"Range": "bytes=5-999999999"}, 206, 5, size},
		{map[string]string{"Range": "bytes=0-1,5-6"}, 200, 0, size}, // several at once: the whole
		{map[string]string{"Range": "lines=1-2"}, 416, 0, -1},
		{map[string]string{"Range": "bytes=999999999-"}, 416, 0, -1},
		{map[string]string{"Range": "bytes=9-", "If-Range": whole.Header.Get("ETag")}, 206, 9, size},
		{map[string]string{"Range": "bytes=9-", "If-Range": `"another"`}, 200, 0, size},
	} {
		response, body := l.do(t, http.MethodGet, path, row.header)
		if response.StatusCode != row.status {
			t.Errorf("%v: %s, want %d", row.header, response.Status, row.status)
			continue
		}
		if row.end >= 0 && !bytes.Equal(body, kernel[row.begin:row.end]) {
			t.Errorf("%v: %d bytes, want those from %d to %d", row.header, len(body), row.begin, row.end)
		}
	}
}

// TestCurlRanges continues a download that was broken off, as people do.
func TestCurlRanges(t *testing.T) {
	l := newLab(t, FilesConfig{})
	curl := tool(t, "curl", "curl")
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, kernel[:1_000_001], 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(curl, "-sSf", "-C", "-", "-o", part, l.server.URL+"/generation/lab/42/kernel").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(part); err != nil || !bytes.Equal(got, kernel) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(kernel))
	}
}

// watchedListener sees how net/http sends bodies.
type watchedListener struct {
	net.Listener
	byKernel, byCopy *atomic.Int64 // bytes
}

func (l watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return watchedConn{conn.(*net.TCPConn), l.byKernel, l.byCopy}, nil
}

type watchedConn struct {
	*net.TCPConn
	byKernel, byCopy *atomic.Int64
}

func (c watchedConn) Write(p []byte) (int, error) {
	c.byCopy.Add(int64(len(p)))
	return c.TCPConn.Write(p)
}

// ReadFrom counts what net.TCPConn has the kernel send: a file, or a part of it.
func (c watchedConn) ReadFrom(from io.Reader) (int64, error) {
	source := from
	if limited, ok := from.(*io.LimitedReader); ok {
		source = limited.R
	}
	n, err := c.TCPConn.ReadFrom(from)
	if _, ok := source.(*os.File); ok {
		c.byKernel.Add(n)
	} else {
		c.byCopy.Add(n)
	}
	return n, err
}

// TestSendfile makes sure that nothing between net/http and the file hides the
// one from the other: that costs nearly twice the CPU time.
func TestSendfile(t *testing.T) {
	l := newLab(t, FilesConfig{})
	var byKernel, byCopy atomic.Int64
	server := httptest.NewUnstartedServer(l.routes())
	server.Listener = watchedListener{server.Listener, &byKernel, &byCopy}
	server.Start()
	defer server.Close()
	for _, header := range []map[string]string{nil, {"Range": "bytes=1000-"}} {
		byKernel.Store(0)
		byCopy.Store(0)
		l.server.URL = server.URL
		_, body := l.do(t, http.MethodGet, "/generation/lab/42/kernel", header)
		// net/http sends the first 512 bytes with the header.
		if k, c := byKernel.Load(), byCopy.Load(); k < int64(len(body))-512 || c > 1500 {
			t.Errorf("%v: %d bytes of %d sent by the kernel, %d copied", header, k, len(body), c)
		}
	}
}

func TestBusyHTTP(t *testing.T) {
	l := newLab(t, FilesConfig{MaxTransfers: 1})
	l.files.slots <- struct{}{} // a transfer is under way
	response, body := l.do(t, http.MethodGet, "/generation/lab/42/kernel", nil)
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if response.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 || seconds > 10 || response.ContentLength != int64(len(body)) {
		t.Errorf("%s, Retry-After %q", response.Status, response.Header.Get("Retry-After"))
	}
	for _, path := range []string{"/generation/lab/42/initrd", "/loader/snponly.efi"} { // small
		if response, _ := l.do(t, http.MethodGet, path, nil); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	if response, _ := l.do(t, http.MethodHead, "/generation/lab/42/kernel", nil); response.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %s", response.Status)
	}
	<-l.files.slots
	for range 3 { // each gives its place back
		if response, body := l.do(t, http.MethodGet, "/generation/lab/42/kernel", nil); response.StatusCode != http.StatusOK || len(body) != len(kernel) {
			t.Errorf("with a place free: %s", response.Status)
		}
	}
	l.seen.wait(t, "http kernel sent", 3)
	l.seen.wait(t, "http kernel busy", 1)
}

// TestSlowClient takes the only place and then nothing more.
func TestSlowClient(t *testing.T) {
	l := newLab(t, FilesConfig{MaxTransfers: 1})
	l.files.stretchTime = 300 * time.Millisecond
	big := make([]byte, 64<<20) // more than the buffers of both sides hold
	if err := os.WriteFile(filepath.Join(l.dir, "store/linux/bzImage"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /generation/lab/42/kernel HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	l.seen.wait(t, "http kernel stalled", 1)
	// Whoever reads may be slow for want of a processor.
	l.files.stretchTime = time.Minute
	if response, body := l.do(t, http.MethodGet, "/generation/lab/42/kernel", nil); response.StatusCode != http.StatusOK || len(body) != len(big) {
		t.Errorf("after the stall: %s, %d bytes", response.Status, len(body))
	}
}

// TestSteadyClient takes longer than a stretch's time for the whole, and not for
// any stretch; then the connection is used again, after the deadline.
func TestSteadyClient(t *testing.T) {
	l := newLab(t, FilesConfig{})
	l.files.stretchTime = 2 * time.Second
	const size = 24 << 20
	if err := os.WriteFile(filepath.Join(l.dir, "store/linux/bzImage"), make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{ReadBufferSize: 4096}}
	response, err := client.Get(l.server.URL + "/generation/lab/42/kernel")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for n := 0; n < size; {
		time.Sleep(120 * time.Millisecond)
		m, err := io.ReadFull(response.Body, buf)
		if n += m; err != nil && n < size {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	response.Body.Close()
	time.Sleep(2500 * time.Millisecond)
	response, err = client.Get(l.server.URL + "/loader/snponly.efi")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// TestHungUp has the machine go away in the middle.
func TestHungUp(t *testing.T) {
	l := newLab(t, FilesConfig{MaxTransfers: 1})
	if err := os.WriteFile(filepath.Join(l.dir, "store/linux/bzImage"), make([]byte, 64<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.URL+"/generation/lab/42/kernel", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	response.Body.Close()
	l.seen.wait(t, "http kernel aborted", 1)
}

// FuzzPath asks for anything. Nothing that isn't on offer may come back, above
// all not the file beside the others.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/loader/snponly.efi", "/image/memtest/../secret", "/generation/lab/42/debug/initrd", "/loader/..%2f..%2fsecret"} {
		f.Add(seed)
	}
	l := newLab(f, FilesConfig{})
	routes := l.routes()
	f.Fuzz(func(t *testing.T, path string) {
		request, err := http.NewRequest(http.MethodGet, "http://x"+path, nil)
		if err != nil {
			return
		}
		recorder := httptest.NewRecorder()
		routes.ServeHTTP(recorder, request)
		body := recorder.Body.String()
		if strings.Contains(body, "secret") || strings.Contains(body, "root:") {
			t.Fatalf("%q: %d %.100q", path, recorder.Code, body)
		}
		if recorder.Code == http.StatusOK && recorder.Header().Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Fatalf("%q: %d bytes, Content-Length %s", path, len(body), recorder.Header().Get("Content-Length"))
		}
	})
}
