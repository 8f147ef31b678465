package dhcp

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// TestServe follows a plain client through RFC 2131's states.
func TestServe(t *testing.T) {
	const server, other = "192.0.2.10", "192.0.2.11"
	broadcasted := func(data []byte) Packet { return broadcast(data) }
	fromLease := func(data []byte) Packet { return unicast(data, "192.0.2.100:68", server+":67") }
	for _, row := range []struct {
		name   string
		offer  bool // a DISCOVER goes before
		lease  bool // and a REQUEST
		data   []byte
		packet func([]byte) Packet
		want   dhcpv4.MessageType // 0: silence
		addr   string
		to     string
		frame  bool
	}{
		{"discover", false, false, message(dhcpv4.MessageTypeDiscover), broadcasted,
			dhcpv4.MessageTypeOffer, "192.0.2.100", "192.0.2.100:68", true},
		{"discover that asks for broadcast", false, false, message(dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), broadcasted,
			dhcpv4.MessageTypeOffer, "192.0.2.100", "255.255.255.255:68", false},
		{"selecting", true, false, message(dhcpv4.MessageTypeRequest, withAddr(optServerID, server), withAddr(optRequestedAddress, "192.0.2.100")), broadcasted,
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", true},
		{"selecting another server", true, false, message(dhcpv4.MessageTypeRequest, withAddr(optServerID, other), withAddr(optRequestedAddress, "192.0.2.100")), broadcasted,
			0, "", "", false},
		{"selecting after a restart", false, false, message(dhcpv4.MessageTypeRequest, withAddr(optServerID, server), withAddr(optRequestedAddress, "192.0.2.100")), broadcasted,
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", true},
		{"selecting what can't be had", false, false, message(dhcpv4.MessageTypeRequest, withAddr(optServerID, server), withAddr(optRequestedAddress, "192.0.2.150")), broadcasted,
			dhcpv4.MessageTypeNak, "0.0.0.0", "255.255.255.255:68", false},
		{"init-reboot", true, true, message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "192.0.2.100")), broadcasted,
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", true},
		{"init-reboot in a foreign network", true, true, message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "203.0.113.5")), broadcasted,
			dhcpv4.MessageTypeNak, "0.0.0.0", "255.255.255.255:68", false},
		{"init-reboot of a stranger", false, false, message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "192.0.2.120")), broadcasted,
			0, "", "", false},
		{"renewing", true, true, message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), fromLease,
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", false},
		{"renewing what is unknown", false, false, message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), fromLease,
			dhcpv4.MessageTypeNak, "0.0.0.0", "255.255.255.255:68", false},
		{"rebinding", true, true, message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), broadcasted,
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", false},
		{"rebinding what is unknown", false, false, message(dhcpv4.MessageTypeRequest, from("192.0.2.100")), broadcasted,
			0, "", "", false},
		{"rebinding to the network's broadcast address", true, true, message(dhcpv4.MessageTypeRequest, from("192.0.2.100")),
			func(data []byte) Packet { return unicast(data, "192.0.2.100:68", "192.0.2.255:67") },
			dhcpv4.MessageTypeAck, "192.0.2.100", "192.0.2.100:68", false},
		{"inform", false, false, message(dhcpv4.MessageTypeInform, from("192.0.2.77")), broadcasted,
			dhcpv4.MessageTypeAck, "0.0.0.0", "192.0.2.77:68", false},
		{"release", true, true, message(dhcpv4.MessageTypeRelease, from("192.0.2.100"), withAddr(optServerID, server)), fromLease,
			0, "", "", false},
		{"decline", true, true, message(dhcpv4.MessageTypeDecline, withAddr(optRequestedAddress, "192.0.2.100"), withAddr(optServerID, server)), broadcasted,
			0, "", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := testServer(t, testConfig(ModeServer), boot.Policy{})
			if row.offer {
				ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover)))
			}
			if row.lease {
				ask(t, s, broadcast(message(dhcpv4.MessageTypeRequest, withAddr(optServerID, server), withAddr(optRequestedAddress, "192.0.2.100"))))
			}
			answer, reply := ask(t, s, row.packet(row.data))
			if answer == nil {
				if row.want != 0 {
					t.Fatalf("silence, want %v", row.want)
				}
				return
			}
			if got := answer.MessageType(); got != row.want {
				t.Fatalf("%v, want %v: %s", got, row.want, answer.Summary())
			}
			if got := answer.YourIPAddr.String(); got != row.addr {
				t.Errorf("address %s, want %s", got, row.addr)
			}
			if reply.To.String() != row.to || reply.Hardware.IsZero() == row.frame {
				t.Errorf("sent to %v, frame to %v; want %s, %v", reply.To, reply.Hardware, row.to, row.frame)
			}
			if got := answer.ServerIdentifier().String(); got != server {
				t.Errorf("server identifier %s", got)
			}
			timed := answer.Options.Has(dhcpv4.OptionIPAddressLeaseTime)
			if want := !answer.YourIPAddr.IsUnspecified(); timed != want {
				t.Errorf("has a lease time: %v, want %v", timed, want)
			}
		})
	}
}

