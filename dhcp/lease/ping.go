package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// pingAgain is when an echo is sent once more, should the first get lost.
const pingAgain = 100 * time.Millisecond

const protocolICMP = 1 // IANA's number, for icmp.ParseMessage

// Ping asks by ICMP echo whether an address is in use.
type Ping struct {
	conn  *icmp.PacketConn // nil if none was permitted
	raw   bool
	id    int
	token []byte // tells our echoes from those of other programs
	log   *slog.Logger

	mu      sync.Mutex
	waiting map[netip.Addr]*echo
	failed  bool // and logged
}

// echo is what several callers wait for who asked for the same address.
type echo struct {
	answered chan struct{}
	callers  int
}

// NewPing opens an unprivileged ping socket, or else a raw one. If neither is
// permitted it logs what to do, once, and takes every address to be free.
func NewPing(log *slog.Logger) *Ping {
	p := &Ping{
		id: os.Getpid() & 0xffff, token: make([]byte, 8), log: log,
		waiting: make(map[netip.Addr]*echo),
	}
	rand.Read(p.token)
	conn, err := icmp.ListenPacket("udp4", "0.0.0.0")
	if err != nil {
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		p.raw = true
	}
	if err != nil {
		log.Warn("no ICMP", "step", "dhcp", "outcome", "addresses are offered without asking whether they are in use", "reason", err,
			"hint", "give ravenboot CAP_NET_RAW, or its group a place in the sysctl net.ipv4.ping_group_range")
		return p
	}
	p.conn = conn
	go p.read()
	return p
}

// Close closes the socket.
func (p *Ping) Close() error {
	if p.conn == nil {
		return nil
	}
	return p.conn.Close()
}

// InUse returns true as soon as addr answers, and false when ctx ends first or
// no echo can be sent.
func (p *Ping) InUse(ctx context.Context, addr netip.Addr) bool {
	if p.conn == nil {
		return false
	}
	e := p.await(addr)
	defer p.leave(addr, e)
	again := time.NewTimer(pingAgain)
	defer again.Stop()
	for {
		if err := p.send(addr); err != nil {
			p.complain(addr, err)
			return false
		}
		select {
		case <-e.answered:
			return true
		case <-ctx.Done():
			return false
		case <-again.C: // fires once
		}
	}
}

func (p *Ping) await(addr netip.Addr) *echo {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.waiting[addr]
	if e == nil {
		e = &echo{answered: make(chan struct{})}
		p.waiting[addr] = e
	}
	e.callers++
	return e
}

// leave ends one caller's wait. Once e is answered, others may wait for another
// echo of the same address, which is not this caller's to end.
func (p *Ping) leave(addr netip.Addr, e *echo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.callers--; e.callers == 0 && p.waiting[addr] == e {
		delete(p.waiting, addr)
	}
}

func (p *Ping) send(addr netip.Addr) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: 1, Data: p.token}}
	packet, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	var to net.Addr = &net.UDPAddr{IP: addr.AsSlice()} // the kernel sets the ID
	if p.raw {
		to = &net.IPAddr{IP: addr.AsSlice()}
	}
	_, err = p.conn.WriteTo(packet, to)
	return err
}

// complain logs the first echo that could not be sent. That the network is not
// there is no reason to offer nothing.
func (p *Ping) complain(addr netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed || errors.Is(err, net.ErrClosed) {
		return
	}
	p.failed = true
	p.log.Warn("echo not sent", "step", "dhcp", "outcome", "address taken to be free", "address", addr, "reason", err,
		"hint", "is there a route to the subnet, and does the firewall let ICMP out? Said once only")
}

// read hands echo replies to those who wait for them, until Close.
func (p *Ping) read() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := p.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP errors of the network are reported here as well
		}
		if addr, ok := p.reply(buffer[:n], from); ok {
			p.arrived(addr)
		}
	}
}

// reply is the address that answers one of our echoes. A raw socket gets every
// ICMP packet of the host.
func (p *Ping) reply(packet []byte, from net.Addr) (addr netip.Addr, ok bool) {
	m, err := icmp.ParseMessage(protocolICMP, packet)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
		return addr, false
	}
	body, ok := m.Body.(*icmp.Echo)
	if !ok || !bytes.Equal(body.Data, p.token) {
		return addr, false
	}
	var ip net.IP
	switch from := from.(type) {
	case *net.UDPAddr:
		ip = from.IP
	case *net.IPAddr:
		ip = from.IP
	}
	addr, ok = netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}

func (p *Ping) arrived(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.waiting[addr]; e != nil {
		close(e.answered)
		delete(p.waiting, addr)
	}
}
