package state

import "context"

// Commit is a transaction that is to be written, or was. Many writes share
// one.
type Commit struct {
	done chan struct{}
	err  error // set before done is closed
}

// Wait returns once the transaction is on the disk, or with the reason why it
// is not. When ctx ends first, the transaction may still be written.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
