package dhcp

import (
	"context"
	"errors"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
)

// locate finds the subnet of the link; without one, that of the interface's
// subnets which has most to do with the machine. The server's address in it is
// the one that the machine reaches: without a router it can't get to the others.
func (x *exchange) locate(link netip.Addr) {
	if x.Mode != ModeServer {
		return
	}
	if link.IsValid() {
		x.subnet = x.addresses.Subnet(link)
		return
	}
	var fixed netip.Addr
	if len(x.packet.Interface.Addrs) > 1 {
		if host := x.decider.Host(x.asker.machine); host != nil {
			fixed = host.Addr
		}
	}
	best := notHere
	for _, p := range x.packet.Interface.Addrs {
		subnet := x.addresses.Subnet(p.Addr())
		if tie := x.tieTo(subnet, fixed); tie > best {
			best, x.subnet, x.reach = tie, subnet, p.Addr()
		}
	}
}

// tie is what a machine has to do with a subnet, the strongest last.
type tie int

const (
	notHere   tie = iota // no subnet of ours
	onWire               // all of its addresses are hosts'
	withRange            // it has addresses for everybody
	asked                // the machine asks for an address of it
	held                 // the machine has an address of it
	hosts                // its host has a fixed address in it
	taken                // it takes an offer of an address of it
)

func (x *exchange) tieTo(subnet *lease.Subnet, fixed netip.Addr) tie {
	if subnet == nil {
		return notHere
	}
	asks := subnet.Network.Contains(x.req.wanted)
	switch {
	case asks && x.req.message == dhcpv4.MessageTypeRequest && x.req.server.IsValid():
		return taken
	case subnet.Network.Contains(fixed):
		return hosts
	case subnet.Network.Contains(x.req.ciaddr):
		return held
	case asks && (x.req.message != dhcpv4.MessageTypeDiscover || len(subnet.Ranges) > 0):
		return asked
	case len(subnet.Ranges) == 0:
		return onWire
	}
	return withRange
}

// offer reserves an address of the machine's subnet, or, if that has none left,
// of another one on the same wire. Name is the host's, for option 12.
func (x *exchange) offer(ctx context.Context) (granted lease.Lease, name string, err error) {
	full := x.subnet
	granted, name, err = x.offerHere(ctx)
	if x.req.link().IsValid() {
		return granted, name, err
	}
	for _, p := range x.packet.Interface.Addrs {
		if !errors.Is(err, lease.ErrNoAddress) {
			break
		}
		subnet := x.addresses.Subnet(p.Addr())
		if subnet == nil || subnet == full {
			continue
		}
		x.subnet, x.asker.machine.Addr = subnet, p.Addr()
		x.tell(p.Addr())
		granted, name, err = x.offerHere(ctx)
	}
	return granted, name, err
}

func (x *exchange) offerHere(ctx context.Context) (granted lease.Lease, name string, err error) {
	fixed, name := x.fixed()
	granted, err = x.addresses.Offer(ctx, x.subnet, x.req.mac, fixed, x.req.wanted)
	return granted, name, err
}
