package lockstep

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
)

// files is a Handler that has some files and keeps what it is told.
type files struct {
	content map[string][]byte
	mu      sync.Mutex
	results []Result
	busy    int
	texts   int
}

func (f *files) Open(_ context.Context, r *Request) ([]byte, error) {
	content, ok := f.content[r.Name]
	if !ok {
		return nil, errors.New("file not found")
	}
	return content, nil
}

func (f *files) Ended(_ *Request, result Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.results = append(f.results, result)
}

func (f *files) Busy(*Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy++
}

func (f *files) Write(*Request) error { return errors.New("read-only") }

func (f *files) Text([]byte, *Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts++
}

// wait waits for the outcomes of n transfers.
func (f *files) wait(t *testing.T, n int) []Result {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		results := f.results
		f.mu.Unlock()
		if len(results) >= n {
			return results
		}
	}
	t.Fatalf("no %d transfers ended", n)
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

// serve runs a server until the test ends.
func serve(t *testing.T, config Config, handler Handler) netip.AddrPort {
	t.Helper()
	addr, _ := serveUntil(t, config, handler)
	return addr
}

// serveUntil runs a server until it is stopped or the test ends.
func serveUntil(t *testing.T, config Config, handler Handler) (addr netip.AddrPort, stop func()) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxTransfers == 0 {
		config.MaxTransfers = 100
	}
	if config.BlockSize == 0 {
		config.BlockSize = 1468
	}
	addr = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server, err := New(conn, config, handler)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	})
	return addr, cancel
}

// TestSizes has pin/tftp's client fetch files around the limits of a block.
func TestSizes(t *testing.T) {
	for _, single := range []bool{false, true} {
		f := &files{content: map[string][]byte{}}
		for _, name := range []struct {
			name string
			size int
		}{
			{"empty", 0}, {"one", 1}, {"below", 511}, {"block", 512}, {"above", 513},
			{"two blocks", 1024}, {"large", 300_001},
		} {
			f.content[name.name] = randomBytes(name.size)
		}
		addr := serve(t, Config{SinglePort: single}, f)
		for _, blksize := range []int{0, 512, 1468, 9000} {
			client, err := tftp.NewClient(addr.String())
			if err != nil {
				t.Fatal(err)
			}
			client.RequestTSize(blksize != 0)
			if blksize != 0 {
				client.SetBlockSize(blksize)
			}
			for name, want := range f.content {
				var got bytes.Buffer
				w, err := client.Receive(name, "octet")
				if err != nil {
					t.Fatal(err)
				}
				if size, ok := w.(tftp.IncomingTransfer).Size(); ok && size != int64(len(want)) {
					t.Errorf("%s: tsize %d, want %d", name, size, len(want))
				}
				if _, err := w.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s by %d: %d bytes, want %d: %v", name, blksize, got.Len(), len(want), err)
				}
			}
		}
	}
}

func TestMany(t *testing.T) {
	f := &files{content: map[string][]byte{"loader": randomBytes(200_000)}}
	addr := serve(t, Config{}, f)
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			client, err := tftp.NewClient(addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			client.SetBlockSize(1468)
			var got bytes.Buffer
			w, err := client.Receive("loader", "octet")
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := w.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), f.content["loader"]) {
				t.Errorf("%d bytes: %v", got.Len(), err)
			}
		})
	}
	clients.Wait()
	for _, r := range f.wait(t, 50) {
		if r.Err != nil || r.Bytes != 200_000 {
			t.Errorf("%+v", r)
		}
	}
}

// client is a socket that sends what no client should.
func client(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func send(t *testing.T, conn *net.UDPConn, to netip.AddrPort, packet string) {
	t.Helper()
	if _, err := conn.WriteToUDPAddrPort([]byte(packet), to); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, conn *net.UDPConn) (packet string, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 2048)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n]), from
}

const request = "\x00\x01loader\x00octet\x00"

// TestRepeatedRequest loses the first answer, as far as the machine can tell.
func TestRepeatedRequest(t *testing.T) {
	f := &files{content: map[string][]byte{"loader": []byte("content"), "other": []byte("else")}}
	addr := serve(t, Config{MaxTransfers: 3}, f)
	conn := client(t)
	var from netip.AddrPort
	for range 10 {
		send(t, conn, addr, request)
		var packet string
		if packet, from = receive(t, conn); packet != "\x00\x03\x00\x01content" {
			t.Fatalf("got %q", packet)
		}
	}
	send(t, conn, addr, "\x00\x01other\x00octet\x00")
	for packet := ""; packet != "\x00\x03\x00\x01else"; {
		packet, _ = receive(t, conn)
	}
	send(t, conn, from, "\x00\x04\x00\x01")
	results := f.wait(t, 2)
	if len(results) != 2 || results[0].Err != ErrReplaced || results[1].Err != nil {
		t.Errorf("outcomes %+v, want one that was replaced and one that was sent", results)
	}
}

