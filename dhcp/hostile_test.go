package dhcp

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// TestHostile has packets that must change nothing.
func TestHostile(t *testing.T) {
	good := message(dhcpv4.MessageTypeDiscover, biosROM)
	at := func(offset int, value ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[offset:], value)
		return b
	}
	for name, data := range map[string][]byte{
		"nothing":             {},
		"one byte":            {1},
		"half a header":       good[:120],
		"no options":          good[:headerLen],
		"half its options":    good[:headerLen+20],
		"too long":            append(bytes.Clone(good), make([]byte, maxPacket)...),
		"wrong cookie":        at(offsetCookie, 1, 2, 3, 4),
		"a reply":             at(0, 2),
		"op 0":                at(0, 0),
		"hlen 0":              at(2, 0),
		"hlen 16":             at(2, 16),
		"hlen 255":            at(2, 255),
		"zero MAC":            at(offsetChaddr, 0, 0, 0, 0, 0, 0),
		"broadcast MAC":       at(offsetChaddr, 255, 255, 255, 255, 255, 255),
		"multicast MAC":       at(offsetChaddr, 1, 0, 0x5e, 0, 0, 1),
		"loopback ciaddr":     at(offsetCiaddr, 127, 0, 0, 1),
		"broadcast ciaddr":    at(offsetCiaddr, 255, 255, 255, 255),
		"multicast ciaddr":    at(offsetCiaddr, 224, 0, 0, 1),
		"giaddr is ours":      at(offsetGiaddr, 192, 0, 2, 10),
		"loopback giaddr":     at(offsetGiaddr, 127, 0, 0, 1),
		"multicast giaddr":    at(offsetGiaddr, 239, 1, 2, 3),
		"broadcast giaddr":    at(offsetGiaddr, 255, 255, 255, 255),
		"giaddr in 0/8":       at(offsetGiaddr, 0, 1, 2, 3),
		"BOOTP":               message(dhcpv4.MessageTypeDiscover, dhcpv4.WithoutOption(dhcpv4.OptionDHCPMessageType)),
		"unknown message":     message(dhcpv4.MessageType(99), biosROM),
		"an offer as request": message(dhcpv4.MessageTypeOffer, biosROM),
		"REQUEST of nothing":  message(dhcpv4.MessageTypeRequest, biosROM),
	} {
		for _, mode := range []Mode{ModeServer, ModeProxy, ModeOff} {
			s := testServer(t, testConfig(mode), boot.Policy{})
			if reply, ok := s.Handle(t.Context(), broadcast(data)); ok {
				t.Errorf("%s, mode %s: answered with %x", name, mode, reply.Data)
			}
		}
	}
}

// TestNoLogFlood sends garbage, and then more machines than a lab has.
func TestNoLogFlood(t *testing.T) {
	s, clock, log := loggedServer(t, testConfig(ModeProxy), boot.Policy{})
	for range 1000 {
		s.Handle(t.Context(), broadcast([]byte("\x01garbage")))
	}
	if n := strings.Count(log.String(), "\n"); n != alarmBurst {
		t.Errorf("%d lines for 1000 packets of garbage, want %d", n, alarmBurst)
	}
	clock.t = clock.t.Add(time.Minute)
	s.Handle(t.Context(), broadcast([]byte("\x01garbage")))
	if !strings.Contains(log.String(), "lines=995") {
		t.Errorf("the log doesn't say how many lines it left out:\n%s", log)
	}
	before := strings.Count(log.String(), "\n")
	for i := range 2 * stepBurst {
		s.Handle(t.Context(), broadcast(message(dhcpv4.MessageTypeDiscover, biosROM, dhcpv4.WithHwAddr([]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}))))
	}
	if n := strings.Count(log.String(), "\n") - before; n > stepBurst {
		t.Errorf("%d lines for %d strangers", n, 2*stepBurst)
	}
	for i := range 4 * unansweredOffers * stuckBurst {
		mac := i / unansweredOffers
		s.Handle(t.Context(), broadcast(message(dhcpv4.MessageTypeDiscover, biosROM, dhcpv4.WithHwAddr([]byte{6, 0, 0, 0, byte(mac >> 8), byte(mac)}))))
	}
	if n := strings.Count(log.String(), "outcome=stuck"); n != stuckBurst {
		t.Errorf("%d lines for %d strangers that seem stuck, want %d", n, 4*stuckBurst, stuckBurst)
	}
}

