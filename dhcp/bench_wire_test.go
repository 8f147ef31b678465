package dhcp

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

// BenchmarkDORA has 1,000 known machines behind a relay take their addresses
// over a cable, 64 at a time: DISCOVER, OFFER, REQUEST, ACK. CPU is that of
// server and clients together. Leases are in memory, or on the disk before each
// ACK.
func BenchmarkDORA(b *testing.B) {
	subnet := newAddresses().subnets[0]
	subnet.Network = netip.MustParsePrefix("10.0.0.0/16")
	subnet.Ranges = []lease.Range{{First: must("10.0.1.0"), Last: must("10.0.16.255")}}
	b.Run("memory", func(b *testing.B) { benchmarkDORA(b, &labAddresses{subnet: subnet}, labPolicy()) })
	b.Run("durable", func(b *testing.B) {
		store, err := state.Open(b.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		pool, err := lease.NewPool([]lease.Subnet{subnet}, nil, store, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		policy := labPolicy()
		for i := range policy.Hosts {
			policy.Hosts[i].Addr = netip.Addr{} // a fixed address needs no lease on the disk
		}
		benchmarkDORA(b, pool, policy)
	})
}

func benchmarkDORA(b *testing.B, addresses Addresses, policy boot.Policy) {
	n := newNamespace(b)
	n.segment("lan0", "192.0.2.10/24")
	cfg := testConfig(ModeServer)
	cfg.Interfaces = []string{"lan0"}
	s, err := New(cfg, newDecider(policy), addresses, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	n.serve(s)
	relay := newRelay(b, n)

	// b.Loop would time one lease after the other.
	b.ResetTimer()
	before := cpuTime(b)
	relay.lease(b, b.N, 64)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "DORA/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/DORA")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// relay sends for many machines from one address, as perfdhcp does.
type relay struct {
	conn      *net.UDPConn
	discovers [][]byte // by machine
	requests  [][]byte
	given     []netip.Addr // by machine; where there is none yet, invalid
	machines  map[netip.Addr]int
}

func newRelay(b *testing.B, server *namespace) *relay {
	n, r := newNamespace(b), &relay{given: make([]netip.Addr, 1000), machines: map[netip.Addr]int{}}
	server.cable("lan0", n, "eth0", "192.0.2.20/24", nil)
	n.do(func() (err error) {
		r.conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 20), Port: 67}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 67})
		return err
	})
	b.Cleanup(func() { r.conn.Close() })
	for i := range 1000 {
		mac := labMAC(i)
		through := func(p *dhcpv4.DHCPv4) {
			p.ClientHWAddr, p.GatewayIPAddr = mac[:], net.IPv4(192, 0, 2, 20)
			p.TransactionID = dhcpv4.TransactionID{mac[4], mac[5]}
			// The relay is not in the machines' subnet.
			with(optRelayAgent, agentLinkSelection, 4, 10, 0, 0, 1)(p)
		}
		r.discovers = append(r.discovers, message(dhcpv4.MessageTypeDiscover, through))
		r.requests = append(r.requests, message(dhcpv4.MessageTypeRequest, through,
			withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, "10.0.0.0")))
	}
	return r
}

// lease takes n leases, some at a time.
func (r *relay) lease(b *testing.B, n, outstanding int) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = r.conn.SetReadDeadline(time.Now()) })
	begun := 0
	begin := func() {
		if begun < n {
			r.send(b, r.discovers[begun%len(r.discovers)])
			begun++
		}
	}
	for range outstanding {
		begin()
	}
	buf := make([]byte, maxPacket)
	for done := 0; done < n; {
		size, err := r.conn.Read(buf)
		if err != nil {
			b.Fatalf("%d of %d leases, then: %v", done, n, err)
		}
		i := r.check(b, buf[:size])
		switch dhcpv4.MessageType(buf[headerLen+2]) {
		case dhcpv4.MessageTypeOffer:
			given := r.given[i].As4()
			copy(r.requests[i][bytes.Index(r.requests[i], []byte{optRequestedAddress, 4})+2:], given[:])
			r.send(b, r.requests[i])
		case dhcpv4.MessageTypeAck:
			done++
			begin()
		default:
			b.Fatalf("message %d", buf[headerLen+2])
		}
	}
}

// check finds the machine that an answer is for. Its address must be its own,
// and the same each time.
func (r *relay) check(b *testing.B, answer []byte) int {
	if len(answer) < minPacket {
		b.Fatalf("%d bytes", len(answer))
	}
	i := int(answer[offsetXID])<<8 | int(answer[offsetXID+1])
	given := netip.AddrFrom4([4]byte(answer[offsetYiaddr:]))
	owner, known := r.machines[given]
	switch {
	case machine.MAC(answer[offsetChaddr:]) != labMAC(i) || !netip.MustParsePrefix("10.0.0.0/16").Contains(given) ||
		known && owner != i || r.given[i].IsValid() && r.given[i] != given:
		b.Fatalf("machine %d, which had %v, was given %v, which is machine %d's", i, r.given[i], given, owner)
	}
	r.given[i], r.machines[given] = given, i
	return i
}

func (r *relay) send(b *testing.B, data []byte) {
	if _, err := r.conn.Write(data); err != nil {
		b.Fatal(err)
	}
}
