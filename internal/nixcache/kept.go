package nixcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// kept is a directory of files that came from elsewhere and can be had again, up
// to a size. It is not safe for concurrent use.
type kept struct {
	dir   string
	most  int64 // bytes
	files map[string]*keptFile
	total int64 // bytes of files, and of what is reserved
}

type keptFile struct {
	size int64
	used time.Time // the file's modification time, give or take touchEvery
}

// touchEvery is how much of a file's use may be forgotten by a restart.
const touchEvery = time.Hour

// openKept takes the files that are there already.
func openKept(dir string, most int64) (*kept, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	k := &kept{dir: dir, most: most, files: make(map[string]*keptFile)}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		k.files[entry.Name()] = &keptFile{info.Size(), info.ModTime()}
		k.total += info.Size()
	}
	return k, k.makeRoom()
}

func (k *kept) path(name string) string { return filepath.Join(k.dir, name) }

// open gives a file, if it is there; its use is noted. One that isn't of the size
// that it should have is deleted. Size 0 is any.
func (k *kept) open(name string, size int64) *os.File {
	at := k.files[name]
	if at == nil {
		return nil
	}
	f, info, err := openIn(k.dir, name)
	if err != nil || size != 0 && info.Size() != size {
		if f != nil {
			_ = f.Close() // which was only opened for reading
		}
		// What can't be deleted will be written over.
		_ = k.remove(name)
		return nil
	}
	now := time.Now()
	if now.Sub(at.used) > touchEvery {
		// A use that isn't noted makes the file go earlier, at worst.
		_ = os.Chtimes(k.path(name), now, now)
	}
	at.used = now
	return f
}

// reserve makes room for a file that is about to come. What it gives must be
// released. A file that is too large to be kept drives out no others.
func (k *kept) reserve(size int64) (reserved int64, err error) {
	if size > k.most {
		return 0, nil
	}
	k.total += size
	return size, k.makeRoom()
}

func (k *kept) release(reserved int64) { k.total -= reserved }

// add takes a file that has been put there.
func (k *kept) add(name string, size int64) error {
	k.take(name)
	if size > k.most {
		return os.Remove(k.path(name))
	}
	k.files[name] = &keptFile{size, time.Now()}
	k.total += size
	return k.makeRoom()
}

// take hands a file over to whoever goes on writing it.
func (k *kept) take(name string) {
	if at := k.files[name]; at != nil {
		k.total -= at.size
		delete(k.files, name)
	}
}

func (k *kept) remove(name string) error {
	k.take(name)
	if err := os.Remove(k.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeRoom deletes what was not used for the longest time. Whoever is being sent
// such a file goes on reading it.
func (k *kept) makeRoom() error {
	var failed error
	for k.total > k.most && len(k.files) > 0 {
		var oldest string
		for name, at := range k.files {
			if oldest == "" || at.used.Before(k.files[oldest].used) {
				oldest = name
			}
		}
		failed = errors.Join(failed, k.remove(oldest))
	}
	return failed
}
