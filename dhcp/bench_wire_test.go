package dhcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/machine"
)

// BenchmarkDORA has 1,000 known machines behind a relay take their addresses
// over a cable, 64 at a time: DISCOVER, OFFER, REQUEST, ACK. CPU is that of
// server and clients together; leases are in memory.
func BenchmarkDORA(b *testing.B) {
	addresses := &labAddresses{subnet: newAddresses().subnets[0]}
	addresses.subnet.Network = netip.MustParsePrefix("10.0.0.0/16")
	n := newNamespace(b)
	n.segment("lan0", "192.0.2.10/24")
	cfg := testConfig(ModeServer)
	cfg.Interfaces = []string{"lan0"}
	s, err := New(cfg, newDecider(labPolicy()), addresses, slog.New(slog.DiscardHandler))
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
}

func newRelay(b *testing.B, server *namespace) *relay {
	n, r := newNamespace(b), &relay{}
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
		}
		r.discovers = append(r.discovers, message(dhcpv4.MessageTypeDiscover, through))
		r.requests = append(r.requests, message(dhcpv4.MessageTypeRequest, through,
			withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, labAddr(mac).String())))
	}
	return r
}

// lease takes n leases, some at a time. Every answer is checked.
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
		i := int(buf[offsetXID])<<8 | int(buf[offsetXID+1])
		given, want := netip.AddrFrom4([4]byte(buf[offsetYiaddr:])), labAddr(labMAC(i))
		if size < headerLen+3 || given != want || machine.MAC(buf[offsetChaddr:]) != labMAC(i) {
			b.Fatalf("machine %d was given %v, want %v", i, given, want)
		}
		switch dhcpv4.MessageType(buf[headerLen+2]) {
		case dhcpv4.MessageTypeOffer:
			r.send(b, r.requests[i])
		case dhcpv4.MessageTypeAck:
			done++
			begin()
		default:
			b.Fatalf("message %d", buf[headerLen+2])
		}
	}
}

func (r *relay) send(b *testing.B, data []byte) {
	if _, err := r.conn.Write(data); err != nil {
		b.Fatal(err)
	}
}
