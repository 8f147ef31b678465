package lockstep

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"ravenboot/internal/udp"
)

// batch is how many packets a system call takes.
const batch = 32

// mostFailures is how often reading may fail in a row, in about a second.
const mostFailures = 100

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
	conn   *udp.Conn
	batch  batchConn
	v6     bool
	listen bool // takes requests

	mu        sync.Mutex
	transfers map[netip.AddrPort]*transfer
	timer     *time.Timer
	ticking   bool
	closed    bool
}

func newLane(s *Server, socket *net.UDPConn, listen bool) (*lane, error) {
	// Not all machines' packets of a moment fit in the default. A failure costs
	// some repetitions.
	_ = socket.SetReadBuffer(1 << 20)
	conn, err := udp.Take(socket)
	if err != nil {
		return nil, err
	}
	l := &lane{server: s, conn: conn, listen: listen, transfers: map[netip.AddrPort]*transfer{}}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if l.v6 = local.Is6() && !local.Is4In6(); l.v6 {
		l.batch = ipv6.NewPacketConn(conn)
	} else {
		l.batch = ipv4.NewPacketConn(conn)
	}
	return l, nil
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
	for failures := 0; ; {
		n, err := l.batch.ReadBatch(in, 0)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err == nil:
			failures = 0
			l.take(in[:n])
		case failures == mostFailures:
			return err
		default:
			// As when memory runs short. The pause keeps a socket that is broken
			// from taking a processor.
			failures++
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// take answers a batch of packets with another.
func (l *lane) take(in []ipv4.Message) {
	var over []ended
	var requests []int
	out := make([]ipv4.Message, 0, batch)
	now := time.Now()
	l.mu.Lock()
	for i := range in {
		p := in[i].Buffers[0][:in[i].N]
		if len(p) < 4 || p[0] != 0 {
			continue
		}
		switch p[1] {
		case opRead, opWrite:
			requests = append(requests, i)
		case opAck:
			t := l.transfers[sender(&in[i])]
			if t == nil {
				continue
			}
			moved, end := t.acknowledged(binary.BigEndian.Uint16(p[2:]), now)
			if end {
				over = append(over, l.end(t, nil))
			} else if moved {
				out = append(out, t.message(now))
			}
		case opError:
			if t := l.transfers[sender(&in[i])]; t != nil {
				over = append(over, l.end(t, t.refused(p)))
			}
		}
	}
	l.send(out)
	l.mu.Unlock()
	l.server.ended(over)
	if !l.listen {
		return
	}
	for _, i := range requests {
		l.server.request(in[i].Buffers[0][:in[i].N], sender(&in[i]), in[i].OOB[:in[i].NN])
	}
}

// sender is where a packet comes from, an IPv4 address written as one also if
// it came over an IPv6 socket.
func sender(m *ipv4.Message) netip.AddrPort {
	from, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := from.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// begin sends the first packet of a transfer. A machine that repeats its
// request, since the answer was lost, goes on with the transfer that it has.
func (l *lane) begin(t *transfer) {
	var over []ended
	l.mu.Lock()
	former := l.transfers[t.request.Remote]
	switch {
	case l.closed:
		over = append(over, ended{t, ErrStopped})
	case former != nil && former.repeats(t):
		l.send([]ipv4.Message{former.message(time.Now())})
		<-l.server.slots
	default:
		if former != nil {
			over = append(over, l.end(former, ErrReplaced))
		}
		l.transfers[t.request.Remote] = t
		l.send([]ipv4.Message{t.message(time.Now())})
		l.startTicking()
	}
	l.mu.Unlock()
	l.server.ended(over)
}

// giveUp ends a transfer whose machine has not answered; false if there is none.
func (l *lane) giveUp() bool {
	var over []ended
	l.mu.Lock()
	for _, t := range l.transfers {
		if !t.answered && time.Since(t.heard) > unanswered {
			over = append(over, l.end(t, ErrSilent))
			break
		}
	}
	l.mu.Unlock()
	l.server.ended(over)
	return len(over) > 0
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
		if now.Sub(t.heard) > patience {
			over = append(over, l.end(t, t.silent()))
			continue
		}
		t.tries++
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

func (l *lane) inTheMiddle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.transfers {
		if t.answered {
			return true
		}
	}
	return false
}

// close ends all transfers, and tells their machines, which would wait for
// minutes otherwise.
func (l *lane) close() {
	var over []ended
	var out []ipv4.Message
	l.mu.Lock()
	l.closed = true
	for _, t := range l.transfers {
		over = append(over, l.end(t, ErrStopped))
		out = append(out, t.errorMessage(ErrStopped))
	}
	l.send(out)
	l.mu.Unlock()
	l.conn.Close()
	l.server.ended(over)
}
