package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// FileName is the database's name in the state directory.
const FileName = "state.db"

// lockWait is how long Open waits for another process that still has the file:
// a predecessor that is being stopped.
const lockWait = 2 * time.Second

// State is an open state directory. Its methods are safe for use by several
// goroutines.
type State struct {
	path string
	db   *bbolt.DB
	log  *slog.Logger

	mu      sync.Mutex
	next    *Commit       // gathers writes; nil after Close
	wake    chan struct{} // holds one token when next has writes
	stopped chan struct{} // closed when the writer has ended
}

// Open opens the state in dir and makes both where they are missing. The
// caller must Close it.
func Open(dir string, log *slog.Logger) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w; set state_dir to a directory that this user may write to", err)
	}
	s := &State{
		path:    filepath.Join(dir, FileName),
		log:     log,
		next:    newCommit(),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, s.explain(err)
	}
	go s.write()
	return s, nil
}

// Close writes what is waiting and closes the file.
func (s *State) Close() error {
	s.mu.Lock()
	last := s.next
	s.next = nil
	s.mu.Unlock()
	if last == nil {
		return ErrClosed
	}
	close(s.wake)
	<-s.stopped
	s.commit(last)
	return s.db.Close()
}

// open opens the database, makes the buckets and reads every page of them.
func (s *State) open() (err error) {
	var file *os.File
	defer func() {
		if err != nil && file != nil {
			// A panic leaves the lock behind, and the file mapped, which keeps
			// the lock even when the file is closed.
			syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			file.Close()
		}
	}()
	defer recoverDamage(&err)()
	s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return err
	}
	if err := reserve(file); err != nil {
		return err
	}
	if err := s.db.Update(createBuckets); err != nil {
		return err
	}
	if _, err = s.Leases(); err == nil {
		_, err = s.Words()
	}
	return err
}

// reserved is the size that a new file is given: about 60,000 leases.
const reserved = 4 << 20

// reserve fills the file up with zeros. Writing into a hole makes every
// fdatasync wait for the journal of the file system, and so for whatever other
// programs have in it; on ext4 that takes two to three times as long.
func reserve(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Size() >= reserved {
		return err
	}
	if _, err := file.WriteAt(make([]byte, reserved-info.Size()), info.Size()); err != nil {
		return err
	}
	return file.Sync()
}

func createBuckets(tx *bbolt.Tx) error {
	_, err := tx.CreateBucketIfNotExists(leaseBucket)
	if err == nil {
		_, err = tx.CreateBucketIfNotExists(wordBucket)
	}
	return err
}

// errDamaged stands for what bbolt finds while it walks a broken file.
var errDamaged = errors.New("the file is damaged")

// recoverDamage turns what bbolt does on a damaged page, a panic or a fault
// beyond the end of the mapped file, into an error. To be deferred, called.
func recoverDamage(err *error) func() {
	faults := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(faults)
		if found := recover(); found != nil {
			*err = fmt.Errorf("%w: %v", errDamaged, found)
		}
	}
}

// explain says which file could not be opened and what to do.
func (s *State) explain(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process: is another ravenboot running? Stop it, or give this one a state_dir of its own", s.path)
	case errors.Is(err, errDamaged), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%s can't be read (%w): restore it from a backup, or move it away and start without it, "+
			"which forgets the leases and the machines' reports", s.path, err)
	}
	return fmt.Errorf("open %s: %w", s.path, err)
}
