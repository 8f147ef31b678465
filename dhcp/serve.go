package dhcp

import (
	"context"
	"errors"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
)

// serve answers in mode server: RFC 2131 section 4.3.
func (x *exchange) serve(ctx context.Context) verdict {
	switch x.req.message {
	case dhcpv4.MessageTypeDecline:
		return x.decline()
	case dhcpv4.MessageTypeRelease:
		return x.release()
	}
	if x.subnet == nil {
		return silent("no [[dhcp.subnet]] holds the network that it asks from; add one with the network of " + x.asker.machine.Addr.String())
	}
	switch x.req.message {
	case dhcpv4.MessageTypeDiscover:
		return x.discover(ctx)
	case dhcpv4.MessageTypeRequest:
		return x.request(ctx)
	case dhcpv4.MessageTypeInform:
		return x.inform()
	}
	return ignored("not a client's message")
}

// fixed is the address that the configuration gives the machine's host, if it
// is in this subnet: a laptop that visits another subnet gets one from there.
func (x *exchange) fixed() (addr netip.Addr, name string) {
	host := x.decider.Host(x.asker.machine)
	if host == nil {
		return netip.Addr{}, ""
	}
	if x.subnet.Network.Contains(host.Addr) {
		addr = host.Addr
	}
	return addr, hostName(host)
}

// hostName is the host's name if it can be one on the network (RFC 1123).
func hostName(host *boot.Host) string {
	for i := range len(host.Name) {
		c := host.Name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && (c != '-' || i == 0 || i == len(host.Name)-1) {
			return ""
		}
	}
	if len(host.Name) > 63 {
		return ""
	}
	return host.Name
}

// discover answers a DISCOVER: RFC 2131 section 4.3.1.
func (x *exchange) discover(ctx context.Context) verdict {
	granted, name, err := x.offer(ctx)
	switch {
	case errors.Is(err, lease.ErrInProgress):
		return ignored(err.Error())
	case err != nil:
		return verdict{outcome: outcomeFailed, reason: err.Error()}
	}
	return x.grant(dhcpv4.MessageTypeOffer, outcomeOffer, &granted, name)
}

// grant answers with an address, the plain options, and a boot file for those
// that ask for one.
func (x *exchange) grant(message dhcpv4.MessageType, outcome string, granted *lease.Lease, name string) verdict {
	a := x.newAnswer(message)
	a.lease, a.host, a.file = granted, name, x.bootFile()
	return verdict{outcome: outcome, reason: x.start.Reason, answer: a}
}

// clientState is the state that a REQUEST comes from: RFC 2131 section 4.3.2.
type clientState int

const (
	selecting clientState = iota
	initReboot
	renewing
	rebinding
)

// state tells the states apart by what is filled in, as RFC 2131's table 4 does.
func (x *exchange) state() clientState {
	switch {
	case x.req.ciaddr.IsValid() && (x.req.relay.IsValid() || x.packet.Interface.isBroadcast(x.packet.Local.Addr())):
		return rebinding
	case x.req.ciaddr.IsValid():
		return renewing
	case x.req.server.IsValid():
		return selecting
	}
	return initReboot
}

// request answers a REQUEST.
func (x *exchange) request(ctx context.Context) verdict {
	state, addr := x.state(), x.req.ciaddr
	if !addr.IsValid() {
		addr = x.req.wanted
	}
	switch {
	case x.req.server.IsValid() && !x.isOurs(x.req.server):
		return ignored("it chose another DHCP server")
	case !addr.IsValid():
		return ignored("a REQUEST without an address")
	case !x.subnet.Network.Contains(addr):
		return x.refuse(addr.String() + " is not in this network, " + x.subnet.Network.String())
	}
	fixed, name := x.fixed()
	granted, err := x.addresses.Confirm(ctx, x.subnet, x.req.mac, fixed, addr)
	if state == selecting && errors.Is(err, lease.ErrUnknown) {
		granted, err = x.confirmLate(ctx, fixed, addr)
	}
	switch {
	case errors.Is(err, lease.ErrUnknown) && (state == initReboot || state == rebinding):
		// Another server may know it.
		return silent("no lease is known for it here")
	case errors.Is(err, lease.ErrUnknown), errors.Is(err, lease.ErrNotYours):
		return x.refuse(err.Error())
	case errors.Is(err, lease.ErrInProgress):
		return ignored(err.Error())
	case err != nil:
		return verdict{outcome: outcomeFailed, reason: err.Error()}
	}
	return x.grant(dhcpv4.MessageTypeAck, outcomeAck, &granted, name)
}

// confirmLate grants an address whose offer was forgotten: the server was
// restarted in between, or the machine took its time.
func (x *exchange) confirmLate(ctx context.Context, fixed, addr netip.Addr) (lease.Lease, error) {
	offered, err := x.addresses.Offer(ctx, x.subnet, x.req.mac, fixed, addr)
	switch {
	case err != nil:
		return lease.Lease{}, err
	case offered.Addr != addr:
		return lease.Lease{}, lease.ErrNotYours
	}
	return x.addresses.Confirm(ctx, x.subnet, x.req.mac, fixed, addr)
}

// refuse sends the client back to DISCOVER.
func (x *exchange) refuse(why string) verdict {
	a := x.newAnswer(dhcpv4.MessageTypeNak)
	a.subnet, a.text = nil, why[:min(len(why), 255)]
	return verdict{outcome: outcomeNak, reason: why, answer: a}
}

// inform answers a machine that has an address and wants the rest: no lease, no
// yiaddr (RFC 2131 section 4.3.5).
func (x *exchange) inform() verdict {
	a := x.newAnswer(dhcpv4.MessageTypeAck)
	_, a.host = x.fixed()
	a.file = x.bootFile()
	return verdict{outcome: outcomeAck, reason: x.start.Reason, answer: a}
}

func (x *exchange) decline() verdict {
	if !x.isOurs(x.req.server) || !x.req.wanted.IsValid() {
		return ignored("it declines another server's offer")
	}
	x.addresses.Decline(x.req.mac, x.req.wanted)
	return verdict{outcome: outcomeDone, reason: "it found " + x.req.wanted.String() + " in use; the address is set aside"}
}

func (x *exchange) release() verdict {
	if x.req.server.IsValid() && !x.isOurs(x.req.server) || !x.req.ciaddr.IsValid() {
		return ignored("it releases another server's lease")
	}
	x.addresses.Release(x.req.mac, x.req.ciaddr)
	return verdict{outcome: outcomeDone, reason: "it gave back " + x.req.ciaddr.String()}
}
