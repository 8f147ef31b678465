// Package logging makes the program's logger: text on a terminal, JSON
// otherwise, in a form that costs little even when every packet has its line.
//
// It knows log records only, nothing of what they say.
package logging

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Config says how to log.
type Config struct {
	Level  slog.Level
	Format string // "text", "json", or "auto": text on a terminal, JSON otherwise
}

// New makes a logger that writes to w. Close must be called before the program
// ends, or the last lines are lost.
func New(w io.Writer, c Config) (*slog.Logger, *Writer) {
	out := NewWriter(w)
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" || c.Format != "json" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(out, options)), out
	}
	return slog.New(slog.NewJSONHandler(out, options)), out
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Line logs as log.LogAttrs does, for lines that come by the thousand: slog finds
// out where in the source each line was logged, though nothing here says so.
func Line(ctx context.Context, log *slog.Logger, level slog.Level, text string, attrs ...slog.Attr) {
	if !log.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, text, 0)
	record.AddAttrs(attrs...)
	// A log that can't be written can't be reported either.
	_ = log.Handler().Handle(ctx, record)
}

// Writer passes on what is written to it from a goroutine of its own. A line
// on an idle server goes out at once; while a write is under way, the lines
// that arrive are gathered and go out together, so that a boot storm costs one
// system call for many lines rather than one for each.
type Writer struct {
	mu      sync.Mutex
	room    sync.Cond
	pending []byte
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

// mostPending bounds the memory for lines not yet written, in bytes. A writer
// who finds it full waits: a log that can't be written must not be lost.
const mostPending = 1 << 20

// NewWriter starts a Writer on top of w.
func NewWriter(w io.Writer) *Writer {
	out := &Writer{wake: make(chan struct{}, 1), done: make(chan struct{})}
	out.room.L = &out.mu
	go out.run(w)
	return out
}

// Write takes one record. It never fails: there is nobody to tell.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	for len(w.pending) > mostPending && !w.closed {
		w.room.Wait()
	}
	// Whoever finds lines before its own knows that the writer is awake.
	first := len(w.pending) == 0
	w.pending = append(w.pending, line...)
	w.mu.Unlock()
	if first {
		w.poke()
	}
	return len(line), nil
}

func (w *Writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close writes what is pending and ends the goroutine.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	<-w.done
	return nil
}

func (w *Writer) run(to io.Writer) {
	defer close(w.done)
	var batch []byte
	for range w.wake {
		w.mu.Lock()
		batch, w.pending = w.pending, batch[:0]
		closed := w.closed
		w.mu.Unlock()
		if len(batch) > 0 {
			// A log that can't be written can't be reported either.
			_, _ = to.Write(batch)
		}
		w.room.Broadcast()
		if closed {
			return
		}
	}
}
