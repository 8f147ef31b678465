package closure

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ravenboot/internal/batch"
)

// batches makes the bench's cache answer for many files at a time, each as alter
// leaves it, and counts the answers.
func (b *bench) batches(t *testing.T, alter func(name string, answer, file []byte) []byte) *atomic.Int64 {
	t.Helper()
	count := new(atomic.Int64)
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.URL.Path != "/"+batch.Path {
			return w
		}
		count.Add(1)
		names, err := batch.ReadQuestion(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", batch.ContentType)
		var answer []byte
		for _, name := range names {
			file, err := os.ReadFile(filepath.Join(b.cache, name))
			if err != nil {
				t.Error(err)
			}
			answer = alter(name, answer, file)
		}
		_, _ = w.Write(answer)
		return nil
	})
	return count
}

// texts is a toplevel of 300 small paths, and of one that is too large for a
// batch.
const texts = `
derivation {
  name = "nixos-system-texts"; system = "x86_64-linux"; builder = "/bin/sh";
  all = builtins.genList (n: builtins.toFile "text-${toString n}" "text ${toString n}") 300;
  args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; echo $all > texts; seq 20000 > numbers; touch init" ];
}
`

// publishTexts builds it and copies it to the cache, signed.
func (b *bench) publishTexts(t *testing.T, options string) string {
	t.Helper()
	file := filepath.Join(b.store.dir, "texts.nix")
	if err := os.WriteFile(file, []byte(texts), 0o600); err != nil {
		t.Fatal(err)
	}
	toplevel := b.store.run(t, "nix-build", "--no-out-link", file,
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false")
	b.store.copyTo(t, b.cache, toplevel, "secret-key="+b.secret+"&"+options)
	return toplevel
}

func whole(_ string, answer, file []byte) []byte { return batch.AppendFile(answer, file) }

// TestBatches fetches a system of small paths. Nothing but the toplevel, whose
// narinfo comes first and whose NAR is large, may take requests of its own.
func TestBatches(t *testing.T) {
	for _, compression := range []string{"none", "zstd", "xz"} {
		t.Run(compression, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publishTexts(t, "compression="+compression)
			count := b.batches(t, whole)
			b.fetch(t, toplevel)
			alone := b.requests.Load() - count.Load()
			if batches := count.Load(); batches != 3+5 || alone != 2 {
				t.Errorf("%d batches, %d other requests", batches, alone)
			}
			b.store.verify(t, b.root, toplevel)
		})
	}
}

// TestBadBatches gives answers that are of no use in one way or another: what
// they don't bring is fetched alone, and the system is whole.
func TestBadBatches(t *testing.T) {
	for name, alter := range map[string]func(name string, answer, file []byte) []byte{
		"none of the files": func(_ string, answer, _ []byte) []byte { return batch.AppendNone(answer) },
		"no NAR": func(name string, answer, file []byte) []byte {
			if strings.HasSuffix(name, ".narinfo") {
				return batch.AppendFile(answer, file)
			}
			return batch.AppendNone(answer)
		},
		"altered": func(_ string, answer, file []byte) []byte {
			file[len(file)/2] ^= 1
			return batch.AppendFile(answer, file)
		},
		"each another's file": func(name string, answer, file []byte) []byte {
			return batch.AppendFile(answer, append([]byte(name), file...))
		},
		"cut": func(_ string, answer, file []byte) []byte {
			if len(answer) > 10_000 {
				return answer
			}
			return batch.AppendFile(answer, file)
		},
		"no answer to a batch": func(_ string, answer, file []byte) []byte { return append(answer, "<html>"...) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publishTexts(t, "compression=none")
			b.batches(t, alter)
			c := b.fetch(t, toplevel)
			b.store.verify(t, b.root, toplevel)
			if p := c.Progress(); p.Bytes != p.BytesTotal || p.Paths != p.PathsTotal {
				t.Errorf("the progress ends with %+v", p)
			}
		})
	}
}

// TestNoBatches has a cache that knows none: it is asked once or twice, not for
// each part of a closure.
func TestNoBatches(t *testing.T) {
	b := newBench(t)
	toplevel := b.publishTexts(t, "compression=none")
	var asked atomic.Int64
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.Method == http.MethodPost {
			asked.Add(1)
		}
		return w
	})
	b.fetch(t, toplevel)
	b.store.verify(t, b.root, toplevel)
	if got := asked.Load(); got < 1 || got > questions {
		t.Errorf("the cache was asked %d times for what it doesn't know", got)
	}
}

// TestStalledBatch stops in the middle of an answer.
func TestStalledBatch(t *testing.T) {
	b := newBench(t)
	toplevel := b.publishTexts(t, "compression=none")
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.Method != http.MethodPost {
			return w
		}
		w.Header().Set("Content-Type", batch.ContentType)
		_, _ = w.Write([]byte("60000\nhalf"))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-over:
		}
		return nil
	})
	c := b.closureOf(t, toplevel)
	c.fetch.cache.stall /= 100
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.store.verify(t, b.root, toplevel)
}

// TestUnsafeNames keeps what a cache makes up out of a batch's lines.
func TestUnsafeNames(t *testing.T) {
	for url, small := range map[string]bool{
		"nar/x.nar": true, "": false, "nar/x.nar\nnar/y.nar": false, "nar/" + strings.Repeat("x", batch.MaxName): false,
	} {
		if got := isSmall(&object{url: url}); got != small {
			t.Errorf("%.40q: %v", url, got)
		}
	}
	if bytes.Contains(batch.Question([]string{"a"}), []byte("\n\n")) {
		t.Error("an empty line")
	}
}
