package dhcp

import (
	"context"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
)

// exchange is one packet on its way through the server.
type exchange struct {
	*Server
	*settings
	packet Packet
	req    *request
	asker  asker
	subnet *lease.Subnet // where the machine sits; nil in mode proxy, or if it is not ours
	reach  netip.Addr    // the server's address that the machine reaches
	told   netip.Addr    // the one that it is told: reach, unless the configuration says otherwise
	start  boot.Start    // the decision, once a boot client was decided upon
}

// The outcomes of a packet, for logs and metrics.
const (
	outcomeOffer     = "offer"
	outcomeAck       = "ack"
	outcomeNak       = "nak"
	outcomeDone      = "done"      // a RELEASE or DECLINE, which has no answer
	outcomeSilent    = "silent"    // not answered, on purpose
	outcomeIgnored   = "ignored"   // of no concern here
	outcomeMalformed = "malformed" // no sane packet
	outcomeDropped   = "dropped"   // too many in work
	outcomeFailed    = "failed"    // our own fault
)

// verdict is what becomes of a packet, and why.
type verdict struct {
	outcome string
	reason  string
	answer  *answer // nil: no reply
}

func silent(reason string) verdict  { return verdict{outcome: outcomeSilent, reason: reason} }
func ignored(reason string) verdict { return verdict{outcome: outcomeIgnored, reason: reason} }

// newExchange finds out who asks and from where. The packet's request was
// parsed.
func (s *Server) newExchange(p Packet, mem *scratch) *exchange {
	r, x := &mem.request, &mem.exchange
	*x = exchange{Server: s, settings: s.settings.Load(), packet: p, req: r, asker: classify(r)}
	to := p.Local.Addr()
	unicast := isUnicast(to) && !p.Interface.isBroadcast(to)
	link := r.link()
	switch {
	case link.IsValid():
	case unicast && r.ciaddr.IsValid():
		// A renewal goes past the relay, so only the machine's own address
		// tells where it is (RFC 2131 section 4.3.2, RENEWING).
		link = r.ciaddr
	}
	x.reach = p.Interface.toward(link)
	x.locate(link)
	if unicast {
		x.reach = to
	}
	x.tell(x.reach)
	if !x.asker.machine.Addr.IsValid() {
		x.asker.machine.Addr = link
	}
	if !x.asker.machine.Addr.IsValid() {
		x.asker.machine.Addr = x.reach
	}
	return x
}

// tell notes which of its addresses the server has for the machine.
func (x *exchange) tell(addr netip.Addr) {
	x.reach, x.told = addr, addr
	if x.Address.IsValid() {
		x.told = x.Address
	}
}

// atProxyPort reports whether the machine asked on port 4011.
func (x *exchange) atProxyPort() bool { return int(x.packet.Local.Port()) == x.ProxyPort }

// isOurs reports whether option 54 names this server.
func (x *exchange) isOurs(id netip.Addr) bool {
	return id.IsValid() && (id == x.told || id == x.reach || id == x.req.agent.serverID || x.packet.Interface.has(id))
}

// decide says what a packet gets.
func (x *exchange) decide(ctx context.Context) verdict {
	switch {
	case !x.told.IsValid():
		return silent("interface " + x.packet.Interface.Name + " has no IPv4 address to answer from")
	case x.atProxyPort():
		return x.atPXEPort()
	case x.Mode == ModeServer:
		return x.serve(ctx)
	case x.Mode == ModeProxy:
		return x.proxy()
	}
	return ignored("DHCP is off")
}

// bootFile decides what a boot client is to fetch; nil for nothing, with the
// reason in x.start.
func (x *exchange) bootFile() *bootFile {
	if x.asker.class == "" {
		x.start.Reason = "no boot client, so an address and no boot file"
		return nil
	}
	if len(x.asker.clients) == 0 {
		x.start.Reason = x.asker.unknown
		return nil
	}
	mac := x.req.mac
	x.start = x.decider.Start(boot.Request{
		Machine: x.asker.machine,
		Clients: x.asker.clients,
		Handed:  x.handed.others(mac, x.req.xid),
	})
	if x.start.Kind == boot.StartNothing {
		return nil
	}
	file, err := x.bootFileOf(&x.start, mac, x.told)
	if err != nil {
		x.start.Kind, x.start.Reason = boot.StartNothing, x.start.Reason+"; refused: "+err.Error()
		return nil
	}
	if x.start.Kind == boot.StartLoader && x.concludes() {
		x.handed.record(mac, x.req.xid)
	}
	return file
}

// concludes reports whether the machine goes on with this answer: in mode server
// with the one to its REQUEST. A machine that lost that and begins anew has not
// been handed anything. A proxy hears of no REQUEST for certain.
func (x *exchange) concludes() bool {
	return x.Mode == ModeProxy || x.req.message != dhcpv4.MessageTypeDiscover
}

// newAnswer begins an answer with what all have in common.
func (x *exchange) newAnswer(message dhcpv4.MessageType) *answer {
	return &answer{message: message, server: x.told, subnet: x.subnet}
}