// TestDeclineAndRelease has what has no answer.
func TestDeclineAndRelease(t *testing.T) {
	addresses := newAddresses()
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	if err := s.SetConfig(testConfig(ModeServer), addresses); err != nil {
		t.Fatal(err)
	}
	const mine, other = "192.0.2.10", "192.0.2.11"
	for _, server := range []string{other, mine} {
		ask(t, s, broadcast(message(dhcpv4.MessageTypeDecline, withAddr(optRequestedAddress, "192.0.2.101"), withAddr(optServerID, server))))
		ask(t, s, unicast(message(dhcpv4.MessageTypeRelease, from("192.0.2.102"), withAddr(optServerID, server)), "192.0.2.102:68", mine+":67"))
		if want := server == mine; (len(addresses.declined) == 1) != want || (len(addresses.released) == 1) != want {
			t.Errorf("for server %s: declined %v, released %v", server, addresses.declined, addresses.released)
		}
	}
}

// TestSecondAddress has an interface whose first address is in no subnet of
// ours: machines can't reach it, and must be told the one of their own network.
func TestSecondAddress(t *testing.T) {
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	p := broadcast(message(dhcpv4.MessageTypeDiscover, ipxe(fullIPXE)))
	p.Interface = &Interface{Name: "eth0", Index: 2, MAC: testInterface.MAC, Addrs: []netip.Prefix{
		netip.MustParsePrefix("203.0.113.9/24"), netip.MustParsePrefix("192.0.2.10/24")}}
	answer, reply := ask(t, s, p)
	if answer == nil {
		t.Fatal("silence")
	}
	const want = "192.0.2.10"
	if got := answer.ServerIdentifier().String(); got != want || answer.ServerIPAddr.String() != want {
		t.Errorf("server identifier %s, next server %v; want %s", got, answer.ServerIPAddr, want)
	}
	if got := answer.BootFileName; got != "http://"+want+"/boot.ipxe" {
		t.Errorf("file %s", got)
	}
	if got := reply.From.String(); got != want+":67" {
		t.Errorf("sent from %s", got)
	}
}

// twoSubnets is an interface with an address in each of two subnets, the usual
// one first.
var twoSubnets = &Interface{Name: "eth0", Index: 2, MAC: testInterface.MAC, Addrs: []netip.Prefix{
	netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("198.51.100.10/24")}}

