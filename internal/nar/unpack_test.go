package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"ravenboot/internal/nar/nartest"
)

// opened is a new directory to unpack in.
func opened(t testing.TB) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dir.Close()
		// t.TempDir can't remove what is in read-only directories, but as root.
		_ = filepath.WalkDir(dir.Name(), func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return dir
}

func TestUnpackIsTheWayBack(t *testing.T) {
	for _, mask := range []int{0o022, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", mask), func(t *testing.T) {
			old := unix.Umask(mask)
			defer unix.Umask(old)
			testUnpackIsTheWayBack(t)
		})
	}
}

func testUnpackIsTheWayBack(t *testing.T) {
	t.Helper()
	for name, nodes := range nartest.Objects {
		t.Run(name, func(t *testing.T) {
			from := t.TempDir()
			nartest.Plant(t, from, nartest.Base, nodes...)
			text := readNAR(t, from, nartest.Base)
			for how, src := range map[string]io.Reader{
				"whole": bytes.NewReader(text), "bytewise": iotest.OneByteReader(bytes.NewReader(text)),
				"with EOF": iotest.DataErrReader(bytes.NewReader(text)),
			} {
				dir := opened(t)
				if err := Unpack(src, dir, nartest.Base); err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if got := readNAR(t, dir.Name(), nartest.Base); !bytes.Equal(got, text) {
					t.Errorf("%s: got\n%q\nwant\n%q", how, got, text)
				}
				checkCanonical(t, dir.Name())
			}
		})
	}
}

// checkCanonical compares modes and times with those of a Nix store.
func checkCanonical(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		if d.Type()&fs.ModeSymlink == 0 && mode != 0o444 && mode != 0o555 || d.IsDir() && mode != 0o555 {
			t.Errorf("%s has mode %o", path, mode)
		}
		if info.ModTime().UnixNano() != 1e9 {
			t.Errorf("%s is of %v", path, info.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnpackTakesTheNAROfNix(t *testing.T) {
	from := t.TempDir()
	nartest.Plant(t, from, nartest.Base, nartest.Objects["tree"]...)
	text, err := exec.Command("nix-store", "--dump", filepath.Join(from, nartest.Base)).Output()
	if err != nil {
		t.Fatalf("%v (apt-get install nix-bin, if it is missing)", err)
	}
	dir := opened(t)
	if err := Unpack(bytes.NewReader(text), dir, "x"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("diff", "-r", "--no-dereference",
		filepath.Join(from, nartest.Base), filepath.Join(dir.Name(), "x")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// archive writes strings as an archive has them; an int is a number.
func archive(words ...any) []byte {
	var b []byte
	for _, word := range words {
		switch word := word.(type) {
		case int:
			b = binary.LittleEndian.AppendUint64(b, uint64(word))
		case string:
			b = binary.LittleEndian.AppendUint64(b, uint64(len(word)))
			b = append(b, word...)
			b = append(b, make([]byte, -len(word)&7)...)
		}
	}
	return b
}

func TestUnpackRefuses(t *testing.T) {
	const magic = "nix-archive-1"
	link := []any{"(", "type", "symlink", "target", "x", ")"}
	entry := func(name string, node ...any) []any {
		return append(append([]any{"entry", "(", "name", name, "node"}, node...), ")")
	}
	dir := func(entries ...[]any) []byte {
		words := []any{magic, "(", "type", "directory"}
		for _, e := range entries {
			words = append(words, e...)
		}
		return archive(append(words, ")")...)
	}
	var deep []any
	for range maxDepth + 2 {
		deep = append(deep, "(", "type", "directory", "entry", "(", "name", "d", "node")
	}
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":           {nil, "too early"},
		"something else":    {archive("nix-archive-2"), "where \"nix-archive-1\" belongs"},
		"a device":          {archive(magic, "(", "type", "device", ")"), `type "device"`},
		"up":                {dir(entry("..", link...)), `name ".."`},
		"here":              {dir(entry(".", link...)), `name "."`},
		"no name":           {dir(entry("", link...)), `name ""`},
		"a path":            {dir(entry("../x", link...)), `name "../x"`},
		"a NUL":             {dir(entry("a\x00b", link...)), `name "a\x00b"`},
		"a long name":       {dir(entry(strings.Repeat("x", 256), link...)), "name"},
		"a name twice":      {dir(entry("a", link...), entry("a", link...)), `"a" after "a"`},
		"disorder":          {dir(entry("b", link...), entry("a", link...)), `"a" after "b"`},
		"a long string":     {archive(magic, "(", "type", "symlink", "target", strings.Repeat("x", 5000)), "string of 5000"},
		"a huge string":     {archive(magic, -1), "string of"},
		"an empty target":   {archive(magic, "(", "type", "symlink", "target", "", ")"), "target"},
		"a short file":      {archive(magic, "(", "type", "regular", "contents", 1<<40), "too early"},
		"bad padding":       {append(archive(magic, "(", "type", "regular", "contents", 1), "x1234567"...), "padding"},
		"a cut":             {dir(entry("a", link...))[:100], "too early"},
		"more":              {append(dir(), 0), "after its end"},
		"deep":              {archive(append([]any{magic}, deep...)...), "directories deep"},
		"through a symlink": {dir(entry("a", link...), entry("a/b", link...)), `name "a/b"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Unpack(bytes.NewReader(test.text), opened(t), "x")
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want ErrFormat with %q", err, test.want)
			}
		})
	}
}

func TestUnpackTellsABrokenConnection(t *testing.T) {
	text := archive("nix-archive-1", "(", "type", "regular", "contents", 1<<20)
	broken := errors.New("connection reset")
	err := Unpack(io.MultiReader(bytes.NewReader(text), iotest.ErrReader(broken)), opened(t), "x")
	if !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
		t.Errorf("%v, want only the connection's error", err)
	}
}

func TestUnpackReplacesNothing(t *testing.T) {
	dir := opened(t)
	nartest.Plant(t, dir.Name(), "x", nartest.File("", "mine"))
	err := Unpack(bytes.NewReader(archive("nix-archive-1", "(", "type", "regular", "contents", "yours", ")")), dir, "x")
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want that it exists", err)
	}
}

// FuzzUnpack takes archives apart: what is accepted is the archive of what was
// made.
func FuzzUnpack(f *testing.F) {
	for _, name := range []string{"tree", "file", "symlink", "dotted names"} {
		dir := f.TempDir()
		nartest.Plant(f, dir, nartest.Base, nartest.Objects[name]...)
		f.Add(readNAR(f, dir, nartest.Base))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := opened(t)
		if err := Unpack(bytes.NewReader(text), dir, "x"); err != nil {
			return
		}
		if got := readNAR(t, dir.Name(), "x"); !bytes.Equal(got, text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// manyFiles is the archive of a directory of a thousand files, 16 kB on average.
func manyFiles(b *testing.B) []byte {
	nodes := []nartest.Node{nartest.Dir("")}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		nodes = append(nodes, nartest.File(fmt.Sprintf("%04d", i), strings.Repeat("x", random.IntN(32<<10))))
	}
	from := b.TempDir()
	nartest.Plant(b, from, nartest.Base, nodes...)
	return readNAR(b, from, nartest.Base)
}

func BenchmarkUnpack(b *testing.B) {
	text := manyFiles(b)
	dir := opened(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := Unpack(bytes.NewReader(text), dir, fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
}