// TestUnanswered takes all places in the name of machines that never asked.
func TestUnanswered(t *testing.T) {
	for _, single := range []bool{false, true} {
		f := &files{content: map[string][]byte{"loader": []byte("content")}}
		addr := serve(t, Config{MaxTransfers: 4, SinglePort: single}, f)
		for range 4 {
			conn := client(t)
			send(t, conn, addr, request)
			receive(t, conn)
		}
		conn := client(t)
		var packet string
		var from netip.AddrPort
		for begun := time.Now(); packet == ""; {
			send(t, conn, addr, request)
			if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2048)
			n, who, err := conn.ReadFromUDPAddrPort(buf)
			if err == nil {
				packet, from = string(buf[:n]), who
			} else if time.Since(begun) > 10*time.Second {
				t.Fatal("no answer while others don't answer")
			}
		}
		send(t, conn, from, "\x00\x04\x00\x01")
		if results := f.wait(t, 2); results[0].Err != ErrSilent || results[1].Err != nil || results[1].Bytes != 7 {
			t.Errorf("outcomes %+v", results)
		}
		f.mu.Lock()
		if f.busy == 0 {
			t.Error("nobody was told that the places were taken")
		}
		f.mu.Unlock()
	}
}

// TestStrangers sends acknowledgements and errors from other ports than the
// machine's.
func TestStrangers(t *testing.T) {
	for _, single := range []bool{false, true} {
		f := &files{content: map[string][]byte{"loader": []byte("content")}}
		addr := serve(t, Config{SinglePort: single}, f)
		conn, stranger := client(t), client(t)
		send(t, conn, addr, request)
		_, from := receive(t, conn)
		if (from == addr) != single {
			t.Errorf("single port %v: answer from %v, asked %v", single, from, addr)
		}
		for _, packet := range []string{"\x00\x04\x00\x01", "\x00\x05\x00\x00stop\x00", "\x00\x03\x00\x01x", "\x00"} {
			send(t, stranger, from, packet)
		}
		send(t, conn, from, "\x00\x04\x00\x01")
		if results := f.wait(t, 1); results[0].Err != nil {
			t.Errorf("outcome %v", results[0].Err)
		}
	}
}

// TestWrite refuses, with the code for it.
func TestWrite(t *testing.T) {
	addr := serve(t, Config{}, &files{})
	conn := client(t)
	send(t, conn, addr, "\x00\x02loader\x00octet\x00")
	if packet, _ := receive(t, conn); packet != "\x00\x05\x00\x02read-only\x00" {
		t.Errorf("got %q", packet)
	}
}

// A machine in the middle of its loader gets all of it from a server that stops,
// while nobody else gets anything.
func TestStopLetsTransfersEnd(t *testing.T) {
	f := &files{content: map[string][]byte{"loader": randomBytes(1200)}}
	addr, stop := serveUntil(t, Config{Grace: time.Minute}, f)
	const request = "\x00\x01loader\x00octet\x00"
	first, late := client(t), client(t)
	send(t, first, addr, request)
	_, from := receive(t, first)
	send(t, first, from, "\x00\x04\x00\x01")
	receive(t, first)
	stop()
	time.Sleep(50 * time.Millisecond)
	send(t, late, addr, request)
	if err := late.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := late.Read(make([]byte, 2000)); err == nil {
		t.Errorf("%d bytes for a request that came after the end", n)
	}
	send(t, first, from, "\x00\x04\x00\x02")
	last, _ := receive(t, first)
	for strings.HasPrefix(last, "\x00\x03\x00\x02") { // again
		last, _ = receive(t, first)
	}
	if want := "\x00\x03\x00\x03" + string(f.content["loader"][1024:]); last != want {
		t.Errorf("%q, want %q", last, want)
	}
	send(t, first, from, "\x00\x04\x00\x03")
	if results := f.wait(t, 1); results[0].Err != nil || results[0].Bytes != 1200 {
		t.Errorf("%+v, want the whole file", results[0])
	}
}

// One that has only asked, which may be anybody, doesn't hold up the end, nor
// does one that says nothing more, for long. Both are told.
func TestStopTellsWhoIsCut(t *testing.T) {
	for name, acknowledges := range map[string]bool{"asked": false, "stalled": true} {
		t.Run(name, func(t *testing.T) {
			f := &files{content: map[string][]byte{"loader": randomBytes(1200)}}
			config := Config{Grace: time.Minute}
			if acknowledges {
				config.Grace = 100 * time.Millisecond
			}
			addr, stop := serveUntil(t, config, f)
			conn := client(t)
			send(t, conn, addr, "\x00\x01loader\x00octet\x00")
			_, from := receive(t, conn)
			if acknowledges {
				send(t, conn, from, "\x00\x04\x00\x01")
				receive(t, conn)
			}
			stop()
			p, _ := receive(t, conn)
			for strings.HasPrefix(p, "\x00\x03") { // again
				p, _ = receive(t, conn)
			}
			if p != "\x00\x05\x00\x00the server stops\x00" {
				t.Errorf("%q", p)
			}
			if results := f.wait(t, 1); !errors.Is(results[0].Err, ErrStopped) {
				t.Errorf("%+v, want %v", results[0], ErrStopped)
			}
		})
	}
}
