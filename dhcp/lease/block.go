package lease

import (
	"net/netip"
	"time"

	"ravenboot/internal/machine"
)

// Bounds of a subnet; see the package comment.
const (
	mostOffers = 1 << 14
	mostFresh  = 1 << 14 // slots kept of addresses that no machine is recorded for
	mostSlots  = 1 << 17

	offerHold    = 30 * time.Second
	inUseAside   = 10 * time.Minute
	declineAside = time.Hour
)

// block is a subnet with its addresses. Those in slots can all be handed out
// by the configuration; those that can and have no slot are fresh.
type block struct {
	conf     *Subnet
	taken    map[netip.Addr]bool // never handed out; shared by all blocks
	own      map[netip.Addr]bool // the same, by this subnet's configuration
	size     int                 // addresses that can be handed out
	slots    map[netip.Addr]*slot
	byMAC    map[machine.MAC]*slot
	unprobed uint64
	queues

	cursor  netip.Addr // the next address that unseen looks at
	inRange int        // the range of cursor
}

func newBlock(conf Subnet, taken map[netip.Addr]bool) *block {
	b := &block{
		conf:  &conf,
		taken: taken,
		own:   make(map[netip.Addr]bool),
		slots: make(map[netip.Addr]*slot),
		byMAC: make(map[machine.MAC]*slot),
	}
	for _, addrs := range [][]netip.Addr{conf.Router, conf.DNS, conf.NTP} {
		for _, addr := range addrs {
			b.own[addr] = true
		}
	}
	if conf.Network.Bits() < 31 { // RFC 3021: a /31 has no broadcast
		b.own[conf.Network.Masked().Addr()] = true
		b.own[lastOf(conf.Network)] = true
	}
	for _, r := range conf.Ranges {
		b.size += int(number(r.Last)-number(r.First)) + 1
	}
	for addr := range b.own {
		if b.inRanges(addr) {
			b.size--
		}
	}
	for addr := range taken {
		if !b.own[addr] && b.inRanges(addr) {
			b.size--
		}
	}
	if len(conf.Ranges) > 0 {
		b.cursor = conf.Ranges[0].First
	}
	return b
}

func (b *block) inRanges(addr netip.Addr) bool {
	for _, r := range b.conf.Ranges {
		if r.Contains(addr) {
			return true
		}
	}
	return false
}

// handsOut reports whether addr can be handed out by the configuration.
func (b *block) handsOut(addr netip.Addr) bool {
	return b.inRanges(addr) && !b.own[addr] && !b.taken[addr]
}

// expire ends what ends by now. Whatever uses the block calls it first.
func (b *block) expire(now time.Time) {
	for _, k := range [...]kind{offered, leased, inUse, declined} {
		for s := b.front(k); s != nil && !now.Before(s.until); s = b.front(k) {
			b.free(s, now)
		}
	}
}

// give makes mac the machine of the slot; the zero MAC for none.
func (b *block) give(s *slot, mac machine.MAC) {
	if b.byMAC[s.mac] == s {
		delete(b.byMAC, s.mac)
	}
	s.mac = mac
	if !mac.IsZero() {
		b.byMAC[mac] = s
	}
}

// free makes the slot's address one that can be offered, and that of the
// machine that is recorded for it, unless this has another by now.
func (b *block) free(s *slot, now time.Time) {
	owner := s.recorded
	if other := b.byMAC[owner]; other != nil && other != s {
		owner = machine.MAC{}
	}
	b.give(s, owner)
	switch {
	case !s.recorded.IsZero():
		b.move(s, former, now)
	case b.len(fresh) < mostFresh:
		b.move(s, fresh, now)
	default: // unseen will find it again
		b.remove(s)
		delete(b.slots, s.addr)
	}
}

// setAside takes the address out of use. The survey must find it silent before
// it counts as that again.
func (b *block) setAside(s *slot, k kind, until time.Time) {
	b.give(s, machine.MAC{})
	s.probed = time.Time{}
	b.move(s, k, until)
}

// offer holds the address for the machine.
func (b *block) offer(s *slot, mac machine.MAC, now time.Time) {
	if s.kind != offered && b.len(offered) >= mostOffers {
		b.free(b.front(offered), now)
	}
	b.give(s, mac)
	b.move(s, offered, now.Add(offerHold))
}

// pick finds an address for a machine that holds none: the one that it had, or
// the one that it asks for, or the best of the rest. Nil if none is left.
func (b *block) pick(mac machine.MAC, requested netip.Addr) *slot {
	if s := b.byMAC[mac]; s != nil {
		return s
	}
	if s := b.slot(requested); s != nil && s.kind.free() {
		return s
	}
	if s := b.front(fresh); s != nil {
		return s
	}
	if s := b.unseen(); s != nil {
		return s
	}
	if s := b.front(former); s != nil {
		return s
	}
	return b.front(offered)
}

// slot is that of an address that can be handed out, made if need be, or nil.
func (b *block) slot(addr netip.Addr) *slot {
	if s := b.slots[addr]; s != nil {
		return s
	}
	if !addr.IsValid() || len(b.slots) >= mostSlots || !b.handsOut(addr) {
		return nil
	}
	s := &slot{addr: addr, kind: nowhere}
	b.slots[addr] = s
	b.move(s, fresh, time.Time{})
	return s
}

// unseen makes a slot for the next address of the ranges that has none, or
// returns nil if all have one. It looks at each address once in a round.
func (b *block) unseen() *slot {
	if len(b.slots) >= min(b.size, mostSlots) {
		return nil
	}
	for {
		addr := b.cursor
		b.advance()
		if b.slots[addr] == nil {
			if s := b.slot(addr); s != nil {
				return s
			}
		}
	}
}

func (b *block) advance() {
	if b.cursor != b.conf.Ranges[b.inRange].Last {
		b.cursor = b.cursor.Next()
		return
	}
	b.inRange = (b.inRange + 1) % len(b.conf.Ranges)
	b.cursor = b.conf.Ranges[b.inRange].First
}

func number(addr netip.Addr) uint32 {
	a := addr.As4()
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}

// lastOf is the last address of a network, which is its broadcast address.
func lastOf(network netip.Prefix) netip.Addr {
	n := number(network.Addr()) | uint32(1<<(32-network.Bits())-1)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
