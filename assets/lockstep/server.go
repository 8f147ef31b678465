package lockstep

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Bounds of what is read from the network, in bytes. A request must fit in 512
// (RFC 2347), everything else from a reader is smaller.
const (
	mostPacket  = 1024
	mostControl = 128
)

// mostLanes bounds the addresses of the server that have a socket of their own.
const mostLanes = 64

// Handler says what machines get.
type Handler interface {
	// Open gives the content of a file, which must not change from then on. The
	// text of an error is sent to the machine. Open may be called from several
	// goroutines.
	Open(ctx context.Context, r *Request) ([]byte, error)
	// Ended is told of every transfer that Open gave content for.
	Ended(r *Request, result Result)
	// Busy is told of requests that are passed over because as many transfers
	// as may be are under way. Machines ask again within seconds, where an error
	// packet would end their boot.
	Busy(r *Request)
	// Write is told of requests to write; its error is sent to the machine.
	Write(r *Request) error
	// Text is handed the packets of requests to read in another mode than
	// "octet". They are not answered here.
	Text(packet []byte, r *Request)
}

// Config says how files are sent.
type Config struct {
	BlockSize    int  // largest block that is agreed to, in bytes
	SinglePort   bool // send from the listening port
	MaxTransfers int  // at a time
	// Grace is how long transfers may go on when the server stops. It begins no
	// others then.
	Grace time.Duration
}

// Server sends files.
type Server struct {
	config  Config
	handler Handler
	ctx     context.Context
	slots   chan struct{}
	mtu     mtuCache
	front   *lane
	running sync.WaitGroup
	ending  atomic.Bool // no transfer is begun any more

	mu      sync.Mutex
	lanes   map[netip.Addr]*lane // by the server's address
	stopped bool
}

// New makes a server that reads requests from conn, which is its own from then
// on, also when there is an error. The system tells which address each is sent
// to; of one that came in before, nobody knows.
func New(conn *net.UDPConn, config Config, handler Handler) (*Server, error) {
	s := &Server{
		config: config, handler: handler,
		slots: make(chan struct{}, config.MaxTransfers), lanes: map[netip.Addr]*lane{},
	}
	var err error
	if s.front, err = newLane(s, conn, true); err != nil {
		return nil, err
	}
	if err := s.front.wantDestination(); err != nil {
		_ = s.front.conn.Close() // it is the first error that counts
		return nil, fmt.Errorf("asking for the address that requests are sent to: %w", err)
	}
	return s, nil
}

// Serve answers requests until ctx ends, lets transfers go on for a while, and
// closes the server's socket.
func (s *Server) Serve(ctx context.Context) error {
	s.ctx = ctx
	stop := context.AfterFunc(ctx, s.drain)
	defer stop()
	err := s.front.run()
	s.close()
	s.running.Wait()
	return err
}

// wantDestination has the system tell which address each packet was sent to.
func (l *lane) wantDestination() error {
	switch conn := l.batch.(type) {
	case *ipv4.PacketConn:
		return conn.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	case *ipv6.PacketConn:
		return conn.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	return nil
}

// destination reads the address and the interface that a packet was sent to.
func (l *lane) destination(control []byte) (local netip.Addr, ifIndex int) {
	var ip net.IP
	if l.v6 {
		var m ipv6.ControlMessage
		if m.Parse(control) != nil {
			return local, 0
		}
		ip, ifIndex = m.Dst, m.IfIndex
	} else {
		var m ipv4.ControlMessage
		if m.Parse(control) != nil {
			return local, 0
		}
		ip, ifIndex = m.Dst, m.IfIndex
	}
	local, _ = netip.AddrFromSlice(ip)
	return local.Unmap(), ifIndex
}

// source is the ancillary data that has a packet sent from an address.
func source(local netip.Addr) []byte {
	if !local.IsValid() {
		return nil
	}
	if local.Is4() { // also on an IPv6 socket, which sends as an IPv4 one then
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: local.AsSlice()}).Marshal()
}

