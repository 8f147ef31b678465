package nar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	gonar "github.com/nix-community/go-nix/pkg/nar"
	"golang.org/x/sys/unix"

	"ravenboot/internal/nar/nartest"
)

func readNAR(t testing.TB, dir, base string) []byte {
	t.Helper()
	r := NewReader(dir, base, 0)
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReaderGivesTheNAROfNix(t *testing.T) {
	for name, nodes := range nartest.Objects {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nartest.Plant(t, dir, nartest.Base, nodes...)
			got := readNAR(t, dir, nartest.Base)
			cmd := exec.Command("nix-store", "--dump", filepath.Join(dir, nartest.Base))
			cmd.Stderr = os.Stderr
			want, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v (apt-get install nix-bin, if it is missing)", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func TestReaderIsAFile(t *testing.T) {
	for name, nodes := range nartest.Objects {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nartest.Plant(t, dir, nartest.Base, nodes...)
			want := readNAR(t, dir, nartest.Base)
			r := NewReader(dir, nartest.Base, int64(len(want)))
			defer r.Close()
			if err := iotest.TestReader(r, want); err != nil {
				t.Error(err)
			}
		})
	}
}

// tree makes a random store object out of a fuzzer's bytes.
func tree(t *testing.T, dir string, random *rand.Rand) {
	nodes := []nartest.Node{nartest.Dir("")}
	dirs := []string{""}
	for i := range random.IntN(20) {
		in := dirs[random.IntN(len(dirs))]
		path := filepath.Join(in, fmt.Sprintf("%x%d", random.IntN(16), i))
		n := nartest.File(path, strings.Repeat("c", random.IntN(30)))
		switch random.IntN(4) {
		case 0:
			n.Mode = fs.ModeDir
			dirs = append(dirs, path)
		case 1:
			n.Mode, n.Content = fs.ModeSymlink, "to"+n.Content
		case 2:
			n.Mode = 0o555
		}
		nodes = append(nodes, n)
	}
	nartest.Plant(t, dir, nartest.Base, nodes...)
}

// FuzzReader reads parts of a NAR, and compares them with what go-nix writes
// of the same tree.
func FuzzReader(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint16(1000))
	f.Add(uint64(2), uint16(100), uint16(50))
	f.Add(uint64(3), uint16(60_000), uint16(50))
	f.Fuzz(func(t *testing.T, seed uint64, from, length uint16) {
		dir := t.TempDir()
		tree(t, dir, rand.New(rand.NewPCG(seed, 0)))
		var whole bytes.Buffer
		if err := gonar.DumpPath(&whole, filepath.Join(dir, nartest.Base)); err != nil {
			t.Fatal(err)
		}
		r := NewReader(dir, nartest.Base, int64(whole.Len()))
		defer r.Close()
		for _, start := range []int64{int64(from), int64(from) / 2, 0} { // onward, and back
			if _, err := r.Seek(start, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.LimitReader(r, int64(length)))
			if err != nil {
				t.Fatal(err)
			}
			text := whole.Bytes()
			text = text[min(start, int64(len(text))):]
			if want := text[:min(int(length), len(text))]; !bytes.Equal(got, want) {
				t.Fatalf("from %d: %q, want %q", start, got, want)
			}
		}
	})
}

func TestReaderRefuses(t *testing.T) {
	deep := []nartest.Node{nartest.Dir("")}
	for i := range maxDepth + 1 {
		deep = append(deep, nartest.Dir(strings.Repeat("d/", i+1)))
	}
	for name, test := range map[string]struct {
		nodes []nartest.Node
		spoil func(path string) error
		want  string
	}{
		"nothing":     {nil, nil, "no such file"},
		"a fifo":      {[]nartest.Node{nartest.Dir("")}, func(p string) error { return unix.Mkfifo(p+"/f", 0o600) }, "neither file"},
		"a deep tree": {deep, nil, "directories deep"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nartest.Plant(t, dir, nartest.Base, test.nodes...)
			if test.spoil != nil {
				if err := test.spoil(filepath.Join(dir, nartest.Base)); err != nil {
					t.Fatal(err)
				}
			}
			r := NewReader(dir, nartest.Base, 0)
			defer r.Close()
			if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// What is swapped for a symlink between being looked at and being opened may
// break a NAR, but not lead out of the store object.
func TestReaderFollowsNoLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	nartest.Plant(t, outside, "secret", nartest.Dir(""), nartest.File("x", "outside"))
	nartest.Plant(t, dir, nartest.Base, nartest.Dir(""),
		nartest.Link("file", filepath.Join(outside, "secret/x")),
		nartest.Link("directory", filepath.Join(outside, "secret")))
	r := NewReader(dir, nartest.Base, 0)
	defer r.Close()
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if err := r.directory("directory"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("directory: %v, want ENOTDIR", err)
	}
	if err := r.regular("file", &unix.Stat_t{Size: 7}); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); !errors.Is(err, unix.ELOOP) || bytes.Contains(text, []byte("outside")) {
		t.Errorf("file: %v, want ELOOP; %q", err, text)
	}
}

func TestReaderNotesShrunkFile(t *testing.T) {
	dir := t.TempDir()
	nartest.Plant(t, dir, nartest.Base, nartest.Node{Content: "0123456789", Mode: 0o644})
	r := NewReader(dir, nartest.Base, 0)
	defer r.Close()
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, nartest.Base), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected EOF", err)
	}
}

// A reader leaves no file open, wherever it is closed.
func TestReaderCloses(t *testing.T) {
	dir := t.TempDir()
	nartest.Plant(t, dir, nartest.Base, nartest.Objects["tree"]...)
	size := len(readNAR(t, dir, nartest.Base))
	for _, n := range slices.Repeat([]int{1, 500, 2000, 50_000, size - 600, size}, 3) {
		r := NewReader(dir, nartest.Base, int64(size))
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if open := openBelow(t, dir); open != nil {
			t.Errorf("after %d bytes these are open: %q", n, open)
		}
	}
}

// openBelow lists the files in a directory that this process has open.
func openBelow(t *testing.T, dir string) (open []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if file, err := os.Readlink(link); err == nil && strings.HasPrefix(file, dir) {
			open = append(open, file)
		}
	}
	return open
}
