package nar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	gonar "github.com/nix-community/go-nix/pkg/nar"

	"ravenboot/internal/nar/nartest"
)

// descriptors is how many files this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// nested is an archive of so many directories in each other with a file at the
// bottom.
func nested(depth int) []byte {
	words := []any{"nix-archive-1"}
	for range depth {
		words = append(words, "(", "type", "directory", "entry", "(", "name", "d", "node")
	}
	words = append(words, "(", "type", "regular", "contents", "deep", ")")
	for range depth {
		words = append(words, ")", ")")
	}
	return archive(words...)
}

func TestUnpackDeepTrees(t *testing.T) {
	for depth, fits := range map[int]bool{1: true, maxDepth: true, maxDepth + 1: false, 100_000: false} {
		dir, text := opened(t), nested(depth)
		before := descriptors(t)
		err := Unpack(bytes.NewReader(text), dir, "x")
		if fits && err != nil || !fits && !errors.Is(err, ErrFormat) {
			t.Errorf("%d directories deep: %v", depth, err)
		}
		if fits && !bytes.Equal(readNAR(t, dir.Name(), "x"), text) {
			t.Errorf("%d directories deep: something else came of it", depth)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d directories deep: %d files stay open", depth, after-before)
		}
	}
}

// Wherever an archive breaks off, nothing stays open, and the error says which
// of the two it was.
func TestUnpackBrokenOffLeavesNothingOpen(t *testing.T) {
	from := t.TempDir()
	nartest.Plant(t, from, nartest.Base, nartest.Objects["tree"]...)
	text := readNAR(t, from, nartest.Base)
	broken := errors.New("connection reset")
	before := descriptors(t)
	dir := opened(t)
	before++ // dir
	for cut := 0; cut < len(text); cut += 1 + cut/20 {
		name := fmt.Sprint(cut)
		if err := Unpack(bytes.NewReader(text[:cut]), dir, name); !errors.Is(err, ErrFormat) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
		err := Unpack(io.MultiReader(bytes.NewReader(text[:cut]), iotest.ErrReader(broken)), dir, name+"-broken")
		if !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
			t.Errorf("broken after %d bytes: %v", cut, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d files stay open", after-before)
	}
}

// unpackGoNix is the least that unpacking with go-nix takes.
func unpackGoNix(src io.Reader, to string) error {
	r, err := gonar.NewReader(src)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, header.Path)
		switch header.Type {
		case gonar.TypeDirectory:
			err = os.Mkdir(path, 0o755)
		case gonar.TypeSymlink:
			err = os.Symlink(header.LinkTarget, path)
		case gonar.TypeRegular:
			err = writeFrom(r, path)
		}
		if err != nil {
			return err
		}
	}
}

func writeFrom(src io.Reader, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, src)
	return errors.Join(err, file.Close())
}

// BenchmarkUnpackGoNix is beside BenchmarkUnpack; it sets no times and no modes.
func BenchmarkUnpackGoNix(b *testing.B) {
	text := manyFiles(b)
	dir := opened(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := unpackGoNix(bytes.NewReader(text), filepath.Join(dir.Name(), fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
}
