package nixcache

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	gonar "github.com/nix-community/go-nix/pkg/nar"

	"ravenboot/internal/nar"
	"ravenboot/internal/nar/nartest"
)

// benchObjects are what closures are made of: a few large files, and many small
// ones. Their content compresses to about a half.
func benchObjects() map[string][]nartest.Node {
	content := func(size int) string {
		random := rand.New(rand.NewPCG(1, uint64(size)))
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(random.IntN(16))
		}
		return string(text)
	}
	small := []nartest.Node{nartest.Dir("")}
	for d := range 40 {
		small = append(small, nartest.Dir(fmt.Sprint("d", d)))
		for f := range 50 {
			small = append(small, nartest.File(fmt.Sprint("d", d, "/f", f), content(4000+f)))
		}
	}
	return map[string][]nartest.Node{
		"one file of 32 MiB":       {nartest.File("", content(32<<20))},
		"2,000 files of 4 kB":      small,
		"a text of 100 characters": {nartest.File("", content(100))},
	}
}

// BenchmarkNAR serves NARs over HTTP on the loopback.
func BenchmarkNAR(b *testing.B) {
	for name, nodes := range benchObjects() {
		for _, compressed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s, zstd %v", name, compressed), func(b *testing.B) {
				c, server := planted(b, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: nodes})
				o := c.view.Load().objects[nartest.Base[:hashLength]]
				b.SetBytes(o.NarSize)
				b.ReportAllocs()
				for b.Loop() {
					r, err := http.Get(server.URL + o.resource(compressed).String())
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						b.Fatal(err)
					}
					r.Body.Close()
				}
			})
		}
	}
}

// BenchmarkReader compares the reader with go-nix's writer, without a network.
func BenchmarkReader(b *testing.B) {
	for name, nodes := range benchObjects() {
		dir := b.TempDir()
		nartest.Plant(b, dir, nartest.Base, nodes...)
		size := int64(len(readNAR(b, dir, nartest.Base)))
		b.Run(name+"/ravenboot", func(b *testing.B) {
			b.SetBytes(size)
			buffer := make([]byte, chunk)
			for b.Loop() {
				r := nar.NewReader(dir, nartest.Base, size)
				for {
					if _, err := r.Read(buffer); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				r.Close()
			}
		})
		b.Run(name+"/go-nix", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := gonar.DumpPath(io.Discard, filepath.Join(dir, nartest.Base)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPublish learns a closure of 1,000 paths, first from nix-store and
// then, as after a restart, from the state directory.
func BenchmarkPublish(b *testing.B) {
	store := newNixStore(b)
	toplevel := store.wide(b, 1000)
	closure := store.closure(b, toplevel)
	if len(closure) != 1001 {
		b.Fatalf("a closure of %d paths", len(closure))
	}
	config := store.config(b)
	file := filepath.Join(config.StateDir, FactsFile)
	publish := func(b *testing.B, before func()) {
		for b.Loop() {
			before()
			s := serve(b, config, slog.New(slog.DiscardHandler), toplevel)
			s.await(b, closure...)
			s.stop()
		}
	}
	b.Run("first", func(b *testing.B) { publish(b, func() { _ = os.Remove(file) }) })
	b.Run("restart", func(b *testing.B) { publish(b, func() {}) })
}
