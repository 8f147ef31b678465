package nixcache

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

	"github.com/nix-community/go-nix/pkg/nar"
	"golang.org/x/sys/unix"
)

// node is a file, directory or symlink of a test.
type node struct {
	path    string // "" is the object itself
	content string // of a file, or what a symlink leads to
	mode    fs.FileMode
}

// plant makes a store object.
func plant(t testing.TB, dir, base string, nodes ...node) {
	t.Helper()
	for _, n := range nodes {
		path := filepath.Join(dir, base, n.path)
		var err error
		switch {
		case n.mode.IsDir():
			err = os.Mkdir(path, 0o755)
		case n.mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.content, path)
		default:
			err = os.WriteFile(path, []byte(n.content), n.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const testBase = "00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0"

var objects = map[string][]node{
	"file":       {{"", "hello", 0o444}},
	"executable": {{"", "#!/bin/sh\n", 0o555}},
	"empty file": {{"", "", 0o444}},
	"eight":      {{"", "12345678", 0o444}},
	"symlink":    {{"", "/etc/passwd", fs.ModeSymlink}},
	"directory":  {{"", "", fs.ModeDir}},
	"tree": {
		{"", "", fs.ModeDir}, {"bin", "", fs.ModeDir}, {"bin/a", strings.Repeat("x", 100_000), 0o555},
		{"bin/b", "", 0o555}, {"bin.d", "", fs.ModeDir}, {"bin-", "7 bytes", 0o444},
		{"lib", "", fs.ModeDir}, {"lib/deep", "", fs.ModeDir}, {"lib/deep/deeper", "", fs.ModeDir},
		{"lib/deep/deeper/x", "yz", 0o444}, {"zz", "../../etc/passwd", fs.ModeSymlink},
	},
	// go-nix's own writer can't.
	"dotted names": {{"", "", fs.ModeDir}, {"..data", "x", 0o444}, {"...", "", fs.ModeDir}, {".../y", "z", 0o444}},
	"bytes in names": {
		{"", "", fs.ModeDir}, {"\xff", "x", 0o444}, {"a b", "x", 0o444}, {"Z", "x", 0o444}, {"é", "x", 0o444},
	},
}

func readNAR(t testing.TB, dir, base string) []byte {
	t.Helper()
	r := newNARReader(dir, base, 0)
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNARIsThatOfNix(t *testing.T) {
	for name, nodes := range objects {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, testBase, nodes...)
			got := readNAR(t, dir, testBase)
			cmd := exec.Command("nix-store", "--dump", filepath.Join(dir, testBase))
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

func TestNARReaderIsAFile(t *testing.T) {
	for name, nodes := range objects {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, testBase, nodes...)
			want := readNAR(t, dir, testBase)
			r := newNARReader(dir, testBase, int64(len(want)))
			defer r.Close()
			if err := iotest.TestReader(r, want); err != nil {
				t.Error(err)
			}
		})
	}
}

// tree makes a random store object out of a fuzzer's bytes.
func tree(t *testing.T, dir string, random *rand.Rand) {
	nodes := []node{{"", "", fs.ModeDir}}
	dirs := []string{""}
	for i := range random.IntN(20) {
		in := dirs[random.IntN(len(dirs))]
		path := filepath.Join(in, fmt.Sprintf("%x%d", random.IntN(16), i))
		n := node{path, strings.Repeat("c", random.IntN(30)), 0o444}
		switch random.IntN(4) {
		case 0:
			n.mode = fs.ModeDir
			dirs = append(dirs, path)
		case 1:
			n.mode, n.content = fs.ModeSymlink, "to"+n.content
		case 2:
			n.mode = 0o555
		}
		nodes = append(nodes, n)
	}
	plant(t, dir, testBase, nodes...)
}

// FuzzNARReader reads parts of a NAR, and compares them with what go-nix writes
// of the same tree.
func FuzzNARReader(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint16(1000))
	f.Add(uint64(2), uint16(100), uint16(50))
	f.Add(uint64(3), uint16(60_000), uint16(50))
	f.Fuzz(func(t *testing.T, seed uint64, from, length uint16) {
		dir := t.TempDir()
		tree(t, dir, rand.New(rand.NewPCG(seed, 0)))
		var whole bytes.Buffer
		if err := nar.DumpPath(&whole, filepath.Join(dir, testBase)); err != nil {
			t.Fatal(err)
		}
		r := newNARReader(dir, testBase, int64(whole.Len()))
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

func TestNARReaderRefuses(t *testing.T) {
	deep := []node{{"", "", fs.ModeDir}}
	for i := range maxDepth + 1 {
		deep = append(deep, node{strings.Repeat("d/", i+1), "", fs.ModeDir})
	}
	for name, test := range map[string]struct {
		nodes []node
		spoil func(path string) error
		want  string
	}{
		"nothing":     {nil, nil, "no such file"},
		"a fifo":      {[]node{{"", "", fs.ModeDir}}, func(p string) error { return unix.Mkfifo(p+"/f", 0o600) }, "neither file"},
		"a deep tree": {deep, nil, "directories deep"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, testBase, test.nodes...)
			if test.spoil != nil {
				if err := test.spoil(filepath.Join(dir, testBase)); err != nil {
					t.Fatal(err)
				}
			}
			r := newNARReader(dir, testBase, 0)
			defer r.Close()
			if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// What is swapped for a symlink between being looked at and being opened may
// break a NAR, but not lead out of the store object.
func TestNARReaderFollowsNoLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	plant(t, outside, "secret", node{"", "", fs.ModeDir}, node{"x", "outside", 0o444})
	plant(t, dir, testBase, node{"", "", fs.ModeDir},
		node{"file", filepath.Join(outside, "secret/x"), fs.ModeSymlink},
		node{"directory", filepath.Join(outside, "secret"), fs.ModeSymlink})
	r := newNARReader(dir, testBase, 0)
	defer r.Close()
	if err := r.step(); err != nil {
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

func TestNARReaderNotesShrunkFile(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, testBase, node{"", "0123456789", 0o644})
	r := newNARReader(dir, testBase, 0)
	defer r.Close()
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, testBase), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected EOF", err)
	}
}

// A reader leaves no file open, wherever it is closed.
func TestNARReaderCloses(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, testBase, objects["tree"]...)
	size := len(readNAR(t, dir, testBase))
	for _, n := range slices.Repeat([]int{1, 500, 2000, 50_000, size - 600, size}, 3) {
		r := newNARReader(dir, testBase, int64(size))
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
