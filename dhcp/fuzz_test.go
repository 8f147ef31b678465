package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
)

// FuzzHandle throws packets at the server, in each mode and at both ports. No
// packet may make it panic, and every reply must be one that its machine can
// use: sane, addressed back, with a whole file name and an address that is ours.
func FuzzHandle(f *testing.F) {
	for _, client := range []dhcpv4.Modifier{edk2, biosROM, ipxe(fullIPXE), ipxe(romIPXE), relayed, func(*dhcpv4.DHCPv4) {}} {
		for m := dhcpv4.MessageTypeDiscover; m <= dhcpv4.MessageTypeInform; m++ {
			f.Add(message(m, client), uint8(m))
			f.Add(message(m, client, withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, "192.0.2.100")), uint8(m)+8)
			f.Add(message(m, client, from("192.0.2.100"), with(optRelayAgent, 5, 4, 192, 0, 2, 1, 11, 4, 192, 0, 2, 20)), uint8(m)+16)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		cfg := testConfig(ModeServer)
		if how&1 != 0 {
			cfg.Mode = ModeProxy
		}
		s, _, log := loggedServer(t, cfg, boot.Policy{})
		p := broadcast(data)
		if how&2 != 0 {
			p = unicast(data, "192.0.2.100:68", "192.0.2.10:67")
		}
		if how&4 != 0 {
			p.Local = netip.AddrPortFrom(p.Local.Addr(), defaultProxyPort)
		}
		reply, ok := s.Handle(t.Context(), p)
		if strings.Contains(log.String(), "level=ERROR") {
			t.Fatalf("%s", log)
		}
		if ok {
			checkReply(t, data, reply, cfg.Mode)
		}
		checkLeavesNoTrace(t, cfg, p, reply)
	})
}

// checkLeavesNoTrace compares the reply with one that is made in memory where
// another machine's packet was answered before.
func checkLeavesNoTrace(t *testing.T, cfg Config, p Packet, want Reply) {
	mem := new(scratch)
	before := message(dhcpv4.MessageTypeDiscover, edk2, dhcpv4.WithHwAddr(net.HardwareAddr{2, 1, 2, 3, 4, 5}),
		dhcpv4.WithBroadcast(true), withAddr(optRequestedAddress, "192.0.2.101"), with(optRelayAgent, 1, 2, 9, 9))
	if _, ok := testServer(t, cfg, boot.Policy{}).handle(t.Context(), broadcast(before), mem); !ok {
		t.Fatal("the packet before is not answered")
	}
	if got, _ := testServer(t, cfg, boot.Policy{}).handle(t.Context(), p, mem); !reflect.DeepEqual(got, want) {
		t.Errorf("in used memory the reply is\n%x, want\n%x", got.Data, want.Data)
	}
}

func checkReply(t *testing.T, data []byte, reply Reply, mode Mode) {
	answer, err := dhcpv4.FromBytes(reply.Data)
	if err != nil {
		t.Fatalf("the reply can't be read: %v", err)
	}
	// The library insists on the end mark.
	request, err := dhcpv4.FromBytes(append(bytes.Clone(data), optEnd))
	if err != nil {
		t.Fatalf("an answer to what the library can't read: %v", err)
	}
	if answer.OpCode != dhcpv4.OpcodeBootReply || answer.TransactionID != request.TransactionID ||
		!bytes.Equal(answer.ClientHWAddr, request.ClientHWAddr) || !answer.GatewayIPAddr.Equal(request.GatewayIPAddr) {
		t.Errorf("the header isn't the request's:\n%s", answer.Summary())
	}
	if len(answer.BootFileName) > MaxBootFile || answer.BootFileName != answer.BootFileNameOption() {
		t.Errorf("file %q, option 67 %q", answer.BootFileName, answer.BootFileNameOption())
	}
	if !bytes.Equal(answer.Options[optRelayAgent], request.Options[optRelayAgent]) {
		t.Errorf("option 82 was %x, is %x", request.Options[optRelayAgent], answer.Options[optRelayAgent])
	}
	given := netip.AddrFrom4([4]byte(answer.YourIPAddr.To4()))
	switch {
	case given.IsUnspecified():
	case mode != ModeServer:
		t.Errorf("a proxy gave the address %v", given)
	case !inPool(given):
		t.Errorf("%v is in no range", given)
	}
	if !reply.To.IsValid() || !reply.From.IsValid() || reply.To.Port() == 0 {
		t.Errorf("from %v to %v", reply.From, reply.To)
	}
}

func inPool(a netip.Addr) bool {
	for _, s := range newAddresses().subnets {
		if s.Ranges[0].Contains(a) {
			return true
		}
	}
	return false
}
