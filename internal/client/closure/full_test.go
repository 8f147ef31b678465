package closure

import (
	"errors"
	"fmt"
	"net/http"
	"os"
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
