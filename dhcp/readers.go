package dhcp

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"

	"ravenboot/dhcp/lease"
)

// mostWaiting is how many packets may wait at a time, over all ports: for up to
// 300 ms when an address is tried first, else for a write to the disk.
const mostWaiting = 1024

// waiting counts the packets that wait.
type waiting struct {
	most int64
	now  atomic.Int64
}

func (w *waiting) full() bool { return w.now.Load() >= w.most }

// mostIdle is how many readers of a port are kept when there is nothing to do
// for them.
const mostIdle = 64

// readers answer the packets of a port. One of them has the turn to read: it
// answers each packet before it reads the next, which is less work than a
// goroutine for each. When an answer has to wait, its reader first passes the
// turn on.
type readers struct {
	server  *Server
	port    *port
	waiting *waiting
	turn    chan struct{} // received from by the idle
	idle    atomic.Int64
	group   sync.WaitGroup
}

func newReaders(s *Server, p *port, w *waiting) *readers {
	return &readers{server: s, port: p, waiting: w, turn: make(chan struct{})}
}

// run returns once ctx has ended and every packet that was read is answered.
func (r *readers) run(ctx context.Context) {
	r.start(ctx)
	r.group.Wait()
}

func (r *readers) start(ctx context.Context) {
	one := &reader{readers: r, ctx: ctx}
	r.group.Go(one.run)
}

// reader is one of them, with memory that it uses for one packet after another.
type reader struct {
	*readers
	ctx     context.Context     // what it passes its turn with
	waits   bool                // its turn is another's
	packet  [maxPacket + 1]byte // one byte more than fits tells what is too long
	control []byte
}

func (r *reader) run() {
	// Packets in work are finished after ctx ended.
	working := lease.OnWait(context.WithoutCancel(r.ctx), r.passTurn)
	r.control = ipv4.NewControlMessage(ipv4.FlagDst)
	for r.ctx.Err() == nil {
		r.next(working)
		if r.waits && !r.regainTurn() {
			return
		}
	}
}

// next reads a packet and answers it. Beyond the bound packets are dropped, and
// clients ask again.
func (r *reader) next(ctx context.Context) {
	received, err := r.port.read(r.packet[:], r.control)
	switch {
	case err != nil:
		r.server.readFailed(r.ctx, r.port, err)
	case r.waiting.full():
		r.server.dropped(ctx)
	default:
		r.server.answer(ctx, r.port, received)
	}
}

// passTurn is called when the packet in work is about to wait.
func (r *reader) passTurn() {
	if r.waits {
		return
	}
	r.waits = true
	r.waiting.now.Add(1)
	select {
	case r.turn <- struct{}{}:
	default:
		r.start(r.ctx)
	}
}

// regainTurn waits for another's turn to be passed on. It is false when there
// are enough who wait for that, or ctx ends.
func (r *reader) regainTurn() bool {
	r.waits = false
	r.waiting.now.Add(-1)
	defer r.idle.Add(-1)
	if r.idle.Add(1) > mostIdle {
		return false
	}
	select {
	case <-r.turn:
		return true
	case <-r.ctx.Done():
		return false
	}
}
