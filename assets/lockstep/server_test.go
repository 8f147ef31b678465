package lockstep

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
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
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, conn, config, handler) }()
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
	return addr
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
