package assets

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pin/tftp/v3"

	"ravenboot/assets/lockstep"
)

// mostTexts is how many transfers as text are under way at a time. People send
// for them, by hand; no firmware does.
const mostTexts = 16

// longestText is how long pin/tftp takes for a request at most.
const longestText = 10 * time.Minute

// textServer has pin/tftp answer requests in the mode "netascii". It is the
// net.PacketConn that pin/tftp reads requests from; answers go out of sockets
// of pin/tftp's own.
type textServer struct {
	server  *tftp.Server
	open    func(r *lockstep.Request, to io.ReaderFrom) error
	packets chan textPacket
	closed  chan struct{}
	once    sync.Once

	mu       sync.Mutex
	requests map[netip.AddrPort]*lockstep.Request // under way, by the machine's port
}

type textPacket struct {
	data []byte
	from netip.AddrPort
}

func newTextServer(open func(r *lockstep.Request, to io.ReaderFrom) error) *textServer {
	s := &textServer{
		open: open, packets: make(chan textPacket, mostTexts), closed: make(chan struct{}),
		requests: map[netip.AddrPort]*lockstep.Request{},
	}
	s.server = tftp.NewServer(s.read, nil)
	s.server.SetTimeout(time.Second)
	return s
}

func (s *textServer) serve() { _ = s.server.Serve(s) } // its only error is of LocalAddr

func (s *textServer) shutdown() { s.server.Shutdown() }

// take queues a request; false if there are too many.
func (s *textServer) take(packet []byte, r *lockstep.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, old := range s.requests {
		if r.Begun.Sub(old.Begun) > longestText {
			delete(s.requests, from) // pin/tftp has not taken it for a request
		}
	}
	if _, again := s.requests[r.Remote]; again {
		return true // pin/tftp is at it
	}
	if len(s.requests) >= mostTexts {
		return false
	}
	s.requests[r.Remote] = r
	select {
	case s.packets <- textPacket{packet, r.Remote}:
		return true
	default:
		delete(s.requests, r.Remote)
		return false
	}
}

// read is pin/tftp's handler.
func (s *textServer) read(_ string, to io.ReaderFrom) error {
	remote := to.(tftp.OutgoingTransfer).RemoteAddr()
	from := remote.AddrPort()
	s.mu.Lock()
	r := s.requests[from]
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.requests, from)
		s.mu.Unlock()
	}()
	if r == nil {
		return errBusy
	}
	return s.open(r, to)
}

// ReadFrom is net.PacketConn's.
func (s *textServer) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case packet := <-s.packets:
		return copy(p, packet.data), net.UDPAddrFromAddrPort(packet.from), nil
	case <-s.closed:
		return 0, nil, net.ErrClosed
	}
}

// Close is net.PacketConn's.
func (s *textServer) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// LocalAddr is net.PacketConn's; pin/tftp wants one that it can parse.
func (s *textServer) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero} }

// WriteTo is net.PacketConn's. pin/tftp writes to sockets of its own.
func (s *textServer) WriteTo([]byte, net.Addr) (int, error) { return 0, net.ErrClosed }

// SetDeadline is net.PacketConn's, without use here.
func (s *textServer) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is net.PacketConn's, without use here.
func (s *textServer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is net.PacketConn's, without use here.
func (s *textServer) SetWriteDeadline(time.Time) error { return nil }
