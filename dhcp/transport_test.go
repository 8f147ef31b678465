package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// heard is a reply as the machine gets it.
type heard struct {
	*dhcpv4.DHCPv4
	from, to  netip.AddrPort
	broadcast bool // on the Ethernet
}

// transport carries a machine's packets to a server.
type transport interface {
	// ask sends data from the machine's address and returns the reply; nil for
	// silence. What is wanted decides how long it waits.
	ask(t *testing.T, data []byte, from, to netip.AddrPort, want bool) *heard
	// configure gives the machine an address.
	configure(addr netip.Addr)
}

// simulated calls the server's Handle.
type simulated struct{ s *Server }

func (s simulated) configure(netip.Addr) {}

func (s simulated) ask(t *testing.T, data []byte, from, to netip.AddrPort, _ bool) *heard {
	t.Helper()
	answer, reply := ask(t, s.s, Packet{Data: data, Interface: testInterface, Local: to, Remote: from})
	if answer == nil {
		return nil
	}
	return &heard{answer, reply.From, reply.To, reply.To.Addr() == limitedBroadcast}
}

// wired is a machine behind a real cable, which sends and receives frames.
type wired struct {
	n    *namespace
	conn *packet.Conn
	xid  uint32 // of the last exchange
}

func newWired(t *testing.T, server *namespace, segment string) *wired {
	w := &wired{n: newNamespace(t)}
	server.cable(segment, w.n, "eth0", "", testMAC[:])
	w.n.do(func() error {
		in, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		w.conn, err = packet.Listen(in, packet.Raw, unix.ETH_P_IP, nil)
		return err
	})
	t.Cleanup(func() { w.conn.Close() })
	return w
}

// configure lets the kernel answer ARP for the machine.
func (w *wired) configure(addr netip.Addr) {
	w.n.do(func() error { return setUp("eth0", addr.String()+"/24") })
}

// silence is how long a wired machine waits for what should not come, or may
// have got lost.
const silence = 300 * time.Millisecond

func (w *wired) ask(t *testing.T, data []byte, from, to netip.AddrPort, want bool) *heard {
	t.Helper()
	w.send(t, data, from, to)
	if want {
		return w.hear(t, patience)
	}
	return w.hear(t, silence)
}

// askAll returns all replies, up to n.
func (w *wired) askAll(t *testing.T, data []byte, from, to netip.AddrPort, n int) (replies []*heard) {
	t.Helper()
	w.send(t, data, from, to)
	for wait := patience; len(replies) < n; wait = silence {
		h := w.hear(t, wait)
		if h == nil {
			break
		}
		replies = append(replies, h)
	}
	return replies
}

// send begins an exchange of its own, so that a late reply to another is told
// apart.
func (w *wired) send(t *testing.T, data []byte, from, to netip.AddrPort) {
	t.Helper()
	w.xid++
	if len(data) > headerLen {
		binary.BigEndian.PutUint32(data[offsetXID:], w.xid)
	}
	everybody := machine.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, err := w.conn.WriteTo(frame(testMAC, everybody, from, to, data), &packet.Addr{HardwareAddr: everybody[:]}); err != nil {
		t.Fatal(err)
	}
}

func (w *wired) hear(t *testing.T, wait time.Duration) *heard {
	t.Helper()
	if err := w.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		size, _, err := w.conn.ReadFrom(buf)
		if err != nil {
			return nil
		}
		if h := unpack(t, buf[:size]); h != nil && binary.BigEndian.Uint32(h.TransactionID[:]) == w.xid {
			return h
		}
	}
}

