package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// port is a UDP socket on one interface and one port, with what is needed to
// answer from there.
type port struct {
	conn   *net.UDPConn
	number uint16
	raw    *packet.Conn // nil where frames can't be sent; shared by an interface's ports
	in     atomic.Pointer[Interface]
	source atomic.Pointer[sourceControl]
}

// sourceControl is the control message that sends from an address.
type sourceControl struct {
	from netip.Addr
	oob  []byte
}

// receiveBuffer is how much may wait in the kernel, in bytes: a boot storm of
// some thousand packets. The kernel gives less where net.core.rmem_max says so.
const receiveBuffer = 4 << 20

// openPort binds to one interface, so that a reply goes out where its request
// came in, and two interfaces with the same addresses don't mix.
func openPort(ctx context.Context, in *Interface, number int) (*port, error) {
	bind := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), in.Name))
		})
		return errors.Join(err, failed)
	}}
	c, err := bind.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", number))
	if err != nil {
		return nil, fmt.Errorf("dhcp: interface %s: %w%s", in.Name, err, bindAdvice(err, number))
	}
	p := &port{conn: c.(*net.UDPConn), number: uint16(number)}
	p.in.Store(in)
	// A smaller buffer than wanted loses packets in a storm; clients ask again.
	_ = p.conn.SetReadBuffer(receiveBuffer)
	if err := ipv4.NewPacketConn(p.conn).SetControlMessage(ipv4.FlagDst, true); err != nil {
		c.Close()
		return nil, fmt.Errorf("dhcp: interface %s: destination of packets: %w", in.Name, err)
	}
	return p, nil
}

func bindAdvice(err error, number int) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("; another DHCP server runs here, `ss -lunp sport = :%d` shows it", number)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "; it needs root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	}
	return ""
}

// openRaw opens a socket that sends frames and receives none. Without it,
// replies that ask for a frame are broadcast, which wakes everybody but works.
func openRaw(in *Interface, log *stepLog) *packet.Conn {
	const receiveNothing = 0
	raw, err := packet.Listen(&net.Interface{Index: in.Index, Name: in.Name, HardwareAddr: in.MAC[:]},
		packet.Raw, receiveNothing, nil)
	if err != nil {
		log.Warn("can't send frames, so replies to machines without an address are broadcast; give it CAP_NET_RAW",
			slog.String("interface", in.Name), slog.Any("error", err))
		return nil
	}
	return raw
}

// read waits for a packet and puts it into buf.
func (p *port) read(buf, oob []byte) (Packet, error) {
	n, oobn, flags, from, err := p.conn.ReadMsgUDPAddrPort(buf, oob)
	if err != nil {
		return Packet{}, err
	}
	in := p.in.Load()
	local := limitedBroadcast
	var control ipv4.ControlMessage
	if control.Parse(oob[:oobn]) == nil {
		if a, ok := netip.AddrFromSlice(control.Dst); ok {
			local = a.Unmap()
		}
	}
	if flags&unix.MSG_TRUNC != 0 {
		n = len(buf)
	}
	return Packet{
		Data:      buf[:n],
		Interface: in,
		Local:     netip.AddrPortFrom(local, p.number),
		Remote:    netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
	}, nil
}

// send sends a reply from where it should come.
func (p *port) send(r Reply) error {
	if !r.Hardware.IsZero() {
		if p.raw != nil {
			_, err := p.raw.WriteTo(frame(p.in.Load().MAC, r.Hardware, r.From, r.To, r.Data),
				&packet.Addr{HardwareAddr: r.Hardware[:]})
			return err
		}
		r.To = netip.AddrPortFrom(limitedBroadcast, r.To.Port())
	}
	_, _, err := p.conn.WriteMsgUDPAddrPort(r.Data, p.controlFor(r.From.Addr()), r.To)
	return err
}

// controlFor is the control message that makes the kernel send from an address
// of ours (ip(7), IP_PKTINFO). Nearly all replies of a port need the same.
func (p *port) controlFor(from netip.Addr) []byte {
	if c := p.source.Load(); c != nil && c.from == from {
		return c.oob
	}
	c := &sourceControl{from: from, oob: (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()}
	p.source.Store(c)
	return c.oob
}
