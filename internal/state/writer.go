package state

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"go.etcd.io/bbolt"
)

// ErrClosed is the error of a write after Close.
var ErrClosed = errors.New("the state is closed")

// Commit is a transaction that is to be written, or was. Many writes share
// one.
type Commit struct {
	writes []func(*bbolt.Tx) error
	done   chan struct{}
	err    error // set before done is closed
}

func newCommit() *Commit { return &Commit{done: make(chan struct{})} }

// Committed is a transaction whose outcome is known, for stores that write at
// once.
func Committed(err error) *Commit {
	c := newCommit()
	c.finish(err)
	return c
}

func (c *Commit) finish(err error) {
	c.writes = nil
	c.err = err
	close(c.done)
}

// Wait returns once the transaction is on the disk, or with the reason why it
// is not. When ctx ends first, the transaction may still be written.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.done: // even if ctx has ended as well
		return c.err
	default:
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// queue adds a write to the next transaction. The write must not fail for a
// reason of its own: its error is that of everything in the transaction.
func (s *State) queue(write func(*bbolt.Tx) error) *Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return Committed(ErrClosed)
	}
	s.next.writes = append(s.next.writes, write)
	select {
	case s.wake <- struct{}{}:
	default: // there is a token already
	}
	return s.next
}

// write commits what has gathered, one transaction after the other, until
// Close.
func (s *State) write() {
	defer close(s.stopped)
	for range s.wake {
		// Whoever is ready to run may have a write to add. This waits for no
		// clock: on an idle server it goes on at once.
		runtime.Gosched()
		s.mu.Lock()
		gathered := s.next
		if gathered == nil { // Close commits it
			s.mu.Unlock()
			return
		}
		s.next = newCommit()
		s.mu.Unlock()
		s.commit(gathered)
	}
}

func (s *State) commit(c *Commit) {
	if len(c.writes) == 0 {
		c.finish(nil)
		return
	}
	err := s.update(c.writes)
	if err != nil {
		err = fmt.Errorf("write %s: %w", s.path, err)
		s.log.Error("state not written", "outcome", "lost", "writes", len(c.writes), "reason", err,
			"hint", "is the disk full or read-only? Until it can be written, new leases are refused, and reports are kept in memory only")
	}
	c.finish(err)
}

func (s *State) update(writes []func(*bbolt.Tx) error) (err error) {
	defer recoverDamage(&err)()
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, write := range writes {
			if err := write(tx); err != nil {
				return err
			}
		}
		return nil
	})
}
