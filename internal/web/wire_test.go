package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// serve runs a boot side on a port of its own until the test ends; change may
// shorten its time-outs first. It returns the address.
func serve(t *testing.T, handler http.Handler, change func(*Server)) (addr string, stop func() error) {
	t.Helper()
	s := NewServer("http", "127.0.0.1:0", nil, handler, quiet)
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	stop = func() error {
		cancel()
		err := <-ended
		ended <- nil // for the next to ask
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String(), stop
}

func bootSide() http.Handler {
	return bootHandler(scripts(policy()))
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// answer is what was on the wire, headers as they were sent.
type answer struct {
	status int
	header textproto.MIMEHeader
	body   []byte
}

// ask sends a request as it is and reads exactly one answer, by its
// Content-Length: what firmware does, for which anything else is a hang or a
// loop (edk2 PR#997, edk2#7443).
func ask(t *testing.T, c net.Conn, r *bufio.Reader, method, target string) answer {
	t.Helper()
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: 192.0.2.10\r\n\r\n", method, target); err != nil {
		t.Fatal(err)
	}
	text := textproto.NewReader(r)
	line, err := text.ReadLine()
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	var a answer
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d ", &a.status); err != nil {
		t.Fatalf("%s %s: %q", method, target, line)
	}
	if a.header, err = text.ReadMIMEHeader(); err != nil {
		t.Fatal(err)
	}
	for name, values := range a.header {
		if strings.Join(values, "") == "" {
			t.Errorf("%s %s: header %s is empty", method, target, name)
		}
	}
	var length int
	if _, err := fmt.Sscan(a.header.Get("Content-Length"), &length); err != nil {
		t.Fatalf("%s %s: %d without Content-Length: %v", method, target, a.status, a.header)
	}
	if method != http.MethodHead {
		a.body = make([]byte, length)
		if _, err := io.ReadFull(r, a.body); err != nil {
			t.Fatalf("%s %s: %v", method, target, err)
		}
	}
	return a
}

// TestOneConnection asks for everything, good and bad, on one connection:
// HttpBootDxe dislikes one that is closed (edk2#9920), and redirects (smee
// PR#229).
func TestOneConnection(t *testing.T) {
	addr, _ := serve(t, bootSide(), nil)
	c, r := dial(t, addr)
	for _, row := range []struct {
		method, target string
		status         int
	}{
		{"HEAD", "/boot.ipxe?mac=52:54:00:12:34:56", 200},
		{"GET", "/boot.ipxe?mac=52:54:00:12:34:56", 200},
		{"GET", "//boot.ipxe?mac=52:54:00:12:34:56", 200},
		{"GET", "///boot.ipxe", 200},
		{"GET", "/./boot.ipxe", 200},
		{"GET", "http://192.0.2.10/boot.ipxe", 200},
		{"GET", "/boot.ipxe?mac=zz", 400},
		{"GET", "/boot.ipxe?mac=52:54:00:12:34:56&entry=lab/7", 404},
		{"GET", "//loader///snponly.efi", 200},
		{"HEAD", "//loader/52-54-00-12-34-56//snponly.efi", 200},
		{"GET", "/generation//lab/42//kernel", 200},
		{"GET", "/boot.ipxe/", 404},
		{"GET", "/nothing", 404},
		{"HEAD", "/nothing", 404},
		{"GET", "/", 404},
		{"POST", "/boot.ipxe", 405},
		{"DELETE", "/loader/snponly.efi", 405},
		{"GET", "/healthz", 200},
		{"HEAD", "/healthz", 200},
	} {
		a := ask(t, c, r, row.method, row.target)
		if a.status != row.status {
			t.Errorf("%s %s: %d, want %d", row.method, row.target, a.status, row.status)
		}
		if got := a.header.Get("Location"); got != "" {
			t.Errorf("%s %s: redirected to %s", row.method, row.target, got)
		}
		if got := a.header.Get("Connection"); got != "" {
			t.Errorf("%s %s: Connection: %s", row.method, row.target, got)
		}
		if got := a.header.Get("Allow"); (got == "GET, HEAD") != (row.status == 405) {
			t.Errorf("%s %s: Allow: %q", row.method, row.target, got)
		}
		script := strings.Contains(row.target, "boot.ipxe") && row.method == "GET" && !strings.HasSuffix(row.target, "/")
		if script && !bytes.HasPrefix(a.body, []byte("#!ipxe\n")) {
			t.Errorf("%s %s: no script: %q", row.method, row.target, a.body)
		}
	}
}

