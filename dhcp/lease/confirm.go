package lease

import (
	"context"
	"net/netip"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

// Confirm leases addr for a REQUEST in any state of RFC 2131 section 4.3.2,
// and returns once the lease is on the disk. ErrNotYours calls for a NAK.
// ErrUnknown calls for silence in INIT-REBOOT; in SELECTING, when the machine
// names this server (which was restarted since its offer), for an Offer with
// addr requested and another Confirm, or else a NAK. Any other error: silence.
func (p *Pool) Confirm(ctx context.Context, sub *Subnet, mac machine.MAC, fixed, addr netip.Addr) (Lease, error) {
	l, s, commit, err := p.claim(sub, mac, fixed, addr)
	if err != nil || commit == nil {
		return l, err
	}
	err = commit.Wait(ctx)
	p.settle(s, commit, err)
	if err != nil {
		return Lease{}, err
	}
	return l, nil
}

// claim leases the address in memory. Commit is nil if all is on the disk.
func (p *Pool) claim(sub *Subnet, mac machine.MAC, fixed, addr netip.Addr) (Lease, *slot, *state.Commit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, now, err := p.enter(sub)
	if err != nil {
		return Lease{}, nil, nil, err
	}
	if p.canHaveFixed(b, mac, fixed, now) {
		l, err := p.claimFixed(b, mac, fixed, addr, now)
		return l, nil, nil, err
	}
	s, err := p.holding(b, mac, addr)
	if err != nil {
		return Lease{}, nil, nil, err
	}
	isNew := s.kind != leased
	b.move(s, leased, now.Add(b.conf.Lease))
	p.record(b, s)
	if isNew {
		p.forgetOutside(b, mac)
	}
	return b.lease(s, now), s, s.commit, nil
}

// claimFixed needs no record: the configuration is one.
func (p *Pool) claimFixed(b *block, mac machine.MAC, fixed, addr netip.Addr, now time.Time) (Lease, error) {
	if addr != fixed {
		return Lease{}, ErrNotYours
	}
	if s := b.byMAC[mac]; s != nil { // from before the address was fixed
		p.end(b, s, now)
	}
	return Lease{MAC: mac, Addr: fixed, Subnet: b.conf, Expires: now.Add(b.conf.Lease), Fixed: true}, nil
}

// holding finds the slot of addr if it is the machine's.
func (p *Pool) holding(b *block, mac machine.MAC, addr netip.Addr) (*slot, error) {
	own := b.byMAC[mac]
	switch s := b.slots[addr]; {
	case own != nil && own.addr != addr:
		return nil, ErrNotYours
	case own != nil && own.probing == mac:
		return nil, ErrInProgress
	case own != nil:
		return own, nil
	case !b.conf.Network.Contains(addr), p.taken[addr], b.own[addr]:
		return nil, ErrNotYours
	case s != nil && !s.kind.free():
		return nil, ErrNotYours
	case p.outside[addr] != nil: // the range was made smaller
		return nil, ErrNotYours
	}
	return nil, ErrUnknown
}

// record makes sure that the disk knows of the lease, by an upper bound of its
// expiry.
func (p *Pool) record(b *block, s *slot) {
	if s.recorded == s.mac && !s.stored.Before(s.until) {
		return
	}
	slack := b.conf.Lease / 2
	p.put(s, s.until.Add(slack))
}

// forgetOutside ends what the machine had in this network before a reload took
// it out of the ranges: it has moved, and must find its new address should the
// old one come back. Outside is empty but for the time after such a reload.
func (p *Pool) forgetOutside(b *block, mac machine.MAC) {
	for addr, s := range p.outside {
		if s.mac == mac && b.conf.Network.Contains(addr) {
			p.forget(s)
			delete(p.outside, addr)
		}
	}
}

// put records the slot's machine. It is called with p.mu held, so that records
// are written in the order in which the address changes hands.
func (p *Pool) put(s *slot, expires time.Time) {
	s.recorded, s.stored = s.mac, expires
	s.commit = p.store.PutLease(state.Lease{Addr: s.addr, MAC: s.mac, Expires: expires})
}

// settle notes how a write ended.
func (p *Pool) settle(s *slot, commit *state.Commit, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.commit != commit {
		return // a later one is on its way
	}
	s.commit = nil
	if err != nil {
		s.stored = time.Time{} // to be written again
	}
}

// Release ends the machine's lease on addr. An address that the machine
// doesn't hold is left alone.
func (p *Pool) Release(mac machine.MAC, addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.blockOf(addr)
	if b == nil {
		return
	}
	now := p.Now()
	b.expire(now)
	if s := b.byMAC[mac]; s != nil && s.addr == addr {
		p.end(b, s, now)
	}
}

// end frees an address before its time. The machine stays recorded for it.
func (p *Pool) end(b *block, s *slot, now time.Time) {
	if s.kind == leased {
		p.put(s, now)
	}
	if !s.kind.free() {
		b.free(s, now)
	}
}

// Decline sets aside an address that the machine found in use by another. An
// address that the machine doesn't hold is left alone.
func (p *Pool) Decline(mac machine.MAC, addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.blockOf(addr)
	if b == nil {
		return
	}
	now := p.Now()
	b.expire(now)
	s := b.byMAC[mac]
	if s == nil || s.addr != addr {
		if p.taken[addr] {
			p.warn("fixed address declined", "machine", mac, "step", "dhcp", "outcome", "none", "address", addr,
				"reason", "another machine uses it: find that machine and change its address, or give this host another one")
		}
		return
	}
	if !s.recorded.IsZero() {
		p.forget(s)
	}
	if b.len(declined) >= max(1, b.size/4) {
		b.free(b.front(declined), now)
	}
	b.setAside(s, declined, now.Add(declineAside))
	p.warn("address declined", "machine", mac, "step", "dhcp", "outcome", "set aside", "address", addr, "for", declineAside,
		"reason", "the machine found it in use by another: find that one and take its address out of the range")
}
