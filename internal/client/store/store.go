package store

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// unpackDir is the directory in the store for what isn't whole yet. It has no
// name of a store path, so Nix takes it for garbage too.
const unpackDir = ".ravenboot"

// Path is what the database holds of a store path. Store paths are given by
// their last component, "HASH-NAME".
type Path struct {
	Base       string
	NarHash    [32]byte // SHA-256 of the NAR
	NarSize    int64    // bytes of the NAR
	Deriver    string   // "" if it isn't known
	References []string
	Signatures []string // "NAME:BASE64"
	CA         string   // what the path's name is made of its content by; mostly ""
}

// entry is what is known of a valid path.
type entry struct {
	id         int64
	base       string
	narSize    int64
	references []string
}

// Store is a store below a root. One process at a time may use it, and not
// several of its goroutines; but for Final and Temporary, which any may.
type Store struct {
	root     string
	storeDir string // as the booted system sees it
	db       *sql.DB
	valid    map[string]*entry
}

// At is the store below a root, whose database isn't opened: its files and its
// system profile can be asked for. storeDir is where the booted system finds it,
// "/nix/store"; its state is beside it in "var/nix".
func At(root, storeDir string) *Store { return &Store{root: root, storeDir: storeDir} }

// Open opens the store below a root, as At says, and makes what is missing of
// it. The caller must Close it.
func Open(root, storeDir string) (*Store, error) {
	s := At(root, storeDir)
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	var err error
	if s.db, err = openDatabase(s.state("db")); err != nil {
		return nil, err
	}
	if s.valid, err = s.known(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.state("db", "db.sqlite"), err), s.db.Close())
	}
	return s, nil
}

func (s *Store) makeDirs() error {
	for _, dir := range []string{s.state("db"), s.state("profiles"), s.state("gcroots"), s.Dir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Builders of the booted system write into the store, as its own activation
	// sets it.
	if err := os.Chmod(s.Dir(), 0o775|fs.ModeSticky); err != nil {
		return err
	}
	// What a former run left half made is worth nothing.
	if err := s.removeTree(s.Temporary()); err != nil {
		return err
	}
	return os.Mkdir(s.Temporary(), 0o700)
}

// Close ends the use of the store, and removes what isn't whole.
func (s *Store) Close() error {
	return errors.Join(s.removeTree(s.Temporary()), s.db.Close())
}

// Dir is where the store is now.
func (s *Store) Dir() string { return filepath.Join(s.root, s.storeDir) }

// URL is the store as Nix takes it: `nix copy --to URL`.
func (s *Store) URL() string {
	return "local?root=" + s.root + "&store=" + s.storeDir + "&state=" + s.state() + "&real=" + s.Dir()
}

// stateDir is where the booted system finds what Nix knows of the store.
func (s *Store) stateDir() string { return filepath.Join(filepath.Dir(s.storeDir), "var/nix") }

func (s *Store) state(names ...string) string {
	return filepath.Join(append([]string{s.root, s.stateDir()}, names...)...)
}

// full is a store path as the booted system and the database name it.
func (s *Store) full(base string) string { return s.storeDir + "/" + base }

// Final is where a store path's files belong.
func (s *Store) Final(base string) string { return filepath.Join(s.Dir(), base) }

// Temporary is the directory to unpack in: one step, a rename, away from Final.
func (s *Store) Temporary() string { return filepath.Join(s.Dir(), unpackDir) }

// IsValid tells whether the database says that a path is valid, and its files
// are there. A crash of the file system can lose them behind the database's
// back.
func (s *Store) IsValid(base string) bool {
	return s.valid[base] != nil && exists(s.Final(base))
}

// InPlace tells whether something is where a store path's files belong, valid
// or not.
func (s *Store) InPlace(base string) bool { return exists(s.Final(base)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Place moves what was unpacked into its place. It is not valid by that.
func (s *Store) Place(base string) error {
	return os.Rename(filepath.Join(s.Temporary(), base), s.Final(base))
}

// Discard removes what was unpacked of a path, or what is in its place though
// it isn't valid.
func (s *Store) Discard(base string) error {
	return errors.Join(s.removeTree(filepath.Join(s.Temporary(), base)), s.removeTree(s.Final(base)))
}

// Sync waits until everything is on the disk.
func (s *Store) Sync() error {
	dir, err := os.Open(s.Dir())
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", s.Dir(), err)
	}
	return nil
}

// Room is what the file system has free.
type Room struct {
	Bytes  int64
	Inodes int64 // -1 if it has no fixed number of them
}

// Room asks the file system.
func (s *Store) Room() (Room, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.Dir(), &stat); err != nil {
		return Room{}, fmt.Errorf("statfs %s: %w", s.Dir(), err)
	}
	room := Room{Bytes: int64(stat.Bavail) * stat.Bsize, Inodes: int64(stat.Ffree)}
	if stat.Files == 0 { // btrfs
		room.Inodes = -1
	}
	return room, nil
}

// removeTree removes a file or a directory whose directories can't be written.
func (s *Store) removeTree(path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(path))
}

// writeFile writes a file beside its place, makes it durable, and renames it.
func writeFile(name, text string) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