// TestHeadIsGetWithoutBody: UEFI HTTP Boot asks for the size first.
func TestHeadIsGetWithoutBody(t *testing.T) {
	addr, _ := serve(t, bootSide(), nil)
	c, r := dial(t, addr)
	for _, target := range []string{"/boot.ipxe", "/boot.ipxe?mac=52:54:00:12:34:56", "/boot.ipxe?mac=zz", "/healthz"} {
		get, head := ask(t, c, r, "GET", target), ask(t, c, r, "HEAD", target)
		if get.status != head.status || get.header.Get("Content-Length") != head.header.Get("Content-Length") ||
			get.header.Get("Content-Type") != head.header.Get("Content-Type") {
			t.Errorf("%s: GET %d %v, HEAD %d %v", target, get.status, get.header, head.status, head.header)
		}
	}
}

// TestOldClients: HTTP/1.0 without a Host gets its answer and a closed
// connection.
func TestOldClients(t *testing.T) {
	addr, _ := serve(t, bootSide(), nil)
	c, r := dial(t, addr)
	fmt.Fprint(c, "GET /boot.ipxe HTTP/1.0\r\n\r\n")
	all, err := io.ReadAll(r)
	if err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.0 200 OK\r\n")) || !bytes.Contains(all, []byte("\r\n\r\n#!ipxe\n")) {
		t.Errorf("%q, %v", all, err)
	}
}

// TestSlowHeader: a client that never finishes its request is hung up on, and
// keeps nobody else waiting.
func TestSlowHeader(t *testing.T) {
	addr, _ := serve(t, bootSide(), func(s *Server) { s.http.ReadHeaderTimeout = 300 * time.Millisecond })
	slow, slowReader := dial(t, addr)
	fmt.Fprint(slow, "GET /boot.ipxe HTTP/1.1\r\nHost: 192.0.2.10\r\nX-")
	c, r := dial(t, addr)
	if a := ask(t, c, r, "GET", "/healthz"); a.status != 200 {
		t.Errorf("another client: %d", a.status)
	}
	if all, err := io.ReadAll(slowReader); err != nil || bytes.Contains(all, []byte(" 200 ")) {
		t.Errorf("the slow client got %q, %v; want the end of the connection", all, err)
	}
}

// TestClientThatNeverReads: requests without end, and nobody who takes the
// answers.
func TestClientThatNeverReads(t *testing.T) {
	addr, _ := serve(t, bootSide(), func(s *Server) { s.http.WriteTimeout = 300 * time.Millisecond })
	c, _ := dial(t, addr)
	request := bytes.Repeat([]byte("GET /boot.ipxe?mac=52:54:00:12:34:56 HTTP/1.1\r\nHost: a\r\n\r\n"), 1000)
	for {
		if _, err := c.Write(request); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Error("the server holds the connection for as long as the client likes")
			}
			return
		}
	}
}

// TestLargeHeader: the size of a request is bounded.
func TestLargeHeader(t *testing.T) {
	addr, _ := serve(t, bootSide(), nil)
	for name, request := range map[string]string{
		"header": "GET /boot.ipxe HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"target": "GET /boot.ipxe?mac=" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		c, r := dial(t, addr)
		go io.WriteString(c, request)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 431 ") {
			t.Errorf("%s: %q, %v, want 431", name, line, err)
		}
	}
}

// TestDrain: a download that outlasts the drain time is cut off with a line in
// the log, and is no failure of the server.
func TestDrain(t *testing.T) {
	var log strings.Builder
	inside := make(chan struct{})
	stuck := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done() // ends when the connection does
	})
	addr, stop := serve(t, stuck, func(s *Server) {
		s.drain, s.log = 50*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	})
	c, _ := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	if err := stop(); err != nil {
		t.Error(err)
	}
	if want := `msg="downloads were cut off" service=http`; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %s: %s", want, &log)
	}
}

// TestListenAdvice: each failure to listen says what to do.
func TestListenAdvice(t *testing.T) {
	taken, _ := serve(t, bootSide(), nil)
	for addr, want := range map[string]string{
		taken:           "`ss -ltnp` shows which",
		"203.0.113.1:0": "`ip address` shows them",
	} {
		err := NewServer("http", addr, nil, bootSide(), quiet).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "http: ") {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
}
