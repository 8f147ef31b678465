package closure

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func isNAR(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/nar/") }

// packages are the paths of a machine's packages that are in their places.
func (b *bench) packages(t *testing.T) []string {
	t.Helper()
	placed, err := filepath.Glob(filepath.Join(b.root, b.store.dir, "store", "*-package-*"))
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

// What a valid system refers to can be lost as well as the system itself.
func TestClosureBringsBackALostDependency(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 6, 5000, "compression=none")
	b.fetch(t, toplevel)
	removeStore(t, b.packages(t)[2])
	b.requests.Store(0)
	if got := b.fetch(t, toplevel).Progress().Paths; got != 1 || b.requests.Load() != 2 {
		t.Errorf("%d paths fetched with %d requests, want the lost one", got, b.requests.Load())
	}
	b.store.verify(t, b.root, toplevel)
}

// unresumable hides what a download could be gone on with.
type unresumable struct{ http.ResponseWriter }

func (w unresumable) WriteHeader(code int) {
	w.Header().Del("ETag")
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(code)
}

// A path that has to come twice is one path, and its bytes are those of one; the
// network has carried more.
func TestRetriedPathIsCountedOnce(t *testing.T) {
	for _, compression := range []string{"none", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publish(t, "one", 2, 1_500_000, "compression="+compression)
			var times atomic.Int64
			times.Store(2)
			b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
				if isNAR(r) {
					return unresumable{&cutter{w, 900_000, &times}}
				}
				return w
			})
			c := b.closureOf(t, toplevel)
			over := watch(t, c)
			if err := c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			over()
			p := c.Progress()
			if times.Load() > 0 || p.Bytes != p.BytesTotal || p.Paths != p.PathsTotal {
				t.Errorf("%+v after %d of 2 cuts", p, 2-times.Load())
			}
			if extra := c.Fetched() - p.BytesTotal; extra < 1_000_000 || extra > 2_000_000 {
				t.Errorf("%d bytes came for %d, want those of two cut downloads more", c.Fetched(), p.BytesTotal)
			}
			b.store.verify(t, b.root, toplevel)
		})
	}
}

// watch sees to it that the progress is never more than all there is. The
// function that it returns ends that.
func watch(t *testing.T, c *Closure) (over func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			// A byte more than there should be is looked for.
			if p := c.Progress(); p.PathsTotal > 0 && (p.Paths > p.PathsTotal || p.Bytes > p.BytesTotal+parallel || p.Bytes < 0) {
				t.Errorf("progress %+v", p)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { close(done); <-ended }
}

// A second Run takes what the first has placed without another look: it counts
// at once, isn't asked for, and isn't read.
func TestSecondRunKeepsWhatTheFirstPlaced(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 8, 5000, "compression=none")
	var nars, altered atomic.Int64
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if isNAR(r) && nars.Add(1) == 5 {
			altered.Add(1)
			_, _ = io.WriteString(w, "no archive")
			return nil
		}
		return w
	})
	c := b.closureOf(t, toplevel)
	if err := c.Run(t.Context()); !errors.Is(err, ErrAltered) {
		t.Fatal(err)
	}
	if got, want := nars.Load(), int64(9); got != want {
		t.Errorf("%d NARs were asked for, want all %d though one is altered", got, want)
	}
	if p := c.Progress(); p.Paths != 8 || p.Bytes >= p.BytesTotal {
		t.Errorf("after the first run the progress is %+v", p)
	}
	// It would be fetched again if it were read.
	marked := filepath.Join(b.packages(t)[0], "readme")
	whole, err := os.ReadFile(marked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(marked, []byte("x"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := nars.Load(); got != 10 {
		t.Errorf("%d NARs were asked for in both runs, want 10", got)
	}
	if p := c.Progress(); p.Paths != 9 || p.Bytes != p.BytesTotal {
		t.Errorf("after the second run the progress is %+v", p)
	}
	if err := os.WriteFile(marked, whole, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(marked, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	b.store.verify(t, b.root, toplevel)
}

func TestMissingPathSaysWhereToLook(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 1, 10, "compression=none")
	for _, missing := range []string{".narinfo", ".nar"} {
		b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if strings.HasSuffix(r.URL.Path, missing) {
				http.NotFound(w, r)
				return nil
			}
			return w
		})
		b.requests.Store(0)
		err := b.closureOf(t, toplevel).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "404 Not Found (is this generation still on offer?") ||
			!strings.Contains(err.Error(), filepath.Base(toplevel)) && !strings.Contains(err.Error(), "-package-0") {
			t.Errorf("%s: %v", missing, err)
		}
		if got := b.requests.Load(); got > 4 {
			t.Errorf("%s: %d requests: what is missing was asked for again", missing, got)
		}
	}
}