// unpack reads a frame, sums included; nil for what is no DHCP reply to
// the machine.
func unpack(t *testing.T, b []byte) *heard {
	t.Helper()
	ip := b[ethernetHeader:]
	if len(ip) < ipv4Header+udpHeader || ip[9] != protocolUDP {
		return nil
	}
	ip = ip[:binary.BigEndian.Uint16(ip[2:])]
	udp := ip[ipv4Header:]
	h := &heard{
		from:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:])), binary.BigEndian.Uint16(udp)),
		to:        netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:])), binary.BigEndian.Uint16(udp[2:])),
		broadcast: b[0] == 0xff,
	}
	if sum(0, ip[:ipv4Header]) != 0xffff {
		t.Errorf("wrong IP header checksum from %v", h.from)
	}
	var err error
	h.DHCPv4, err = dhcpv4.FromBytes(udp[udpHeader:])
	if err != nil || h.OpCode != dhcpv4.OpcodeBootReply || machine.MAC(h.ClientHWAddr) != testMAC {
		return nil
	}
	return h
}

// TestExchange has one machine boot, over simulated and over real sockets.
func TestExchange(t *testing.T) {
	t.Run("simulated", func(t *testing.T) {
		s := testServer(t, testConfig(ModeServer), boot.Policy{})
		testExchange(t, simulated{s})
	})
	t.Run("wired", func(t *testing.T) {
		n, _ := realServer(t, testConfig(ModeServer), newAddresses())
		testExchange(t, newWired(t, n, "lan0"))
	})
}

func testExchange(t *testing.T, wire transport) {
	nowhere := netip.MustParseAddrPort("0.0.0.0:68")
	everywhere := netip.MustParseAddrPort("255.255.255.255:67")
	server := netip.MustParseAddrPort("192.0.2.10:67")
	pxePort := netip.MustParseAddrPort("192.0.2.10:4011")
	mine := netip.MustParseAddrPort("192.0.2.100:68")
	selected := func(p *dhcpv4.DHCPv4) {
		withAddr(optServerID, "192.0.2.10")(p)
		withAddr(optRequestedAddress, "192.0.2.100")(p)
	}
	const file = "52-54-00-12-34-56/undionly.kpxe"
	for _, step := range []struct {
		name      string
		data      []byte
		from, to  netip.AddrPort
		want      dhcpv4.MessageType // 0: silence
		replyFrom netip.AddrPort
		replyTo   netip.AddrPort
		broadcast bool
		file      string
		configure bool
	}{
		{name: "garbage", data: []byte("hello"), from: nowhere, to: everywhere},
		{name: "somebody's offer", data: append([]byte{2}, message(dhcpv4.MessageTypeOffer)[1:]...), from: server, to: everywhere},
		{name: "discover", data: message(dhcpv4.MessageTypeDiscover, biosROM), from: nowhere, to: everywhere,
			want: dhcpv4.MessageTypeOffer, replyFrom: server, replyTo: mine, file: file},
		{name: "discover that asks for broadcast", data: message(dhcpv4.MessageTypeDiscover, biosROM, dhcpv4.WithBroadcast(true)), from: nowhere, to: everywhere,
			want: dhcpv4.MessageTypeOffer, replyFrom: server, replyTo: netip.AddrPortFrom(limitedBroadcast, 68), broadcast: true, file: file},
		{name: "request", data: message(dhcpv4.MessageTypeRequest, biosROM, selected), from: nowhere, to: everywhere,
			want: dhcpv4.MessageTypeAck, replyFrom: server, replyTo: mine, file: file, configure: true},
		{name: "request at 4011", data: message(dhcpv4.MessageTypeRequest, biosROM, from("192.0.2.100")), from: mine, to: pxePort,
			want: dhcpv4.MessageTypeAck, replyFrom: pxePort, replyTo: mine, file: file},
		{name: "request at 4011 from another port", data: message(dhcpv4.MessageTypeRequest, biosROM, from("192.0.2.100")),
			from: netip.MustParseAddrPort("192.0.2.100:4011"), to: pxePort,
			want: dhcpv4.MessageTypeAck, replyFrom: pxePort, replyTo: netip.MustParseAddrPort("192.0.2.100:4011"), file: file},
		{name: "plain client at 4011", data: message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), from: mine, to: pxePort},
		{name: "discover at 4011", data: message(dhcpv4.MessageTypeDiscover, biosROM), from: mine, to: pxePort},
		{name: "renew", data: message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), from: mine, to: server,
			want: dhcpv4.MessageTypeAck, replyFrom: server, replyTo: mine},
		{name: "rebind", data: message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), from: mine, to: everywhere,
			want: dhcpv4.MessageTypeAck, replyFrom: server, replyTo: mine},
		{name: "request of a foreign address", data: message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "10.0.0.1")), from: nowhere, to: everywhere,
			want: dhcpv4.MessageTypeNak, replyFrom: server, replyTo: netip.AddrPortFrom(limitedBroadcast, 68), broadcast: true},
		{name: "iPXE after the loader", data: message(dhcpv4.MessageTypeDiscover, ipxe(fullIPXE)), from: nowhere, to: everywhere,
			want: dhcpv4.MessageTypeOffer, replyFrom: server, replyTo: mine, file: "http://192.0.2.10/boot.ipxe"},
	} {
		got := wire.ask(t, step.data, step.from, step.to, step.want != 0)
		if got == nil {
			if step.want != 0 {
				t.Fatalf("%s: silence", step.name)
			}
			continue
		}
		if got.MessageType() != step.want || got.from != step.replyFrom || got.to != step.replyTo || got.broadcast != step.broadcast || got.BootFileName != step.file {
			t.Errorf("%s: %v from %v to %v, broadcast %v, file %q", step.name, got.MessageType(), got.from, got.to, got.broadcast, got.BootFileName)
		}
		if step.configure {
			wire.configure(must("192.0.2.100"))
		}
	}
}

