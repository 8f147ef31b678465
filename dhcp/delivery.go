package dhcp

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/machine"
)

// Reply is a datagram to be sent from the interface that the request came in on.
type Reply struct {
	Data []byte
	From netip.AddrPort // the server's address and port that the machine asked
	To   netip.AddrPort
	// Hardware, unless zero, is where an Ethernet frame must go: the machine
	// has no address yet, so it can't answer ARP.
	Hardware machine.MAC
}

// deliver addresses a reply as RFC 2131 section 4.1 says: to the relay; to the
// address that the client has; by broadcast if it asks for that or there is no
// address to write to; else by a frame to the address that it is about to have. The
// reply is written to mem, which may be nil.
func (x *exchange) deliver(a *answer, mem []byte) Reply {
	r, client := x.req, x.clientPort()
	reply := Reply{
		Data: r.reply(a, mem),
		From: netip.AddrPortFrom(x.reach, x.packet.Local.Port()),
		To:   netip.AddrPortFrom(limitedBroadcast, client),
	}
	switch remote := x.packet.Remote; {
	case x.atProxyPort() && isUnicast(remote.Addr()):
		reply.To = remote
	case r.relay.IsValid():
		reply.To = netip.AddrPortFrom(r.relay, uint16(x.Port))
	case a.message == dhcpv4.MessageTypeNak:
	case r.ciaddr.IsValid():
		reply.To = netip.AddrPortFrom(r.ciaddr, client)
	case r.flags != 0 || a.lease == nil:
	default:
		reply.To = netip.AddrPortFrom(a.lease.Addr, client)
		reply.Hardware = r.mac
	}
	return reply
}
