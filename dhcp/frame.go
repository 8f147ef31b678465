package dhcp

import (
	"encoding/binary"
	"net/netip"

	"ravenboot/internal/machine"
)

// Lengths of headers without options, in bytes: IEEE 802.3, RFC 791, RFC 768.
const (
	ethernetHeader = 14
	ipv4Header     = 20
	udpHeader      = 8
)

// frame packs a datagram for a machine that can't answer ARP yet.
func frame(from, to machine.MAC, src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, ethernetHeader+ipv4Header+udpHeader, ethernetHeader+ipv4Header+udpHeader+len(payload))
	b = append(b, payload...)
	copy(b, to[:])
	copy(b[6:], from[:])
	binary.BigEndian.PutUint16(b[12:], etherTypeIPv4)
	ip := b[ethernetHeader:]
	source, target := src.Addr().As4(), dst.Addr().As4()
	putIPv4(ip, source, target)
	putUDP(ip[ipv4Header:], source, target, src.Port(), dst.Port())
	return b
}

const (
	etherTypeIPv4 = 0x0800
	protocolUDP   = 17
)

// putIPv4 fills the header of the packet ip: no options, don't fragment.
func putIPv4(ip []byte, source, target [4]byte) {
	const timeToLive, dontFragment = 64, 0x4000
	ip[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[6:], dontFragment)
	ip[8], ip[9] = timeToLive, protocolUDP
	copy(ip[12:], source[:])
	copy(ip[16:], target[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip[:ipv4Header]))
}

// putUDP fills the header of the datagram udp. Its sum covers a pseudo-header,
// and is never sent as zero, which means "none".
func putUDP(udp []byte, source, target [4]byte, from, to uint16) {
	binary.BigEndian.PutUint16(udp, from)
	binary.BigEndian.PutUint16(udp[2:], to)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	s := sum(0, source[:])
	s = sum(s, target[:])
	s = sum(s, []byte{0, protocolUDP, udp[4], udp[5]})
	s = ^sum(s, udp)
	if s == 0 {
		s = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], s)
}

// sum adds b to an Internet checksum (RFC 1071).
func sum(start uint16, b []byte) uint16 {
	s := uint64(start)
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