// TestTwoSubnetsOnAWire has machines that belong to the interface's first subnet,
// and those that have to do with its second.
func TestTwoSubnetsOnAWire(t *testing.T) {
	const first, second = "192.0.2.10", "198.51.100.10"
	discover, request := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest
	for _, row := range []struct {
		name    string
		policy  boot.Policy
		prepare func(a *fakeAddresses)
		packet  Packet
		yiaddr  string // "0.0.0.0" for a NAK
		server  string
	}{
		{name: "a new machine", packet: broadcast(message(discover, ipxe(fullIPXE))), yiaddr: "192.0.2.100", server: first},
		{name: "host fixed in the second", policy: fixedHost("198.51.100.50"),
			packet: broadcast(message(discover, ipxe(fullIPXE))), yiaddr: "198.51.100.50", server: second},
		{name: "host fixed in the second since its lease", policy: fixedHost("198.51.100.50"), prepare: leases("192.0.2.100"),
			packet: broadcast(message(request, withAddr(optRequestedAddress, "192.0.2.100"))), yiaddr: "0.0.0.0", server: second},
		{name: "it takes an offer from the first, because its host's address was taken", policy: fixedHost("198.51.100.50"), prepare: leases("192.0.2.100"),
			packet: broadcast(message(request, withAddr(optServerID, first), withAddr(optRequestedAddress, "192.0.2.100"))),
			yiaddr: "192.0.2.100", server: first},
		{name: "host fixed elsewhere", policy: fixedHost("203.0.113.50"),
			packet: broadcast(message(discover)), yiaddr: "192.0.2.100", server: first},
		{name: "INIT-REBOOT from the second", prepare: leases("198.51.100.100"),
			packet: broadcast(message(request, withAddr(optRequestedAddress, "198.51.100.100"))), yiaddr: "198.51.100.100", server: second},
		{name: "rebinding from the second", prepare: leases("198.51.100.100"),
			packet: broadcast(message(request, from("198.51.100.100"))), yiaddr: "198.51.100.100", server: second},
		{name: "it has moved here", packet: broadcast(message(request, withAddr(optRequestedAddress, "203.0.113.7"))),
			yiaddr: "0.0.0.0", server: first},
		{name: "a subnet of hosts only comes first", prepare: func(a *fakeAddresses) { a.subnets[0].Ranges = nil },
			packet: broadcast(message(discover, withAddr(optRequestedAddress, "192.0.2.100"))), yiaddr: "198.51.100.100", server: second},
		{name: "the first is full", prepare: func(a *fakeAddresses) { a.subnets[0].Ranges[0].Last = must("192.0.2.99") },
			packet: broadcast(message(discover, ipxe(fullIPXE))), yiaddr: "198.51.100.100", server: second},
	} {
		t.Run(row.name, func(t *testing.T) {
			addresses := newAddresses()
			if row.prepare != nil {
				row.prepare(addresses)
			}
			s := testServer(t, testConfig(ModeServer), row.policy)
			if err := s.SetConfig(testConfig(ModeServer), addresses); err != nil {
				t.Fatal(err)
			}
			row.packet.Interface = twoSubnets
			answer, reply := ask(t, s, row.packet)
			if answer == nil {
				t.Fatal("silence")
			}
			if got := answer.YourIPAddr.String(); got != row.yiaddr {
				t.Errorf("address %s, want %s", got, row.yiaddr)
			}
			if got := answer.ServerIdentifier().String(); got != row.server || reply.From.Addr() != must(row.server) {
				t.Errorf("server identifier %s, sent from %v, want %s", got, reply.From, row.server)
			}
			if file := answer.BootFileName; file != "" && file != "http://"+row.server+"/boot.ipxe" {
				t.Errorf("file %s", file)
			}
		})
	}
}

func leases(addr string) func(*fakeAddresses) {
	return func(a *fakeAddresses) { a.owner[must(addr)] = testMAC }
}

// fixedHost gives the test's machine an address by configuration.
func fixedHost(addr string) boot.Policy {
	return boot.Policy{Hosts: []boot.Host{{Name: "pc", MACs: []machine.MAC{testMAC}, Addr: must(addr)}}}
}

// awaitingEcho has an offer to every machine on its way.
type awaitingEcho struct{ *fakeAddresses }

func (awaitingEcho) Confirm(context.Context, *lease.Subnet, machine.MAC, netip.Addr, netip.Addr) (lease.Lease, error) {
	return lease.Lease{}, lease.ErrInProgress
}

// TestRequestBeforeItsAnswer has a machine repeat its REQUEST while the first is
// in work: no NAK, and no failure of ours.
func TestRequestBeforeItsAnswer(t *testing.T) {
	var results []string
	cfg := testConfig(ModeServer)
	cfg.Observe = func(message, result string) { results = append(results, message+" "+result) }
	s := testServer(t, cfg, boot.Policy{})
	if err := s.SetConfig(cfg, awaitingEcho{newAddresses()}); err != nil {
		t.Fatal(err)
	}
	if answer, _ := ask(t, s, broadcast(message(dhcpv4.MessageTypeRequest, withAddr(optRequestedAddress, "192.0.2.100")))); answer != nil {
		t.Errorf("answered with %v", answer)
	}
	if want := []string{"REQUEST " + outcomeIgnored}; !slices.Equal(results, want) {
		t.Errorf("observed %q, want %q", results, want)
	}
}
