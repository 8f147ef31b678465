package dhcp

import (
	"bytes"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
)

// TestLink has everything that tells where a machine sits (FIELD-NOTES 11).
func TestLink(t *testing.T) {
	through := func(giaddr ...byte) dhcpv4.Modifier {
		return func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = giaddr }
	}
	selection := withAddr(optSubnetSelection, "198.51.100.0")
	link := with(optRelayAgent, agentLinkSelection, 4, 198, 51, 100, 0)
	for name, row := range map[string]struct {
		change []dhcpv4.Modifier
		addr   string
	}{
		"nothing: the interface":           {nil, "192.0.2.100"},
		"giaddr":                           {[]dhcpv4.Modifier{through(198, 51, 100, 1)}, "198.51.100.100"},
		"option 118":                       {[]dhcpv4.Modifier{selection}, "198.51.100.100"},
		"option 118 before giaddr":         {[]dhcpv4.Modifier{selection, through(192, 0, 2, 1)}, "198.51.100.100"},
		"82.5 before giaddr":               {[]dhcpv4.Modifier{link, through(192, 0, 2, 1)}, "198.51.100.100"},
		"82.5 before option 118":           {[]dhcpv4.Modifier{link, withAddr(optSubnetSelection, "192.0.2.0")}, "198.51.100.100"},
		"82.5 that is cut short":           {[]dhcpv4.Modifier{with(optRelayAgent, agentLinkSelection, 4, 198, 51)}, "192.0.2.100"},
		"82.5 of a wrong length":           {[]dhcpv4.Modifier{with(optRelayAgent, agentLinkSelection, 3, 198, 51, 100)}, "192.0.2.100"},
		"a network that nobody configured": {[]dhcpv4.Modifier{through(203, 0, 113, 1)}, ""},
	} {
		s := testServer(t, testConfig(ModeServer), boot.Policy{})
		data := message(dhcpv4.MessageTypeDiscover, row.change...)
		answer, _ := ask(t, s, broadcast(data))
		if answer == nil {
			if row.addr != "" {
				t.Errorf("%s: silence", name)
			}
			continue
		}
		if got := answer.YourIPAddr.String(); got != row.addr {
			t.Errorf("%s: %s, want %s", name, got, row.addr)
		}
		request, _ := dhcpv4.FromBytes(data)
		for _, code := range []uint8{optRelayAgent, optSubnetSelection} {
			if !bytes.Equal(answer.Options[code], request.Options[code]) {
				t.Errorf("%s: option %d: %x came back as %x", name, code, request.Options[code], answer.Options[code])
			}
		}
	}
}

// TestServerIDOverride follows a client that a relay told to talk to the relay
// only (RFC 5107).
func TestServerIDOverride(t *testing.T) {
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	relay := func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = []byte{198, 51, 100, 1}
		with(optRelayAgent, agentServerIDOverride, 4, 198, 51, 100, 1)(p)
	}
	relayed := func(data []byte) Packet { return unicast(data, "198.51.100.1:67", "192.0.2.10:67") }
	for _, step := range []struct {
		name   string
		data   []byte
		packet func([]byte) Packet
		want   dhcpv4.MessageType
	}{
		{"discover", message(dhcpv4.MessageTypeDiscover, relay), relayed, dhcpv4.MessageTypeOffer},
		{"request", message(dhcpv4.MessageTypeRequest, relay, withAddr(optServerID, "198.51.100.1"), withAddr(optRequestedAddress, "198.51.100.100")), relayed, dhcpv4.MessageTypeAck},
		{"renewal through the relay", message(dhcpv4.MessageTypeRequest, relay, from("198.51.100.100")), relayed, dhcpv4.MessageTypeAck},
		{"release", message(dhcpv4.MessageTypeRelease, relay, from("198.51.100.100"), withAddr(optServerID, "198.51.100.1")), relayed, 0},
	} {
		answer, reply := ask(t, s, step.packet(step.data))
		if answer == nil {
			if step.want != 0 {
				t.Fatalf("%s: silence", step.name)
			}
			continue
		}
		if answer.MessageType() != step.want || answer.ServerIdentifier().String() != "198.51.100.1" || reply.To.String() != "198.51.100.1:67" {
			t.Errorf("%s: to %v: %s", step.name, reply.To, answer.Summary())
		}
	}
}

// TestRenewalPastTheRelay has a machine of another subnet renew directly: only
// its own address tells where it is.
func TestRenewalPastTheRelay(t *testing.T) {
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	ask(t, s, unicast(message(dhcpv4.MessageTypeDiscover, relayed), "198.51.100.1:67", "192.0.2.10:67"))
	answer, reply := ask(t, s, unicast(message(dhcpv4.MessageTypeRequest, from("198.51.100.100")), "198.51.100.100:68", "192.0.2.10:67"))
	if answer == nil || answer.MessageType() != dhcpv4.MessageTypeAck || reply.To.String() != "198.51.100.100:68" ||
		answer.Router()[0].String() != "198.51.100.1" {
		t.Errorf("to %v: %v", reply.To, answer)
	}
}

// TestSize fills a reply until it holds no more: what a machine can't do without
// stays, option 82 is whole, and the rest goes.
func TestSize(t *testing.T) {
	s := testServer(t, testConfig(ModeServer), boot.Policy{})
	agent := append([]byte{1, 98}, bytes.Repeat([]byte{'x'}, 98)...)
	client := bytes.Repeat([]byte{7}, 63)
	for _, row := range []struct {
		name   string
		change []dhcpv4.Modifier
		most   int
		domain bool
	}{
		{"576 bytes of IP", nil, minSize, true},
		{"the same, filled up", []dhcpv4.Modifier{with(optClientID, client...), with(optRelayAgent, agent...)}, minSize, false},
		{"an Ethernet frame", []dhcpv4.Modifier{with(optClientID, client...), with(optRelayAgent, agent...), with(optMaxSize, 5, 0xdc)}, 1472, true},
		{"a lie", []dhcpv4.Modifier{with(optMaxSize, 0, 1)}, minSize, true},
		{"another", []dhcpv4.Modifier{with(optMaxSize, 0xff, 0xff)}, 1472, true},
		{"nonsense", []dhcpv4.Modifier{with(optMaxSize, 0xff)}, minSize, true},
	} {
		answer, reply := ask(t, s, broadcast(message(dhcpv4.MessageTypeDiscover, append([]dhcpv4.Modifier{biosROM, with(optMaxSize)}, row.change...)...)))
		if len(reply.Data) > row.most {
			t.Errorf("%s: %d bytes", row.name, len(reply.Data))
		}
		if answer.BootFileName == "" || answer.SubnetMask() == nil || (answer.DomainName() != "") != row.domain {
			t.Errorf("%s:\n%s", row.name, answer.Summary())
		}
	}
}
