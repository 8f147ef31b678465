package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/machine"
)

// Packet is a datagram as it came in.
type Packet struct {
	Data []byte
	// Interface is where it came in, and where the reply goes out.
	Interface *Interface
	// Local is what it was sent to: a broadcast address or one of the server's
	// own, and the server's port or PXE's.
	Local netip.AddrPort
	// Remote is where it came from; 0.0.0.0 for a machine without an address.
	Remote netip.AddrPort
}

// maxPacket is the largest packet worth reading, in bytes: an Ethernet frame's
// payload. iPXE announces 1472 in option 57.
const maxPacket = 1500

// request is a parsed packet whose addresses make sense.
type request struct {
	message dhcpv4.MessageType
	xid     dhcpv4.TransactionID
	mac     machine.MAC
	flags   uint16
	ciaddr  netip.Addr // what the client says it has; invalid for none
	relay   netip.Addr // giaddr; invalid for none
	wanted  netip.Addr // option 50; invalid for none
	server  netip.Addr // option 54; invalid for none
	options dhcpv4.Options
	agent   relayAgent // what option 82 says
}

// broadcastFlag is the only one in flags, RFC 2131 figure 2.
const broadcastFlag = 0x8000

// What is wrong with a packet. None of these repeats what a stranger sent.
var (
	errNoRequest   = errors.New("no request, but somebody's reply")
	errTooLong     = errors.New("longer than an Ethernet frame")
	errNoDHCP      = errors.New("no DHCP: too short, or without its magic cookie")
	errOptions     = errors.New("options are cut short")
	errNotEthernet = errors.New("hardware address is not 6 bytes long")
	errBadMAC      = errors.New("hardware address is zero, broadcast or multicast")
	errBadClient   = errors.New("client address (ciaddr) is no unicast address")
	errBadRelay    = errors.New("relay address (giaddr) is the server's own or no unicast address")
	errBOOTP       = errors.New("BOOTP without DHCP (no message type, option 53)")
)

// bootRequest is the op code of a client's packet, RFC 2131 figure 1.
const bootRequest = 1

// usualOptions is how many a boot client sends, and a relay adds. One more makes
// the map twice as large.
const usualOptions = 14

// parse reads a packet into r: its header, which is fixed, here, and its options
// by the library. An error means that nothing may be done with it. A missing end
// mark is none.
func parse(p Packet, r *request) error {
	switch {
	case len(p.Data) > maxPacket:
		return errTooLong
	case len(p.Data) > 0 && p.Data[0] != bootRequest:
		return errNoRequest
	case len(p.Data) < headerLen || string(p.Data[offsetCookie:headerLen]) != magicCookie:
		return errNoDHCP
	case int(p.Data[offsetHlen]) != len(machine.MAC{}):
		return errNotEthernet
	}
	options := r.options // a map that was used holds no more than the 254 codes
	if options == nil {
		options = make(dhcpv4.Options, usualOptions)
	}
	clear(options)
	*r = request{
		xid:     dhcpv4.TransactionID(p.Data[offsetXID:]),
		mac:     machine.MAC(p.Data[offsetChaddr:]),
		flags:   binary.BigEndian.Uint16(p.Data[offsetFlags:]) & broadcastFlag,
		ciaddr:  addrOf(p.Data[offsetCiaddr:offsetYiaddr]),
		relay:   addrOf(p.Data[offsetGiaddr:offsetChaddr]),
		options: options,
	}
	if err := r.options.FromBytes(p.Data[headerLen:]); err != nil {
		return errOptions
	}
	r.message = messageType(r.options[optMessageType])
	r.wanted = addrOf(r.options[optRequestedAddress])
	r.server = addrOf(r.options[optServerID])
	r.agent = parseRelayAgent(r.options[optRelayAgent])
	return r.check(p.Interface)
}

func messageType(b []byte) dhcpv4.MessageType {
	if len(b) != 1 {
		return dhcpv4.MessageTypeNone
	}
	return dhcpv4.MessageType(b[0])
}

func (r *request) check(in *Interface) error {
	const group = 0x01 // the bit that makes an Ethernet address multicast
	switch {
	case r.mac.IsZero() || r.mac[0]&group != 0:
		return errBadMAC
	case r.ciaddr.IsValid() && !isUnicast(r.ciaddr):
		return errBadClient
	case r.relay.IsValid() && (!isUnicast(r.relay) || in.has(r.relay)):
		return errBadRelay
	case r.message == dhcpv4.MessageTypeNone:
		return errBOOTP
	}
	return nil
}

// addrOf is an IPv4 address of the wire; invalid for 0.0.0.0 and for anything
// that isn't four bytes long.
func addrOf(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// isUnicast reports whether a machine or a relay can have the address. 0/8,
// 127/8 and 240/4 are never on a wire (RFC 6890).
func isUnicast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}
