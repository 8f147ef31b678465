package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// labPolicy has 1,000 hosts with addresses, and 20 groups behind them.
func labPolicy() boot.Policy {
	var policy boot.Policy
	for i := range 1000 {
		mac := labMAC(i)
		policy.Hosts = append(policy.Hosts, boot.Host{
			Name: fmt.Sprintf("lab-%03d", i), MACs: []machine.MAC{mac}, Addr: labAddr(mac),
			Settings: boot.Settings{Args: []string{"console=ttyS0"}},
		})
	}
	for i := range 20 {
		pattern, err := machine.ParseMACPattern(fmt.Sprintf("02:%02x:*", i))
		if err != nil {
			panic(err)
		}
		policy.Groups = append(policy.Groups, boot.Group{Name: fmt.Sprintf("group %d", i), Match: boot.Match{MAC: &pattern}})
	}
	return policy
}

func labMAC(i int) machine.MAC { return machine.MAC{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)} }

func labAddr(mac machine.MAC) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, mac[4] + 1, mac[5]}) }

// labAddresses gives every host its own address at once.
type labAddresses struct{ subnet lease.Subnet }

func (a *labAddresses) Subnet(netip.Addr) *lease.Subnet { return &a.subnet }

func (a *labAddresses) Offer(_ context.Context, s *lease.Subnet, mac machine.MAC, fixed, _ netip.Addr) (lease.Lease, error) {
	return lease.Lease{MAC: mac, Addr: fixed, Subnet: s}, nil
}

func (a *labAddresses) Confirm(_ context.Context, s *lease.Subnet, mac machine.MAC, _, addr netip.Addr) (lease.Lease, error) {
	return lease.Lease{MAC: mac, Addr: addr, Subnet: s}, nil
}

func (a *labAddresses) Decline(machine.MAC, netip.Addr) {}
func (a *labAddresses) Release(machine.MAC, netip.Addr) {}

// benchmark answers one packet of a client, from all hosts in turn: parsing,
// the decision among 1,000 hosts, the reply.
func benchmark(b *testing.B, message func(machine.MAC) []byte) {
	addresses := &labAddresses{subnet: newAddresses().subnets[0]}
	addresses.subnet.Network = netip.MustParsePrefix("10.0.0.0/16")
	s, err := New(testConfig(ModeServer), newDecider(labPolicy()), addresses, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	packets := make([]Packet, 1000)
	for i := range packets {
		packets[i] = broadcast(message(labMAC(i)))
	}
	b.ReportAllocs()
	mem := new(scratch)
	for i := 0; b.Loop(); i++ {
		if _, ok := s.handle(b.Context(), packets[i%len(packets)], mem); !ok {
			b.Fatal("silence")
		}
	}
}

// clients are those whose packets are measured.
var clients = map[string]dhcpv4.Modifier{
	"plain":   func(*dhcpv4.DHCPv4) {},
	"biosROM": biosROM,
	"edk2":    edk2,
	"ipxe":    ipxe(fullIPXE),
}

func BenchmarkHandleDiscover(b *testing.B) {
	for name, client := range clients {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(mac machine.MAC) []byte {
				return message(dhcpv4.MessageTypeDiscover, client, dhcpv4.WithHwAddr(mac[:]))
			})
		})
	}
}

func BenchmarkHandleRequest(b *testing.B) {
	for name, client := range clients {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(mac machine.MAC) []byte {
				return message(dhcpv4.MessageTypeRequest, client, dhcpv4.WithHwAddr(mac[:]),
					withAddr(optServerID, "192.0.2.10"), withAddr(optRequestedAddress, labAddr(mac).String()))
			})
		})
	}
}
