package lease

import (
	"context"
	"net/netip"
	"time"

	"ravenboot/internal/machine"
)

const (
	probeWait = 300 * time.Millisecond
	// Echoes that machines wait for: at once, and in a second.
	calmBurst, calmRate = 16, 16
	// stormShare is what a machine counts that came when there were too many to
	// wait, beside one that waits. So a storm of 16*8 = 128 a second, which the
	// survey can't keep up with either, lets none of its machines wait: so few
	// echoes would find next to nothing, and each holds a machine up.
	stormShare        = 1. / 8
	unprobedWarnEvery = time.Minute
)

// Offer picks an address for a DISCOVER and holds it for a short time. Fixed
// is the host's address by configuration, requested the one in option 50; both
// may be the zero Addr. It returns within 300 ms. On an error there is nothing
// to answer: ErrNoAddress, ErrInProgress, or that of ctx.
func (p *Pool) Offer(ctx context.Context, sub *Subnet, mac machine.MAC, fixed, requested netip.Addr) (Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, now, err := p.enter(sub)
	if err != nil {
		return Lease{}, err
	}
	if p.canHaveFixed(b, mac, fixed, now) {
		return Lease{MAC: mac, Addr: fixed, Subnet: b.conf, Expires: now.Add(b.conf.Lease), Fixed: true}, nil
	}
	switch s := b.byMAC[mac]; {
	case s == nil || s.kind == former:
		return p.firstOffer(ctx, b, mac, requested, now)
	case s.probing == mac:
		return Lease{}, ErrInProgress
	case s.kind == offered:
		b.offer(s, mac, now)
		return b.lease(s, now), nil
	default: // leased: held for as long as an offer, should it be about to end
		if hold := now.Add(offerHold); s.until.Before(hold) {
			b.move(s, leased, hold)
		}
		return b.lease(s, now), nil
	}
}

// lease is what a machine is told that gets the slot's address now.
func (b *block) lease(s *slot, now time.Time) Lease {
	return Lease{MAC: s.mac, Addr: s.addr, Subnet: b.conf, Expires: now.Add(b.conf.Lease)}
}

// firstOffer offers an address to a machine that has no lease on it.
func (p *Pool) firstOffer(ctx context.Context, b *block, mac machine.MAC, requested netip.Addr, now time.Time) (Lease, error) {
	s := b.pick(mac, requested)
	if s == nil {
		return Lease{}, ErrNoAddress
	}
	b.offer(s, mac, now)
	switch {
	case p.prober == nil:
		return b.lease(s, now), nil
	case p.calm.take(now):
		return p.offerProbed(ctx, b.conf, s)
	default:
		return p.offerSurveyed(b, s, now), nil
	}
}

// offerSurveyed trusts the survey, because too many machines come at once.
func (p *Pool) offerSurveyed(b *block, s *slot, now time.Time) Lease {
	if !s.silent(now) {
		b.unprobed++
		if now.Sub(p.warned) >= unprobedWarnEvery {
			p.warned = now
			p.log.Warn("address not probed", "machine", s.mac, "step", "dhcp", "outcome", "offered unprobed",
				"address", s.addr, "subnet", b.conf.Network, "unprobed", b.unprobed,
				"reason", "more new machines at once than addresses surveyed; machines that find theirs in use decline it")
		}
	}
	return b.lease(s, now)
}

// offerProbed offers the slot, or another after it, once it is found silent.
// It is entered and left with p.mu locked, which is open while it waits.
func (p *Pool) offerProbed(ctx context.Context, sub *Subnet, s *slot) (Lease, error) {
	mac := s.mac
	echo, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	for {
		answered := p.probe(echo, s, mac)
		b, now, err := p.enter(sub)
		if err != nil {
			return Lease{}, err
		}
		switch own := b.byMAC[mac]; {
		case own != nil && own != s: // it was lost, and then the machine asked again
			return Lease{}, ErrInProgress
		case own == nil || s.kind != offered: // lost to another machine
		case ctx.Err() != nil:
			b.free(s, now)
			return Lease{}, ctx.Err()
		case !answered:
			s.probed, s.warned = now, false
			return b.lease(s, now), nil
		default:
			p.foundInUse(b, s, now)
		}
		if s = b.pick(mac, netip.Addr{}); s == nil {
			return Lease{}, ErrNoAddress
		}
		b.offer(s, mac, now)
		if echo.Err() != nil {
			return p.offerSurveyed(b, s, now), nil
		}
	}
}

// probe waits for an echo with p.mu open.
func (p *Pool) probe(ctx context.Context, s *slot, mac machine.MAC) (answered bool) {
	s.probing = mac
	p.mu.Unlock()
	answered = p.prober.InUse(ctx, s.addr)
	p.mu.Lock()
	if s.probing == mac {
		s.probing = machine.MAC{}
	}
	return answered
}

// canHaveFixed reports whether the machine can have its host's address: it
// can't while another still has a lease on it from before it was fixed.
func (p *Pool) canHaveFixed(b *block, mac machine.MAC, fixed netip.Addr, now time.Time) bool {
	if !b.conf.Network.Contains(fixed) {
		return false // the host is on another network than usual
	}
	s := p.outside[fixed]
	if s == nil {
		s = b.slots[fixed]
	}
	if s == nil || s.kind != leased || s.mac == mac || !now.Before(s.until) {
		return true
	}
	p.warn("fixed address taken", "machine", mac, "step", "dhcp", "outcome", "another address", "address", fixed,
		"reason", "another machine has a lease on it, which ends at the next renewal: restart that machine", "holder", s.mac, "until", s.until)
	return false
}

// bucket counts echoes that machines may wait for, and is full while more come
// than can.
type bucket struct {
	used float64
	last time.Time
}

func (c *bucket) take(now time.Time) bool {
	c.used = max(0, c.used-now.Sub(c.last).Seconds()*calmRate)
	c.last = now
	if c.used > calmBurst-1 {
		c.used = min(c.used+stormShare, calmBurst)
		return false
	}
	c.used++
	return true
}
