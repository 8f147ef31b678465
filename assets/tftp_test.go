package assets

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ravenboot/internal/machine"
)

var discard = slog.New(slog.DiscardHandler)

// scriptFor is the Scripts of tests: it says what it was asked.
type scriptFor struct{}

func (scriptFor) Autoexec(_ context.Context, mac machine.MAC, local netip.Addr) []byte {
	return []byte("#!ipxe\n# " + mac.String() + " at " + local.String() + "\n")
}

// observed counts what an Observe hook was told.
type observed struct {
	mu    sync.Mutex
	count map[string]int
}

func (o *observed) observe(protocol, kind, result string, _ int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count == nil {
		o.count = map[string]int{}
	}
	o.count[protocol+" "+kind+" "+result]++
}

// wait waits until something was observed n times, because a server learns of
// the end of a transfer after the client.
func (o *observed) wait(t *testing.T, what string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		o.mu.Lock()
		got := o.count[what]
		o.mu.Unlock()
		switch {
		case got == n:
			return
		case got > n || time.Now().After(deadline):
			t.Fatalf("%q was observed %d times, want %d; all: %v", what, got, n, o.count)
		}
	}
}

// startTFTP runs a server until the test ends, and returns its port.
func startTFTP(t *testing.T, config TFTPConfig, loaders *Loaders) netip.AddrPort {
	t.Helper()
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	server := NewTFTP(config, loaders, scriptFor{}, discard)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	select {
	case <-server.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	})
	return netip.MustParseAddrPort(server.Addr().String())
}

// program is a file that passes for an EFI program of an architecture, of n
// bytes that don't repeat in step with any block size.
func program(coff uint16, n int) []byte {
	data := make([]byte, max(n, 256))
	for i := range data {
		data[i] = byte(i*7 + i>>8*31 + i>>16*17)
	}
	copy(data, "MZ")
	data[60], data[61], data[62], data[63] = 128, 0, 0, 0
	copy(data[128:], []byte{'P', 'E', 0, 0, byte(coff), byte(coff >> 8)})
	return data
}

// write makes files below a new directory.
func write(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// only searches a directory and no place of a distribution.
func only(dirs ...string) *Loaders { return findLoaders(dirs, nil, nil) }
