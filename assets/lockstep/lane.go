package lockstep

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// batch is how many packets a system call takes.
const batch = 32

// tick is how often it is looked for packets that are due again.
const tick = 50 * time.Millisecond

// batchConn is what ipv4.PacketConn and ipv6.PacketConn have in common.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// lane is a socket and the transfers that go over it.
type lane struct {
	server *Server
	conn   *net.UDPConn
	batch  batchConn
	v6     bool
	listen bool // takes requests

	mu        sync.Mutex
	transfers map[netip.AddrPort]*transfer
	timer     *time.Timer
	ticking   bool
	closed    bool
}

func newLane(s *Server, conn *net.UDPConn, listen bool) *lane {
	l := &lane{server: s, conn: conn, listen: listen, transfers: map[netip.AddrPort]*transfer{}}
	// Not all machines' packets of a moment fit in the default. A failure costs
	// some repetitions.
	_ = conn.SetReadBuffer(1 << 20)
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if l.v6 = local.Is6() && !local.Is4In6(); l.v6 {
		l.batch = ipv6.NewPacketConn(conn)
	} else {
		l.batch = ipv4.NewPacketConn(conn)
	}
	return l
}

// ended is a transfer and its outcome.
type ended struct {
	transfer *transfer
	err      error
}

// run reads packets until the socket is closed.
func (l *lane) run() error {
	in := make([]ipv4.Message, batch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, mostPacket)}
		if l.listen {
			in[i].OOB = make([]byte, mostControl)
		}
	}
	for {
		n, err := l.batch.ReadBatch(in, 0)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil && !temporary(err) {
			return err
		}
		l.take(in[:max(n, 0)])
	}
}

// temporary tells what a reader of UDP gets over. Without the pause a socket
// that always fails would take a processor.
func temporary(err error) bool {
	time.Sleep(10 * time.Millisecond)
	return !errors.Is(err, os.ErrClosed)
}

// take answers a batch of packets with another.
func (l *lane) take(in []ipv4.Message) {
	var over []ended
	out := make([]ipv4.Message, 0, batch)
	now := time.Now()
	l.mu.Lock()
	for i := range in {
		p := in[i].Buffers[0][:in[i].N]
		from, ok := in[i].Addr.(*net.UDPAddr)
		if !ok || len(p) < 4 || p[0] != 0 {
			continue
		}
		switch remote := unmapped(from.AddrPort()); p[1] {
		case opRead, opWrite:
			if l.listen {
				l.server.request(p, remote, in[i].OOB[:in[i].NN])
			}
		case opAck:
			if t := l.transfers[remote]; t != nil {
				moved, end := t.acknowledged(binary.BigEndian.Uint16(p[2:]))
				if end {
					over = append(over, l.end(t, nil))
				} else if moved {
					out = append(out, t.message(now))
				}
			}
		case opError:
			if t := l.transfers[remote]; t != nil {
				over = append(over, l.end(t, t.refused(p)))
			}
		}
	}
	l.send(out)
	l.mu.Unlock()
	l.server.ended(over)
}

// begin sends the first packet of a transfer.
func (l *lane) begin(t *transfer) {
	var over []ended
	l.mu.Lock()
	if former := l.transfers[t.request.Remote]; former != nil {
		over = append(over, l.end(former, ErrReplaced))
	}
	if l.closed {
		over = append(over, ended{t, ErrStopped})
	} else {
		l.transfers[t.request.Remote] = t
		l.send([]ipv4.Message{t.message(time.Now())})
		l.startTicking()
	}
	l.mu.Unlock()
	l.server.ended(over)
}

// end takes a transfer off the lane, which must be locked.
func (l *lane) end(t *transfer, err error) ended {
	delete(l.transfers, t.request.Remote)
	return ended{t, err}
}

// send sends packets. One that can't be sent is due again later.
func (l *lane) send(out []ipv4.Message) {
	for len(out) > 0 {
		n, err := l.batch.WriteBatch(out, 0)
		if err != nil {
			n = max(n, 0) + 1 // the one that failed
		}
		out = out[min(max(n, 1), len(out)):]
	}
}

// startTicking looks after repetitions as long as there are transfers.
func (l *lane) startTicking() {
	switch {
	case l.ticking:
		return
	case l.timer == nil:
		l.timer = time.AfterFunc(tick, l.tick)
	default:
		l.timer.Reset(tick)
	}
	l.ticking = true
}

// tick sends again what is due.
func (l *lane) tick() {
	var over []ended
	var out []ipv4.Message
	now := time.Now()
	l.mu.Lock()
	for _, t := range l.transfers {
		if now.Before(t.due) {
			continue
		}
		if t.tries++; t.tries > mostTries {
			over = append(over, l.end(t, t.silent()))
			continue
		}
		t.resent++
		out = append(out, t.message(now))
	}
	l.send(out)
	if l.ticking = len(l.transfers) > 0; l.ticking {
		l.timer.Reset(tick)
	}
	l.mu.Unlock()
	l.server.ended(over)
}

// close ends all transfers.
func (l *lane) close() {
	var over []ended
	l.mu.Lock()
	l.closed = true
	for _, t := range l.transfers {
		over = append(over, l.end(t, ErrStopped))
	}
	l.mu.Unlock()
	l.conn.Close()
	l.server.ended(over)
}

// unmapped writes an IPv4 address as one, also if it came over an IPv6 socket.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
