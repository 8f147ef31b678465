package dhcp

import (
	"encoding/binary"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/dhcp/lease"
)

// answer is what a machine is told.
type answer struct {
	message dhcpv4.MessageType
	server  netip.Addr // the server's address, as told to the machine
	// lease is the address with its subnet, in mode server; nil in an answer
	// that carries none.
	lease *lease.Lease
	// subnet has the plain options; nil in proxy mode.
	subnet *lease.Subnet
	host   string    // option 12; "" for none
	file   *bootFile // nil for no boot file
	text   string    // option 56, of a NAK
}

// reply writes an answer to r, into mem if that is large enough. It depends on
// nothing else, and is the only place that knows how a reply looks: RFC 2131
// table 3.
func (r *request) reply(a *answer, mem []byte) []byte {
	w := newWriter(mem, r.sizeLimit())
	r.header(w, a)
	w.option(optMessageType, []byte{byte(a.message)})
	w.addrs(optServerID, r.serverID(a.server))
	if a.text != "" {
		w.text(optMessage, a.text)
	}
	if a.lease != nil {
		writeTimes(w, a.lease.Subnet)
	}
	if a.subnet != nil {
		writeNetwork(w, a.subnet)
	}
	if a.file != nil {
		r.writeBoot(w, a)
	}
	r.writeEchoes(w)
	if a.subnet != nil {
		r.writeExtras(w, a)
	}
	// RFC 3046 section 2.1: last, and unchanged.
	if agent := r.options[optRelayAgent]; agent != nil {
		w.option(optRelayAgent, agent)
	}
	return w.end()
}

// minSize is what every client can take: 576 bytes of IP (RFC 2131 section 2),
// less the headers of IP and UDP.
const (
	ipUDPHeaders = 28
	minSize      = 576 - ipUDPHeaders
)

// sizeLimit is how long the reply may be without what must stand at its end.
func (r *request) sizeLimit() int {
	size := minSize
	if b := r.options[optMaxSize]; len(b) == 2 {
		size = min(max(size, int(binary.BigEndian.Uint16(b))-ipUDPHeaders), maxPacket-ipUDPHeaders)
	}
	if n := len(r.options[optRelayAgent]); n > 0 {
		size -= n + 2*(1+n/255)
	}
	return size - 1
}

// header fills the fixed fields. The broadcast flag is kept: relays go by it
// (smee#382). A NAK through a relay has it set, because the client may have no
// address (RFC 2131 section 4.3.2).
func (r *request) header(w *writer, a *answer) {
	w.b[0], w.b[1], w.b[offsetHlen] = bootReply, ethernet, byte(len(r.mac))
	copy(w.b[offsetXID:], r.xid[:])
	flags := r.flags
	if a.message == dhcpv4.MessageTypeNak && r.relay.IsValid() {
		flags |= broadcastFlag
	}
	binary.BigEndian.PutUint16(w.b[offsetFlags:], flags)
	if a.message == dhcpv4.MessageTypeAck {
		w.addr(offsetCiaddr, r.ciaddr)
	}
	if a.lease != nil {
		w.addr(offsetYiaddr, a.lease.Addr)
	}
	w.addr(offsetGiaddr, r.relay)
	copy(w.b[offsetChaddr:], r.mac[:])
}

// serverID is option 54: the relay's own address where it asks for that, so
// that renewals pass through it (RFC 5107), else the server's.
func (r *request) serverID(server netip.Addr) netip.Addr {
	if r.agent.serverID.IsValid() {
		return r.agent.serverID
	}
	return server
}

// writeBoot fills everything that some firmware reads: the header's fields for
// old BIOS ROMs and U-Boot, the options for those that look at nothing else,
// asked for or not (booter PR#12). file and sname are never overloaded.
func (r *request) writeBoot(w *writer, a *answer) {
	var text [len("255.255.255.255")]byte
	server := a.server.AppendTo(text[:0])
	w.addr(offsetSiaddr, a.server)
	copy(w.b[offsetSname:offsetFile-1], server)
	copy(w.b[offsetFile:offsetCookie-1], a.file.name)
	w.text(optClass, a.file.class)
	if a.file.bypass {
		w.option(optVendorSpecific, bypassDiscovery)
	}
	w.option(optTFTPServer, server)
	w.text(optBootFile, a.file.option67())
	if id := r.options[optMachineID]; w.fits(len(id)) {
		w.option(optMachineID, id)
	}
}

// writeEchoes sends back what the client must find again.
func (r *request) writeEchoes(w *writer) {
	// RFC 6842.
	if id := r.options[optClientID]; w.fits(len(id)) {
		w.option(optClientID, id)
	}
	// RFC 3011 section 2: a server that goes by it says so.
	if subnet := r.options[optSubnetSelection]; len(subnet) == 4 && w.fits(4) {
		w.option(optSubnetSelection, subnet)
	}
}
