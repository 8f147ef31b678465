package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestEveryLineArrivesWhole(t *testing.T) {
	var out bytes.Buffer
	log, w := New(&out, Config{Format: "auto"})
	const writers, each = 8, 500
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for j := range each {
				log.Info("boot", "machine", i, "line", j)
			}
		})
	}
	group.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != writers*each {
		t.Fatalf("%d lines, want %d", len(lines), writers*each)
	}
	for _, line := range lines {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
}

// slowWriter holds up its first write until it is released.
type slowWriter struct {
	started, release chan struct{}
	once             sync.Once
	writes           int
}

func (s *slowWriter) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.started); <-s.release })
	s.writes++
	return len(p), nil
}

func TestLinesAreGatheredWhileAWriteIsUnderWay(t *testing.T) {
	slow := &slowWriter{started: make(chan struct{}), release: make(chan struct{})}
	log, w := New(slow, Config{Format: "text"})
	log.Info("first")
	<-slow.started
	for range 100 {
		log.Info("meanwhile")
	}
	close(slow.release)
	w.Close()
	if slow.writes != 2 {
		t.Errorf("%d writes for 101 lines, want 2", slow.writes)
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log, w := New(&out, Config{Level: slog.LevelWarn, Format: "json"})
	log.Info("quiet")
	log.Warn("loud")
	w.Close()
	if got := strings.Count(out.String(), "\n"); got != 1 || !strings.Contains(out.String(), "loud") {
		t.Errorf("logged %q", out.String())
	}
}

func BenchmarkLine(b *testing.B) {
	log, w := New(nullWriter{}, Config{Format: "json"})
	defer w.Close()
	b.ReportAllocs()
	for b.Loop() {
		log.Info("script", "machine", "52:54:00:12:34:56", "step", "script", "outcome", "menu", "reason", "host lab-07 matches")
	}
}

type nullWriter struct{}

func (nullWriter) Write(p []byte) (int, error) { return len(p), nil }

// TestLine has the same lines from Line and from slog, in both forms.
func TestLine(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log, w := New(&out, Config{Format: format, Level: slog.LevelInfo})
		log = log.With("lab", "a")
		attrs := []slog.Attr{slog.Int("1", 1), slog.Int("2", 2), slog.Int("3", 3), slog.Int("4", 4), slog.Int("5", 5),
			slog.String("6", "more than a record holds by itself"), {}}
		for level := slog.LevelDebug; level <= slog.LevelError; level += 4 {
			log.LogAttrs(t.Context(), level, "step", attrs...)
			Line(t.Context(), log, level, "step", attrs...)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2*3 {
			t.Fatalf("%s: %d lines, want two for each level but debug:\n%s", format, len(lines), out.String())
		}
		for i := 0; i < len(lines); i += 2 {
			_, want, _ := strings.Cut(strings.ToLower(lines[i]), "level")
			if _, got, _ := strings.Cut(strings.ToLower(lines[i+1]), "level"); got != want || got == "" {
				t.Errorf("%s: %q, want %q", format, got, want)
			}
		}
	}
}
