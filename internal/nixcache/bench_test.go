package nixcache

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/nix-community/go-nix/pkg/nar"
)

// benchObjects are what closures are made of: a few large files, and many small
// ones. Their content compresses to about a half.
func benchObjects() map[string][]node {
	content := func(size int) string {
		random := rand.New(rand.NewPCG(1, uint64(size)))
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(random.IntN(16))
		}
		return string(text)
	}
	small := []node{{"", "", fs.ModeDir}}
	for d := range 40 {
		small = append(small, node{fmt.Sprint("d", d), "", fs.ModeDir})
		for f := range 50 {
			small = append(small, node{fmt.Sprint("d", d, "/f", f), content(4000 + f), 0o444})
		}
	}
	return map[string][]node{
		"one file of 32 MiB":       {{"", content(32 << 20), 0o444}},
		"2,000 files of 4 kB":      small,
		"a text of 100 characters": {{"", content(100), 0o444}},
	}
}

// BenchmarkNAR serves NARs over HTTP on the loopback.
func BenchmarkNAR(b *testing.B) {
	for name, nodes := range benchObjects() {
		for _, compressed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s, zstd %v", name, compressed), func(b *testing.B) {
				c, server := planted(b, slog.New(slog.DiscardHandler), map[string][]node{testBase: nodes})
				o := c.view.Load().objects[testBase[:hashLength]]
				b.SetBytes(o.narSize)
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
		plant(b, dir, testBase, nodes...)
		size := int64(len(readNAR(b, dir, testBase)))
		b.Run(name+"/ravenboot", func(b *testing.B) {
			b.SetBytes(size)
			buffer := make([]byte, chunk)
			for b.Loop() {
				r := newNARReader(dir, testBase, size)
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
				if err := nar.DumpPath(io.Discard, filepath.Join(dir, testBase)); err != nil {
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