// isShared reports whether nothing can be sent from an address. The broadcast
// address of a subnet doesn't show; what is sent to it gets no further than one
// answer.
func isShared(a netip.Addr) bool {
	return a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// request begins a transfer, away from the lane, which the handler may not hold
// up.
func (s *Server) request(p []byte, remote netip.AddrPort, control []byte) {
	op, r, err := parseRequest(p)
	if err != nil || remote.Port() == 0 || s.ending.Load() {
		return
	}
	var ifIndex int
	r.Remote, r.Begun = remote, time.Now()
	if r.Local, ifIndex = s.front.destination(control); r.Local.IsValid() && isShared(r.Local) {
		return // RFC 1123 4.2.3.4
	}
	if op == opRead && r.Mode != "octet" {
		s.handler.Text(bytes.Clone(p), &r)
		return
	}
	if !s.takeSlot() {
		s.handler.Busy(&r)
		return
	}
	s.running.Go(func() {
		if op == opWrite {
			s.refuse(s.lane(r.Local), &r, codeAccess, s.handler.Write(&r))
			<-s.slots
			return
		}
		s.start(r, ifIndex)
	})
}

// takeSlot takes one of the places for transfers, from one that nobody has
// answered if need be.
func (s *Server) takeSlot() bool {
	for {
		select {
		case s.slots <- struct{}{}:
			return true
		default:
		}
		if !s.giveUpOne() {
			return false
		}
	}
}

func (s *Server) giveUpOne() bool {
	for _, l := range s.all() {
		if l.giveUp() {
			return true
		}
	}
	return false
}

// start sends a request's first answer. It has a slot, which ends with the
// transfer.
func (s *Server) start(r Request, ifIndex int) {
	l := s.lane(r.Local)
	content, err := s.handler.Open(s.ctx, &r)
	if err != nil {
		s.refuse(l, &r, codeNotFound, err)
		<-s.slots
		return
	}
	t := newTransfer(r, content, s.largestBlock(&r, ifIndex))
	if l == s.front {
		t.control = source(r.Local)
	}
	l.begin(t)
}

// largestBlock is what the configuration and the way to the machine carry:
// fragments are what many ROMs can't put together.
func (s *Server) largestBlock(r *Request, ifIndex int) int {
	headers := 20 + 8 + 4 // IPv4, UDP, TFTP
	if r.Remote.Addr().Is6() {
		headers = 40 + 8 + 4
	}
	limit := s.config.BlockSize
	if mtu := s.mtu.of(ifIndex); mtu > 0 {
		limit = min(limit, max(mtu-headers, plainBlock))
	}
	return limit
}

// lane is the socket for transfers from an address of the server.
func (s *Server) lane(local netip.Addr) *lane {
	if s.config.SinglePort {
		return s.front
	}
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if s.front.v6 {
			local = netip.IPv6Unspecified()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[local]; l != nil {
		return l
	}
	if s.stopped || len(s.lanes) >= mostLanes {
		return s.front
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return s.front // no sockets are left
	}
	l, err := newLane(s, conn, false)
	if err != nil {
		return s.front
	}
	s.lanes[local] = l
	s.running.Go(func() {
		if err := l.run(); err != nil {
			s.drop(local, l)
		}
	})
	return l
}

// drop closes a lane whose socket fails; the next request opens another.
func (s *Server) drop(local netip.Addr, l *lane) {
	s.mu.Lock()
	if s.lanes[local] == l {
		delete(s.lanes, local)
	}
	s.mu.Unlock()
	l.close()
}

// refuse sends an error packet.
func (s *Server) refuse(l *lane, r *Request, code byte, err error) {
	m := ipv4.Message{Buffers: [][]byte{errorPacket(code, err.Error())}, Addr: net.UDPAddrFromAddrPort(r.Remote)}
	if l == s.front {
		m.OOB = source(r.Local)
	}
	l.send([]ipv4.Message{m})
}

// ended frees the slots of transfers and tells the handler.
func (s *Server) ended(over []ended) {
	for _, e := range over {
		<-s.slots
		t := e.transfer
		s.handler.Ended(&t.request, Result{Bytes: t.sent(), Resent: t.resent, Err: e.err})
	}
}

// drain waits for machines that are in the middle of a file, and then closes the
// server.
func (s *Server) drain() {
	s.ending.Store(true)
	over := time.After(s.config.Grace)
	again := time.NewTicker(tick)
	defer again.Stop()
	defer s.close()
	for s.inTheMiddle() {
		select {
		case <-again.C:
		case <-over:
			return
		}
	}
}

// inTheMiddle reports whether there is a transfer of which a machine has
// acknowledged something. Others may be anybody's.
func (s *Server) inTheMiddle() bool {
	for _, l := range s.all() {
		if l.inTheMiddle() {
			return true
		}
	}
	return false
}

func (s *Server) all() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Collect(maps.Values(s.lanes)), s.front)
}

// close ends all transfers and closes all sockets.
func (s *Server) close() {
	s.mu.Lock()
	s.stopped = true
	lanes := s.lanes
	s.lanes = nil
	s.mu.Unlock()
	for _, l := range lanes {
		l.close()
	}
	s.front.close()
}
