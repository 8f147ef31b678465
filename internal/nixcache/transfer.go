package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// defaultTransfers keeps the memory for transfers below 100 MB: a zstd encoder
	// and a chunk take 1.4 MB.
	defaultTransfers = 64
	// defaultQueueTime is how long a request waits for its turn. Nix gives up
	// after five answers of 503 within a few seconds, so waiting is better.
	defaultQueueTime = time.Minute
	// A transfer must make progress: a chunk in defaultStretchTime, or it is cut
	// off, which frees the place of a machine that was switched off.
	defaultStretchTime = time.Minute
	// chunk is how much is read and sent at a time, in bytes. With files of 4 kB
	// it is about a third faster than io.Copy's 32 kB.
	chunk = 256 << 10
)

// transfer is a request and what became of it.
type transfer struct {
	cache  *Cache
	w      http.ResponseWriter
	r      *http.Request
	kind   string // for logs and metrics
	begun  time.Time
	status int
	bytes  int64
	err    error // of the connection
	fault  error // of the store, or of this server
	told   bool  // the fault was logged where it arose
	cut    bool  // the answer is to end as a broken one

	counted int64 // of bytes, those of a batch's files
}

func (c *Cache) newTransfer(w http.ResponseWriter, r *http.Request, kind string) *transfer {
	return &transfer{cache: c, w: w, r: r, kind: kind, begun: time.Now()}
}

// Header is http.ResponseWriter's.
func (t *transfer) Header() http.Header { return t.w.Header() }

// WriteHeader is http.ResponseWriter's.
func (t *transfer) WriteHeader(status int) {
	t.status = status
	t.extend()
	t.w.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (t *transfer) Write(p []byte) (int, error) {
	t.extend()
	n, err := t.w.Write(p)
	t.bytes += int64(n)
	t.err = errors.Join(t.err, err)
	return n, err
}

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// ReadFrom sends what it reads in large chunks: store objects are mostly small
// files, which would else go out in small packets.
func (t *transfer) ReadFrom(from io.Reader) (total int64, err error) {
	if limited, ok := from.(*io.LimitedReader); ok {
		if file, ok := limited.R.(*os.File); ok {
			return t.sendFile(file, limited.N)
		}
	}
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	for {
		n, readErr := from.Read(buffer[:])
		if n > 0 {
			n, err = t.Write(buffer[:n])
			total += int64(n)
		}
		switch {
		case err != nil:
			return total, err
		case errors.Is(readErr, io.EOF):
			return total, nil
		case readErr != nil:
			t.fault = readErr
			return total, readErr
		}
	}
}

// stretch is how much of a file is handed to the kernel at a time, in bytes.
const stretch = 4 << 20

// sendFile leaves the copying to the kernel: io.CopyN finds the ReadFrom of
// net/http, and with it sendfile(2).
func (t *transfer) sendFile(file *os.File, size int64) (total int64, err error) {
	for total < size && err == nil {
		t.extend()
		var n int64
		n, err = io.CopyN(t.w, file, min(stretch, size-total))
		total += n
		t.bytes += n
	}
	if errors.Is(err, io.EOF) {
		t.fault = fmt.Errorf("%s was cut short while it was sent", file.Name())
	} else if err != nil {
		t.err = errors.Join(t.err, err)
	}
	return total, err
}

// extend gives the next chunk its time.
func (t *transfer) extend() {
	err := http.NewResponseController(t.w).SetWriteDeadline(time.Now().Add(t.cache.stretchTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		t.err = errors.Join(t.err, err)
	}
}

// end lets what is still in the server's buffer out under the deadline, takes
// the deadline off, since the connection goes on to the next request, and logs
// how it went.
func (t *transfer) end() {
	control := http.NewResponseController(t.w)
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		t.err = errors.Join(t.err, err)
	}
	// A connection that takes no deadline is one that has ended.
	_ = control.SetWriteDeadline(time.Time{})
	switch {
	case t.fault != nil && t.told:
		t.note(slog.LevelDebug, "cut off", t.fault.Error())
	case t.fault != nil:
		t.note(slog.LevelError, "failed", t.fault.Error())
	case errors.Is(t.err, os.ErrDeadlineExceeded):
		t.note(slog.LevelWarn, "stalled", "the machine took nothing for "+t.cache.stretchTime.String())
	case t.err != nil:
		t.note(slog.LevelWarn, "aborted", t.err.Error())
	case t.status == http.StatusServiceUnavailable:
		t.note(slog.LevelWarn, "busy", "as many transfers as [cache] max_transfers allows are under way")
	case t.status == http.StatusNotModified:
		t.note(slog.LevelDebug, "not modified", "")
	case t.status >= 400:
		t.note(slog.LevelDebug, "refused", http.StatusText(t.status))
	case t.r.Method == http.MethodHead:
		t.note(slog.LevelDebug, "probe", "")
	default:
		t.note(slog.LevelDebug, "sent", "")
	}
}

// note logs and counts the transfer. One that went well is of no interest to
// most: a system has a thousand paths.
func (t *transfer) note(level slog.Level, outcome, reason string) {
	t.cache.config.Observe("http", t.kind, outcome, t.bytes-t.counted)
	// Not the request's context: that has ended where the machine hung up.
	t.cache.log.LogAttrs(context.Background(), level, "cache",
		slog.String("step", t.kind), slog.String("outcome", outcome), slog.String("reason", reason),
		slog.String("file", shorten(t.r.URL.Path)), slog.String("address", t.address()),
		slog.Int64("bytes", t.bytes), slog.Duration("duration", time.Since(t.begun)))
}

func (t *transfer) address() string {
	from, err := netip.ParseAddrPort(t.r.RemoteAddr)
	if err != nil {
		return t.r.RemoteAddr
	}
	return from.Addr().Unmap().String()
}
