package dhcp

import (
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
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
