package closure

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// What a cache tells beforehand is bytes. That files take whole blocks, and an
// inode each, shows when they are written.
func TestDiskRunsFull(t *testing.T) {
	const megabyte = 1_000_000
	type system struct{ own, files int }
	for name, test := range map[string]struct {
		options string
		old     []system // generations that are there before
		litter  system   // what nothing refers to
		room    int64    // bytes that are left when the download begins; 0: all
		new     system
		gone    int // so many of the old ones, if the new one fits
		full    bool
	}{
		"no inodes": {options: "size=1g,nr_inodes=250", new: system{files: 300}, full: true},
		"inodes of an old generation": {
			options: "size=1g,nr_inodes=450", old: []system{{files: 200}}, new: system{files: 300}, gone: 1},
		"inodes of the oldest only": {
			options: "size=1g,nr_inodes=520", old: []system{{files: 100}, {files: 101}}, new: system{files: 300}, gone: 1},
		"inodes of what was forgotten": {options: "size=1g,nr_inodes=450", litter: system{files: 200}, new: system{files: 300}},
		"no blocks":                    {options: "size=200m", room: 5 * megabyte, new: system{own: 8 * megabyte}, full: true},
		"blocks of an old generation": {
			options: "size=200m", old: []system{{own: 6 * megabyte}}, room: 5 * megabyte, new: system{own: 8 * megabyte}, gone: 1},
		"blocks of the oldest only": {
			options: "size=200m", old: []system{{own: 6 * megabyte}, {own: 6*megabyte + 1}},
			room: 5 * megabyte, new: system{own: 8 * megabyte}, gone: 1},
		"blocks of what was forgotten": {
			options: "size=200m", litter: system{own: 6 * megabyte}, room: 5 * megabyte, new: system{own: 8 * megabyte}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.onSmallDisk(t, test.options)
			publish := func(s system) string {
				return b.publish(t, "x", 1, s.own, "compression=none", "--argstr", "many", fmt.Sprint(s.files))
			}
			var old []string
			for _, s := range test.old {
				old = append(old, publish(s))
				b.fetch(t, old[len(old)-1])
			}
			b.litter(t, test.litter.own, test.litter.files)
			toplevel := publish(test.new)
			b.occupy(t, test.room)
			err := b.closureOf(t, toplevel).Run(t.Context())
			switch {
			case test.full && (!errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "larger disk")):
				t.Errorf("%v, want ErrFull and what to do", err)
			case !test.full && err != nil:
				t.Fatal(err)
			case !test.full:
				b.store.verify(t, b.root, toplevel)
			}
			for i, system := range old {
				_, err := b.store.nix(b.root, "nix-store", "--check-validity", system)
				if gone := i < test.gone; (err != nil) != gone {
					t.Errorf("generation %d: %v, want it gone: %v", i+1, err, gone)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(b.root, b.store.dir, "store", ".ravenboot")); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// litter puts something into a machine's store that nothing refers to.
func (b *bench) litter(t *testing.T, size, files int) {
	t.Helper()
	dir := filepath.Join(b.root, b.store.dir, "store", strings.Repeat("0", 32)+"-litter")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files + 1 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, size/(files+1)), 0o444); err != nil {
			t.Fatal(err)
		}
	}
}

// occupy leaves so many bytes of a machine's disk when the first NAR is asked
// for, which is after the room was found to do.
func (b *bench) occupy(t *testing.T, leave int64) {
	t.Helper()
	if leave == 0 {
		return
	}
	var once sync.Once
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if !isNAR(r) {
			return w
		}
		once.Do(func() {
			file, err := os.Create(filepath.Join(b.root, "occupied"))
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			var stat unix.Statfs_t
			err = unix.Statfs(b.root, &stat)
			err = errors.Join(err, unix.Fallocate(int(file.Fd()), 0, 0, int64(stat.Bavail)*stat.Bsize-leave))
			if err != nil {
				t.Error(err)
			}
		})
		return w
	})
}

