package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ravenboot/internal/narinfo"
)

// readyDir is a binary cache in a directory, which `nix copy --to file://DIR`
// has made. Nothing outside the directory is opened, whatever its narinfos and
// symlinks say.
//
// Nix writes what a path refers to before the path itself, and a narinfo after
// its NAR, so that a toplevel's narinfo says that all of its closure is there.
// rsync doesn't: every file is looked for.
type readyDir struct {
	dir   string
	key   Key
	store atomic.Value // string
	known catalogue
	seen  stamp // of the directory, at the last refresh
}

// lookups is how many narinfos are read at a time: the directory may be far away.
const lookups = 8

func newReadyDir(dir string, key Key) *readyDir {
	d := &readyDir{dir: filepath.Clean(dir), key: key}
	d.store.Store("")
	d.known = catalogue{lookups: lookups, learn: d.learn}
	return d
}

func (d *readyDir) storeDir() string { return d.store.Load().(string) }

// changed looks at the directory alone: a narinfo that came, went or was
// replaced is a change of it.
func (d *readyDir) changed() bool {
	now, err := stampOf(d.dir)
	return err == nil && now != d.seen
}

func (d *readyDir) refresh() {
	d.seen, _ = stampOf(d.dir) // one that can't be looked at is never a change
	former := d.storeDir()
	store, err := d.readCacheInfo()
	d.store.Store(store)
	if err != nil || store != former {
		d.known.forget(func(*object) bool { return true })
		return
	}
	d.known.forget(func(o *object) bool {
		at, err := stampOf(d.narinfo(o.Hash()))
		return err != nil || at != o.stamp || d.checkFile(o.listed) != nil
	})
}

func (d *readyDir) closure(ctx context.Context, toplevel string) ([]*object, error) {
	store, err := d.readCacheInfo()
	if err != nil {
		return nil, err
	}
	base, err := narinfo.BaseOf(store, toplevel)
	if err != nil {
		return nil, fmt.Errorf("%w, which the cache in %s is of", err, d.dir)
	}
	closure, err := d.known.closure(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("%w; run: nix copy --to file://%s %s", err, d.dir, toplevel)
	}
	return closure, nil
}

func (d *readyDir) keep(objects map[string]*object, complete bool) error {
	if complete {
		d.known.forget(func(o *object) bool { return objects[o.Hash()] != o })
	}
	return nil
}

func (d *readyDir) close() {}

func (d *readyDir) readCacheInfo() (storeDir string, err error) {
	text, _, err := readSmall(d.dir, "nix-cache-info", maxCacheInfo)
	if err != nil {
		return "", fmt.Errorf("%s is no binary cache: %w; make one with: nix copy --to file://%[1]s TOPLEVEL", d.dir, err)
	}
	return parseCacheInfo(text)
}

// learn reads the narinfo of a store path.
func (d *readyDir) learn(_ context.Context, base string) (*object, error) {
	name := base[:hashLength] + ".narinfo"
	text, at, err := readSmall(d.dir, name, narinfo.MaxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not in the cache in %s", base, d.dir)
	}
	if err != nil {
		return nil, err
	}
	store := d.storeDir()
	l, err := parseListing(text, store, base)
	if err == nil {
		err = d.checkFile(l)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.narinfo(base[:hashLength]), err)
	}
	o := &object{Facts: l.Facts, stamp: at, listed: l}
	o.narinfo = sync.OnceValues(func() ([]byte, error) { return l.forClients(store, d.key) })
	return o, nil
}

func (d *readyDir) narinfo(hash string) string { return filepath.Join(d.dir, hash+".narinfo") }

// checkFile looks for a NAR without reading it.
func (d *readyDir) checkFile(l *listing) error {
	f, err := d.open(l)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens a NAR's file.
func (d *readyDir) open(l *listing) (*os.File, error) {
	f, info, err := openIn(d.dir, l.URL)
	if err != nil {
		return nil, err
	}
	if l.FileSize != 0 && info.Size() != l.FileSize {
		_ = f.Close() // which was only opened for reading
		return nil, fmt.Errorf("%s has %d bytes, the narinfo says %d", f.Name(), info.Size(), l.FileSize)
	}
	return f, nil
}

func (d *readyDir) serve(t *transfer, o *object, named resource) {
	t.packed(named, func() (*os.File, error) { return d.open(o.listed) })
}

// packed sends a NAR that is a file, as it is.
func (t *transfer) packed(named resource, open func() (*os.File, error)) {
	if t.r.Method == http.MethodGet {
		if !t.cache.enter(t) {
			return
		}
		defer t.cache.leave()
	}
	f, err := open()
	if err != nil {
		t.fault = err
		t.fail(http.StatusNotFound, "no longer in the cache")
		return
	}
	defer f.Close()
	t.describe(named)
	http.ServeContent(t, t.r, "", time.Time{}, f)
}

// describe says what the answer will be.
func (t *transfer) describe(named resource) {
	t.w.Header().Set("Content-Type", "application/x-nix-nar")
	t.w.Header().Set("ETag", named.tag())
}

// maxCacheInfo is in bytes; one takes about 60.
const maxCacheInfo = 4096

// readSmall reads a file in a directory, which is what the stamp says.
func readSmall(dir, name string, most int64) ([]byte, stamp, error) {
	f, info, err := openIn(dir, name)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close()
	if info.Size() > most {
		return nil, stamp{}, fmt.Errorf("%s is longer than %d bytes", f.Name(), most)
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	return text, stampIn(info), err
}

// openIn opens a regular file in a directory. A name or a symlink that leads out
// of it is refused, and a pipe is not waited for.
func openIn(dir, name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", f.Name())
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