// TestPanic has a bug somewhere below: the packet is lost, the server is not.
func TestPanic(t *testing.T) {
	s, _, log := loggedServer(t, testConfig(ModeServer), boot.Policy{})
	var outcomes []string
	cfg := testConfig(ModeServer)
	cfg.Observe = func(_, result string) { outcomes = append(outcomes, result) }
	if err := s.SetConfig(cfg, panicking{newAddresses()}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Handle(t.Context(), broadcast(message(dhcpv4.MessageTypeDiscover))); ok {
		t.Error("answered")
	}
	if len(outcomes) != 1 || outcomes[0] != outcomeFailed || !strings.Contains(log.String(), "please report") {
		t.Errorf("%v\n%s", outcomes, log)
	}
}

type panicking struct{ Addresses }

func (panicking) Decline(machine.MAC, netip.Addr) { panic("bug") }

func (panicking) Subnet(netip.Addr) *lease.Subnet { panic("bug") }

// TestOverload holds every slot: the next packet is dropped, and later ones are
// not.
func TestOverload(t *testing.T) {
	work := newWorkers(2)
	ctx, release := context.WithCancel(t.Context())
	for i := range 3 {
		if got, want := work.try(func() { <-ctx.Done() }), i < 2; got != want {
			t.Errorf("packet %d: started %v", i, got)
		}
	}
	release()
	for len(work.slots) > 0 {
		time.Sleep(time.Millisecond)
	}
	if !work.try(func() {}) {
		t.Error("nothing is started once the slots are free")
	}
	work.wait()
}

// TestWorkersAreUsedAgain has more work at a time than goroutines are kept for,
// again and again. Nothing may be left undone, and wait leaves nobody behind.
func TestWorkersAreUsedAgain(t *testing.T) {
	const rounds, many = 20, 3 * mostIdle
	work := newWorkers(many)
	var done atomic.Int32
	for round := range rounds {
		hold := make(chan struct{})
		for range many {
			if !work.try(func() { <-hold; done.Add(1) }) {
				t.Fatal("there was room for all")
			}
		}
		for begun := time.Now(); round > 0 && work.idle.Load() == mostIdle; time.Sleep(time.Millisecond) {
			if time.Since(begun) > 10*time.Second {
				t.Fatal("all stay idle, though there is work for more")
			}
		}
		close(hold)
		for work.idle.Load() != mostIdle || len(work.slots) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	work.wait()
	if n := done.Load(); n != rounds*many {
		t.Errorf("%d of %d pieces of work were done", n, rounds*many)
	}
	if n := work.idle.Load(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestObserve names each packet and what became of it.
func TestObserve(t *testing.T) {
	cfg := testConfig(ModeServer)
	var got [][2]string
	cfg.Observe = func(message, result string) { got = append(got, [2]string{message, result}) }
	s := testServer(t, cfg, boot.Policy{})
	ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover)))
	ask(t, s, broadcast(message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "10.0.0.1"))))
	ask(t, s, broadcast(message(dhcpv4.MessageType(99))))
	ask(t, s, broadcast([]byte{1, 2, 3}))
	want := [][2]string{{"DISCOVER", "offer"}, {"REQUEST", "nak"}, {"other", "ignored"}, {"other", "malformed"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFrame checks the sums of a frame by adding everything up, RFC 1071.
func TestFrame(t *testing.T) {
	for _, payload := range [][]byte{nil, {1}, {1, 2}, bytes.Repeat([]byte{0xff}, 301)} {
		b := frame(machine.MAC{2, 0, 0, 0, 0, 1}, testMAC, netip.MustParseAddrPort("192.0.2.10:67"), netip.MustParseAddrPort("192.0.2.100:68"), payload)
		ip := b[ethernetHeader:]
		udp := ip[ipv4Header:]
		pseudo := append(bytes.Clone(ip[12:20]), 0, protocolUDP, byte(len(udp)>>8), byte(len(udp)))
		if sum(0, ip[:ipv4Header]) != 0xffff || sum(sum(0, pseudo), udp) != 0xffff || !bytes.Equal(udp[udpHeader:], payload) {
			t.Errorf("%d bytes: % x", len(payload), b)
		}
	}
}

// TestNoEnd takes a packet for good that only lacks its end mark.
func TestNoEnd(t *testing.T) {
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	data := bytes.TrimRight(message(dhcpv4.MessageTypeDiscover, biosROM), "\x00\xff")
	if answer, _ := ask(t, s, broadcast(data)); answer == nil || answer.BootFileName == "" {
		t.Errorf("%v", answer)
	}
}
