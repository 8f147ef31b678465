package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// The header of a DHCP packet, RFC 2131 figure 1: offsets in bytes.
const (
	offsetHlen   = 2
	offsetXID    = 4
	offsetFlags  = 10
	offsetCiaddr = 12
	offsetYiaddr = 16
	offsetSiaddr = 20
	offsetGiaddr = 24
	offsetChaddr = 28
	offsetSname  = 44
	offsetFile   = 108
	offsetCookie = 236
	headerLen    = 240
)

// magicCookie opens the options, RFC 2131 section 3.
const magicCookie = "\x63\x82\x53\x63"

// minPacket is the smallest that old relays and ROMs let through, in bytes: a
// BOOTP packet (RFC 951).
const minPacket = 300

// bootReply and ethernet are the codes of op and htype (RFC 2131 figure 1).
const (
	bootReply = 2
	ethernet  = 1
)

// writer lays a reply out. Its header goes in by offset, its options in the
// order of the calls. The size that the machine can take is known, so optional
// options that don't fit can be left out; nothing is ever cut.
type writer struct {
	b     []byte
	limit int // in bytes, for all but the end mark
}

func newWriter(mem []byte, limit int) *writer {
	w := &writer{b: append(slices.Grow(mem[:0], headerLen+minPacket), make([]byte, headerLen)...), limit: limit}
	copy(w.b[offsetCookie:], magicCookie)
	return w
}

func (w *writer) addr(offset int, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		copy(w.b[offset:], b[:])
	}
}

// option adds an option, in several parts where it is longer than 255 bytes
// (RFC 3396).
func (w *writer) option(code byte, value []byte) {
	for first := true; first || len(value) > 0; first = false {
		part := value[:min(len(value), 255)]
		w.b = append(append(w.b, code, byte(len(part))), part...)
		value = value[len(part):]
	}
}

func (w *writer) text(code byte, s string) {
	w.b = append(append(w.b, code, byte(len(s))), s...)
}

func (w *writer) addrs(code byte, addrs ...netip.Addr) {
	w.b = append(w.b, code, byte(4*len(addrs)))
	for _, a := range addrs {
		b := a.As4()
		w.b = append(w.b, b[:]...)
	}
}

func (w *writer) seconds(code byte, d time.Duration) {
	w.b = binary.BigEndian.AppendUint32(append(w.b, code, 4), uint32(min(d/time.Second, 1<<32-1)))
}

// fits reports whether an option whose value is n bytes long still has room.
func (w *writer) fits(n int) bool { return n > 0 && n <= 255 && len(w.b)+2+n <= w.limit }

// end closes the packet.
func (w *writer) end() []byte {
	w.b = append(w.b, optEnd)
	for len(w.b) < minPacket {
		w.b = append(w.b, optPad)
	}
	return w.b
}