// TestInterfaceChanges has the server's interface get another address, and then
// be removed and made again; then the configuration names another, and at last
// turns DHCP off and on.
func TestInterfaceChanges(t *testing.T) {
	n, s := realServer(t, testConfig(ModeProxy), nil)
	offer := func(segment string) *heard {
		rom := newWired(t, n, segment)
		defer n.do(func() error { return remove("to-eth0") })
		return rom.ask(t, message(dhcpv4.MessageTypeDiscover, edk2), netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), false)
	}
	offerFrom := func(segment, addr string) {
		t.Helper()
		waitFor(t, "an offer from "+addr, func() bool {
			h := offer(segment)
			return h != nil && h.from.Addr() == must(addr) && h.ServerIPAddr.String() == addr
		})
	}
	offerFrom("lan0", "192.0.2.10")
	n.do(func() error {
		link, err := netlink.LinkByName("lan0")
		if err != nil {
			return err
		}
		old, _ := netlink.ParseAddr("192.0.2.10/24")
		return errors.Join(netlink.AddrDel(link, old), setUp("lan0", "192.0.2.11/24"))
	})
	offerFrom("lan0", "192.0.2.11")
	n.do(func() error { return remove("lan0") })
	n.segment("lan0", "192.0.2.12/24")
	offerFrom("lan0", "192.0.2.12")

	n.segment("lan1", "198.51.100.10/24")
	cfg := testConfig(ModeProxy)
	reload := func() {
		t.Helper()
		if err := s.SetConfig(cfg, nil); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Interfaces = []string{"lan1", "lan2"}
	if err := s.SetConfig(cfg, nil); err == nil {
		t.Error("an interface that doesn't exist was accepted")
	}
	offerFrom("lan0", "192.0.2.12")
	cfg.Interfaces = []string{"lan1"}
	reload()
	offerFrom("lan1", "198.51.100.10")
	if h := offer("lan0"); h != nil {
		t.Errorf("an offer on an interface that is no longer named, from %v", h.from)
	}
	cfg.Mode = ModeOff
	reload()
	waitFor(t, "silence", func() bool { return offer("lan1") == nil })
	cfg.Mode = ModeProxy
	reload()
	offerFrom("lan1", "198.51.100.10")
}

func remove(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}