// onSmallExt4 gives the machine a file system with so many inodes.
func (b *bench) onSmallExt4(t *testing.T, size string, inodes int) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	for _, argv := range [][]string{
		{"truncate", "-s", size, image},
		{"mkfs.ext4", "-q", "-F", "-N", fmt.Sprint(inodes), image},
		{"mount", "-o", "loop", image, b.root},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v (run as root, or by scripts/as-root.sh)\n%s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", b.root).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
}

// A disk with few inodes keeps its old generations for a system of few large
// files, whose NARs tell nothing of how many they are.
func TestFewInodesCostNoGeneration(t *testing.T) {
	b := newBench(t)
	b.onSmallExt4(t, "400M", 400)
	first := b.publish(t, "one", 3, 1000, "compression=none")
	b.fetch(t, first)
	second := b.publish(t, "two", 3, 40_000_000, "compression=none")
	b.fetch(t, second)
	b.store.verify(t, b.root, first)
	b.store.verify(t, b.root, second)
}

// A disk with fewer inodes than there are paths to come is refused before any of
// them is asked for.
func TestFewerInodesThanPaths(t *testing.T) {
	b := newBench(t)
	b.onSmallExt4(t, "200M", 200)
	b.fetch(t, b.publish(t, "one", 1, 1000, "compression=none"))
	toplevel := b.publish(t, "two", 40, 1000, "compression=none")
	b.leave(t, 30)
	b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if isNAR(r) {
			t.Errorf("%s is asked for", r.URL)
		}
		return w
	})
	err := b.closureOf(t, toplevel).Run(t.Context())
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "inodes free") || !strings.Contains(err.Error(), "larger disk") {
		t.Errorf("%v, want ErrFull, the inodes, and what to do", err)
	}
}

// leave takes all but so many inodes of a machine's disk, for what isn't the
// store's.
func (b *bench) leave(t *testing.T, inodes uint64) {
	t.Helper()
	dir, err := os.MkdirTemp(b.root, "other-")
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Statfs_t
	for i := 0; ; i++ {
		if err := unix.Statfs(b.root, &stat); err != nil {
			t.Fatal(err)
		}
		if stat.Ffree <= inodes {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ext4 has its inodes from the start. With too few of them for the files of a
// path, the oldest generation goes, or it is said that the disk is full.
func TestInodesOfExt4RunOut(t *testing.T) {
	b := newBench(t)
	b.onSmallExt4(t, "200M", 450)
	first := b.publish(t, "one", 1, 0, "compression=none", "--argstr", "many", "200")
	b.fetch(t, first)
	second := b.publish(t, "two", 1, 0, "compression=none", "--argstr", "many", "300")
	b.fetch(t, second)
	b.store.verify(t, b.root, second)
	if _, err := b.store.nix(b.root, "nix-store", "--check-validity", first); err == nil {
		t.Error("the first generation is there still")
	}
	err := b.closureOf(t, b.publish(t, "three", 1, 0, "compression=none", "--argstr", "many", "600")).Run(t.Context())
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "larger disk") {
		t.Errorf("%v, want ErrFull and what to do", err)
	}
}

// The links of the system profile need inodes when the download has had the last:
// what is old makes room for them, and a machine with nothing old is told.
func TestInodesRunOutAtTheLastStep(t *testing.T) {
	b := newBench(t)
	b.onSmallExt4(t, "200M", 300)
	first := b.publish(t, "one", 1, 0, "compression=none", "--argstr", "many", "50")
	b.fetch(t, first)
	second := b.publish(t, "two", 1, 0, "compression=none")
	b.fetch(t, second)
	system := filepath.Join(b.root, b.store.dir, "var/nix/profiles/system")
	if err := os.Remove(system); err != nil {
		t.Fatal(err)
	}
	// Nothing but the database's two journals and the directory to unpack in.
	b.leave(t, 3)
	b.fetch(t, second)
	if got := b.system(t); got != second {
		t.Errorf("the profile leads to %s", got)
	}
	if _, err := b.store.nix(b.root, "nix-store", "--check-validity", first); err == nil {
		t.Error("the first generation is there still")
	}
	if err := os.Remove(system); err != nil {
		t.Fatal(err)
	}
	b.leave(t, 3)
	err := b.closureOf(t, second).Run(t.Context())
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "larger disk") {
		t.Errorf("%v, want ErrFull and what to do", err)
	}
}
