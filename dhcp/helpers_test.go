package dhcp

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// everyLoader has whatever is asked for, but for those that are named.
type everyLoader map[string]bool

func (l everyLoader) Has(name string) bool { return !l[name] }

type noGenerations struct{}

func (noGenerations) Generations(string) []generation.Generation { return nil }

func newDecider(policy boot.Policy) *boot.Decider {
	if policy.Default.Action == "" {
		policy.Default.Action = boot.ActionMenu
	}
	return boot.New(policy, noGenerations{}, everyLoader{})
}

// fakeAddresses gives each machine an address of 192.0.2.100 to .199 or of
// 198.51.100.100 to .199, in memory.
type fakeAddresses struct {
	subnets []lease.Subnet

	mu       sync.Mutex
	offered  map[machine.MAC]netip.Addr
	leased   map[machine.MAC]netip.Addr
	owner    map[netip.Addr]machine.MAC
	declined []netip.Addr
	released []netip.Addr
}

func newAddresses() *fakeAddresses {
	subnet := func(network string) lease.Subnet {
		p := netip.MustParsePrefix(network)
		base := p.Addr().As4()
		at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{base[0], base[1], base[2], last}) }
		return lease.Subnet{
			Network: p,
			Ranges:  []lease.Range{{First: at(100), Last: at(199)}},
			Router:  []netip.Addr{at(1)},
			DNS:     []netip.Addr{at(2), at(3)},
			NTP:     []netip.Addr{at(4)},
			Domain:  "lab.example",
			Lease:   time.Hour,
		}
	}
	return &fakeAddresses{
		subnets: []lease.Subnet{subnet("192.0.2.0/24"), subnet("198.51.100.0/24")},
		offered: map[machine.MAC]netip.Addr{},
		leased:  map[machine.MAC]netip.Addr{},
		owner:   map[netip.Addr]machine.MAC{},
	}
}

func (a *fakeAddresses) Subnet(link netip.Addr) *lease.Subnet {
	for i := range a.subnets {
		if a.subnets[i].Network.Contains(link) {
			return &a.subnets[i]
		}
	}
	return nil
}

func (a *fakeAddresses) Offer(_ context.Context, s *lease.Subnet, mac machine.MAC, fixed, _ netip.Addr) (lease.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr := a.offered[mac]
	if fixed.IsValid() {
		addr = fixed
	}
	for free := s.Ranges[0].First; !s.Network.Contains(addr); free = free.Next() {
		if s.Ranges[0].Last.Less(free) {
			return lease.Lease{}, lease.ErrNoAddress
		}
		if _, taken := a.owner[free]; !taken {
			addr = free
		}
	}
	a.offered[mac], a.owner[addr] = addr, mac
	return lease.Lease{MAC: mac, Addr: addr, Subnet: s}, nil
}

func (a *fakeAddresses) Confirm(_ context.Context, s *lease.Subnet, mac machine.MAC, _, addr netip.Addr) (lease.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch owner, taken := a.owner[addr]; {
	case taken && owner != mac:
		return lease.Lease{}, lease.ErrNotYours
	case !taken:
		return lease.Lease{}, lease.ErrUnknown
	}
	a.leased[mac] = addr
	return lease.Lease{MAC: mac, Addr: addr, Subnet: s}, nil
}

func (a *fakeAddresses) Decline(_ machine.MAC, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.declined = append(a.declined, addr)
}

func (a *fakeAddresses) Release(_ machine.MAC, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.released = append(a.released, addr)
}

// The server's interface in tests without sockets, and a machine on it.
var (
	testInterface = &Interface{
		Name: "eth0", Index: 2, MAC: machine.MAC{2, 0, 0, 0, 0, 1},
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
	}
	testMAC = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
)

func testConfig(mode Mode) Config {
	return Config{Mode: mode, HTTPPort: 80, TFTPPort: 69, EFIOption43: true}
}

// clock is a clock that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{t: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)} }

func testServer(t testing.TB, cfg Config, policy boot.Policy) *Server {
	t.Helper()
	s, err := New(cfg, newDecider(policy), newAddresses(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loggedServer is a server with a clock of the test's and a log to read.
func loggedServer(t testing.TB, cfg Config, policy boot.Policy) (*Server, *clock, *buffer) {
	t.Helper()
	clock, log := newClock(), &buffer{}
	s, err := newServer(cfg, newDecider(policy), newAddresses(), slog.New(slog.NewTextHandler(log, nil)), clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, clock, log
}

// broadcast is a packet as a machine without an address sends it.
func broadcast(data []byte) Packet {
	return Packet{
		Data: data, Interface: testInterface,
		Local: netip.MustParseAddrPort("255.255.255.255:67"), Remote: netip.MustParseAddrPort("0.0.0.0:68"),
	}
}

// unicast is a packet from a machine's address to one of the server's.
func unicast(data []byte, from string, to string) Packet {
	return Packet{
		Data: data, Interface: testInterface,
		Local: netip.MustParseAddrPort(to), Remote: netip.MustParseAddrPort(from),
	}
}

// message builds a client's packet.
func message(m dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	p, err := dhcpv4.New(dhcpv4.WithMessageType(m), dhcpv4.WithHwAddr(testMAC[:]),
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{0xde, 0xad, 0xbe, 0xef}))
	if err != nil {
		panic(err)
	}
	for _, f := range change {
		f(p)
	}
	return p.ToBytes()
}

func with(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value)
}

func withText(code uint8, s string) dhcpv4.Modifier { return with(code, []byte(s)...) }

func withAddr(code uint8, a string) dhcpv4.Modifier {
	return with(code, netip.MustParseAddr(a).AsSlice()...)
}

func from(ciaddr string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ciaddr)) }

// pxe is a PXE ROM of an architecture.
func pxe(arch ...byte) dhcpv4.Modifier {
	return func(p *dhcpv4.DHCPv4) {
		withText(optClass, "PXEClient:Arch:00000:UNDI:003016")(p)
		with(optArch, arch...)(p)
	}
}

// fullIPXE has what scripts need, as a BIOS build of iPXE 1.21.1 sends it.
var fullIPXE = []byte{0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 21, 1, 0x17, 1, 1, 0x15, 1, 1, 0x13, 1, 1, 0x14, 1, 1,
	0x11, 1, 1, 0x27, 1, 1, 0x29, 1, 1, 0x18, 1, 1, 0x21, 1, 1, 0x10, 1, 2}

// romIPXE lacks HTTP and menus, as VirtualBox's does (netboot#51).
var romIPXE = []byte{0xeb, 3, 1, 0, 0, 0x15, 1, 1, 0x18, 1, 1, 0x21, 1, 1}

func ipxe(features []byte) dhcpv4.Modifier {
	return func(p *dhcpv4.DHCPv4) {
		pxe(0, 0)(p)
		withText(optUserClass, "iPXE")(p)
		with(optIPXE, features...)(p)
	}
}

// ask hands a packet to the server, and decodes what it answers with somebody
// else's parser.
func ask(t testing.TB, s *Server, p Packet) (*dhcpv4.DHCPv4, Reply) {
	t.Helper()
	reply, ok := s.Handle(t.Context(), p)
	if !ok {
		return nil, Reply{}
	}
	answer, err := dhcpv4.FromBytes(reply.Data)
	if err != nil {
		t.Fatalf("the reply can't be read: %v", err)
	}
	return answer, reply
}

func must(a string) netip.Addr { return netip.MustParseAddr(a) }