// restartable is a server that can go away from its address and come back.
type restartable struct {
	http.Server
	address string
}

func startRestartable(t *testing.T, handler http.Handler) *restartable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &restartable{address: listener.Addr().String()}
	s.Handler = handler
	go s.Serve(listener) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { s.Close() })
	return s
}

// again is a new server at the address of one that has gone.
func (s *restartable) again(t *testing.T, handler http.Handler) {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Error(err)
		return
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
}

func TestClosureOutlastsAServerRestart(t *testing.T) {
	for _, moment := range []string{".narinfo", ".nar"} {
		t.Run(moment, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publish(t, "one", 20, 200_000, "compression=none")
			handler := b.server.Config.Handler
			var seen atomic.Int64
			var s *restartable
			s = startRestartable(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, moment) && seen.Add(1) == 10 {
					go func() {
						s.Close()
						time.Sleep(700 * time.Millisecond)
						s.again(t, handler)
					}()
					time.Sleep(100 * time.Millisecond)
				}
				handler.ServeHTTP(w, r)
			}))
			b.server.URL = "http://" + s.address
			c := b.fetch(t, toplevel)
			if p := c.Progress(); p.Paths != 21 || p.Bytes != p.BytesTotal {
				t.Errorf("progress %+v", p)
			}
			b.store.verify(t, b.root, toplevel)
		})
	}
}

// What a server that has gone would answer isn't tried out path by path.
func TestLostServerEndsTheQuestions(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 100, 10, "compression=none")
	var failed atomic.Int64
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if !strings.Contains(toplevel, strings.TrimSuffix(filepath.Base(r.URL.Path), ".narinfo")) {
			failed.Add(1)
			w.WriteHeader(http.StatusBadGateway)
			return nil
		}
		return w
	})
	c := b.closureOf(t, toplevel)
	c.fetch.cache.patience = time.Millisecond
	err := c.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "502 Bad Gateway") {
		t.Errorf("%v, want what the server said", err)
	}
	if got := failed.Load(); got > 2*questions {
		t.Errorf("%d questions to a server that answers none", got)
	}
}

// A reader that takes its time, because the disk does, is no reason to hang up.
func TestSlowDiskIsNoStall(t *testing.T) {
	content := strings.Repeat("x", 1<<20)
	var requests atomic.Int64
	s := startRestartable(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, content)
	}))
	c, err := newCache("http://"+s.address, 1, func(line string) { t.Error(line) })
	if err != nil {
		t.Fatal(err)
	}
	c.stall = 100 * time.Millisecond
	d, err := c.open(t.Context(), &object{url: "x", fileSize: int64(len(content))})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := make([]byte, 1000)
	if _, err := io.ReadFull(d, p); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * c.stall)
	if rest, err := io.ReadAll(d); err != nil || len(rest) != len(content)-len(p) || requests.Load() != 1 {
		t.Errorf("%d bytes more in %d requests, %v", len(rest), requests.Load(), err)
	}
}

// A download that took longer than the server's patience is still tried again.
func TestPatienceBeginsWithTheFirstFailure(t *testing.T) {
	c, err := newCache("http://192.0.2.1", 1, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	c.patience = 300 * time.Millisecond
	rounds := 0
	err = c.insist(t.Context(), func(context.Context) error {
		if rounds++; rounds == 1 {
			time.Sleep(2 * c.patience)
			return errLost
		}
		return nil
	})
	if err != nil || rounds != 2 {
		t.Errorf("%v after %d rounds", err, rounds)
	}
}

func TestFileThatIsTooLong(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 1, 10, "compression=xz")
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if isNAR(r) {
			text, _ := os.ReadFile(filepath.Join(b.cache, r.URL.Path))
			_, _ = w.Write(append(text, make([]byte, 1<<20)...))
			return nil
		}
		return w
	})
	err := b.closureOf(t, toplevel).Run(t.Context())
	if !errors.Is(err, ErrAltered) {
		t.Errorf("%v, want ErrAltered", err)
	}
}
