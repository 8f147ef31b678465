package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// outstanding is how many machines are served at a time.
const outstanding = 64

// resendAfter is a machine's patience. It is longer than a server that works
// takes, so that slow answers aren't counted twice.
const resendAfter = time.Second

// doraLoad plays a relay with many machines behind it. It is one loop around
// one socket, so that it leaves the other processor to the server.
type doraLoad struct {
	conn     *net.UDPConn
	server   netip.AddrPort
	machines int
	left     int       // leases still to begin
	until    time.Time // when to begin no more
	busy     int       // slots
	slots    [outstanding]exchange
	holder   map[netip.Addr]int // which machine was granted an address
	took     []time.Duration
	resent   int
	refused  int
	buffer   []byte
	packet   [300]byte // BOOTP's least length, RFC 1542 section 2.1
}

// exchange is one machine's DISCOVER, OFFER, REQUEST, ACK. Its slot and turn
// are its transaction ID.
type exchange struct {
	busy      bool
	machine   int
	turn      uint32
	begun     time.Time
	sent      time.Time
	requested bool
	addr      netip.Addr // offered
	serverID  [4]byte
}

// DHCP messages, RFC 2132 section 9.6.
const discover, offer, request, ack, nak = 1, 2, 3, 5, 6

func newDORALoad(machines, n int, lasts time.Duration) (*doraLoad, error) {
	addr := netip.AddrPortFrom(netip.MustParseAddr(relayAddr), 67)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		return nil, err
	}
	return &doraLoad{
		conn: conn, server: netip.AddrPortFrom(netip.MustParseAddr(serverAddr), 67),
		machines: machines, left: n, until: time.Now().Add(lasts), holder: make(map[netip.Addr]int, machines), buffer: make([]byte, 2048),
	}, nil
}

func (l *doraLoad) run() (loadResult, error) {
	// The machines of a known lot are spread by a step that shares no factor
	// with their number, so that one never has two exchanges at a time.
	n, begun := l.left, time.Now()
	for i := range l.slots {
		if err := l.begin(uint32(i), n-l.left); err != nil {
			return loadResult{}, err
		}
	}
	for l.busy > 0 {
		if err := l.receive(n); err != nil {
			return loadResult{}, err
		}
		if time.Since(l.until) > patience {
			return loadResult{}, fmt.Errorf("%d leases, and %d exchanges that don't end", len(l.took), l.busy)
		}
	}
	took := time.Since(begun)
	slices.Sort(l.took)
	return loadResult{Leases: len(l.took), Took: took, P99: l.took[len(l.took)*99/100], Resent: l.resent, Refused: l.refused}, nil
}

// begin starts the next machine's exchange in a slot, if one is left.
func (l *doraLoad) begin(slot uint32, number int) error {
	x := &l.slots[slot]
	if x.busy {
		l.busy--
	}
	now := time.Now()
	x.busy = l.left > 0 && now.Before(l.until)
	if !x.busy {
		return nil
	}
	l.left--
	l.busy++
	*x = exchange{busy: true, machine: number % l.machines, turn: x.turn + 1, begun: now}
	return l.send(slot)
}

func (l *doraLoad) send(slot uint32) error {
	x := &l.slots[slot]
	x.sent = time.Now()
	p := l.packet[:0]
	p = append(p, 1, 1, 6, 1)                                     // request, Ethernet, one hop
	p = binary.BigEndian.AppendUint32(p, x.turn*outstanding+slot) // xid
	p = append(p, make([]byte, 16)...)                            // secs, flags, ciaddr, yiaddr, siaddr
	relay := netip.MustParseAddr(relayAddr).As4()
	p = append(p, relay[:]...)
	p = append(p, 2, 0, 0, 0, byte(x.machine>>8), byte(x.machine))
	p = append(p, make([]byte, 10+64+128)...)
	p = append(p, 99, 130, 83, 99) // magic cookie
	if !x.requested {
		p = append(p, 53, 1, discover)
	} else {
		addr := x.addr.As4()
		p = append(append(p, 53, 1, request, 50, 4), addr[:]...)
		p = append(append(p, 54, 4), x.serverID[:]...)
	}
	p = append(p, 55, 4, 1, 3, 6, 51, 255)
	p = append(p, make([]byte, max(0, len(l.packet)-len(p)))...)
	_, err := l.conn.WriteToUDPAddrPort(p, l.server)
	return err
}

// receive takes one answer, or sends again what got none.
func (l *doraLoad) receive(n int) error {
	if err := l.conn.SetReadDeadline(time.Now().Add(resendAfter)); err != nil {
		return err
	}
	length, err := l.conn.Read(l.buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return l.resend()
	}
	if err != nil {
		return err
	}
	a, err := parseAnswer(l.buffer[:length])
	if err != nil {
		return err
	}
	slot := a.xid % outstanding
	x := &l.slots[slot]
	if !x.busy || a.xid/outstanding != x.turn {
		return nil // an answer to a packet that was sent again
	}
	switch {
	case a.message == offer && !x.requested:
		x.addr, x.serverID, x.requested = a.addr, a.serverID, true
		return l.send(slot)
	case a.message == ack && x.requested:
		if err := l.grant(x, a.addr); err != nil {
			return err
		}
		return l.begin(slot, n-l.left)
	case a.message == offer:
		return nil
	case a.message == nak && x.requested:
		// dnsmasq offers an address to two machines that ask at a time, and
		// refuses the second of them, which begins again.
		l.refused++
		x.requested, x.turn = false, x.turn+1
		return l.send(slot)
	}
	return fmt.Errorf("machine %d got message %d", x.machine, a.message)
}

// grant checks a lease: a usable address that no other machine has.
func (l *doraLoad) grant(x *exchange, addr netip.Addr) error {
	first, last := netip.MustParseAddr(firstAddr), netip.MustParseAddr(lastAddr)
	if addr.Less(first) || last.Less(addr) || addr != x.addr {
		return fmt.Errorf("machine %d was granted %v after an offer of %v", x.machine, addr, x.addr)
	}
	if other, taken := l.holder[addr]; taken && other != x.machine {
		return fmt.Errorf("machines %d and %d were granted %v", other, x.machine, addr)
	}
	l.holder[addr] = x.machine
	l.took = append(l.took, time.Since(x.begun))
	return nil
}

func (l *doraLoad) resend() error {
	for i := range l.slots {
		if x := &l.slots[i]; x.busy && time.Since(x.sent) >= resendAfter {
			l.resent++
			if err := l.send(uint32(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer is what the load reads of a reply.
type answer struct {
	xid      uint32
	message  byte
	addr     netip.Addr
	serverID [4]byte
}

func parseAnswer(p []byte) (answer, error) {
	if len(p) < 240 || p[0] != 2 {
		return answer{}, fmt.Errorf("%d bytes that are no DHCP reply", len(p))
	}
	a := answer{xid: binary.BigEndian.Uint32(p[4:]), addr: netip.AddrFrom4([4]byte(p[16:20]))}
	for options := p[240:]; len(options) > 1 && options[0] != 255; {
		if options[0] == 0 {
			options = options[1:]
			continue
		}
		length := int(options[1])
		if len(options) < 2+length {
			return a, errors.New("options that run off their end")
		}
		switch {
		case options[0] == 53 && length == 1:
			a.message = options[2]
		case options[0] == 54 && length == 4:
			a.serverID = [4]byte(options[2:6])
		}
		options = options[2+length:]
	}
	return a, nil
}
