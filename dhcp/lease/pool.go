package lease

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ravenboot/internal/logging"
	"ravenboot/internal/machine"
)

// An address that is found in use is a line of the log, and anybody can decline
// addresses all day, under ever other names.
const (
	lineBurst      = 100
	linesPerSecond = 1
)

// Pool hands out addresses. Its methods are safe for use by several goroutines.
type Pool struct {
	// Now is the clock; set it before the first use.
	Now func() time.Time

	store  Store
	prober Prober
	log    *slog.Logger
	lines  logging.Limit

	mu     sync.Mutex
	blocks []*block
	taken  map[netip.Addr]bool // what is reserved
	// outside has the recorded leases that the configuration doesn't cover.
	outside map[netip.Addr]*slot
	calm    bucket    // of echoes that a machine waits for
	turn    int       // which subnet the survey begins with
	warned  time.Time // of unprobed offers
}

// NewPool makes a pool of the subnets' ranges, without the reserved addresses:
// those of hosts, and the server's own. It takes up the leases of the store. A
// nil prober means that no address is ever probed.
func NewPool(subnets []Subnet, reserved []netip.Addr, store Store, prober Prober, log *slog.Logger) (*Pool, error) {
	p := &Pool{
		Now: time.Now, store: store, prober: prober, outside: make(map[netip.Addr]*slot),
		log: log, lines: logging.Limit{Burst: lineBurst, PerSecond: linesPerSecond},
	}
	leases, err := store.Leases()
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		// Whether it has ended is for expire to find, once the clock is set.
		p.outside[l.Addr] = &slot{addr: l.Addr, kind: leased, mac: l.MAC, until: l.Expires, recorded: l.MAC, stored: l.Expires}
	}
	if err := p.SetSubnets(subnets, reserved); err != nil {
		return nil, err
	}
	return p, nil
}

// warn logs a line that strangers can bring about, unless there were too many.
func (p *Pool) warn(what string, attrs ...any) {
	ok, leftOut := p.lines.Take()
	if !ok {
		return
	}
	if leftOut > 0 {
		attrs = append(attrs, "left_out", leftOut)
	}
	p.log.Warn(what, attrs...)
}

// SetSubnets puts a new configuration in force. Leases outside of it stay
// recorded, but aren't offered or renewed. On an error nothing has changed.
func (p *Pool) SetSubnets(subnets []Subnet, reserved []netip.Addr) error {
	if err := validate(subnets); err != nil {
		return err
	}
	taken := make(map[netip.Addr]bool, len(reserved))
	for _, addr := range reserved {
		taken[addr.Unmap()] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.strip()
	p.taken = taken
	unprobed := make(map[netip.Prefix]uint64)
	for _, b := range p.blocks {
		unprobed[b.conf.Network] = b.unprobed
	}
	p.blocks = nil
	for _, conf := range subnets {
		conf.Network = conf.Network.Masked()
		b := newBlock(conf, taken)
		b.unprobed = unprobed[conf.Network]
		p.blocks = append(p.blocks, b)
	}
	for _, s := range known {
		p.adopt(s)
	}
	return nil
}

// strip takes every slot that is worth keeping out of its block.
func (p *Pool) strip() []*slot {
	var known []*slot
	for _, b := range p.blocks {
		for k := former; k < leased; k++ {
			for e := b.lists[k].Front(); e != nil; e = e.Next() {
				known = append(known, e.Value.(*slot))
			}
		}
		known = append(known, b.leases...)
	}
	for _, s := range p.outside {
		known = append(known, s)
	}
	clear(p.outside)
	// An expired lease must not take its machine from a later one.
	slices.SortStableFunc(known, func(a, b *slot) int { return a.until.Compare(b.until) })
	return known
}

// adopt puts a slot into the block that hands out its address now, or outside.
func (p *Pool) adopt(s *slot) {
	b, k := p.blockOf(s.addr), s.kind
	s.kind, s.place, s.survey = nowhere, nil, nil
	if b == nil || !b.handsOut(s.addr) {
		if !s.recorded.IsZero() {
			s.kind = k
			p.outside[s.addr] = s
		}
		return
	}
	if before := b.byMAC[s.mac]; before != nil && before.kind == former {
		b.give(before, machine.MAC{})
	}
	b.slots[s.addr] = s
	b.move(s, k, s.until)
	if !s.mac.IsZero() {
		b.byMAC[s.mac] = s
	}
}

// Subnet is the subnet that has the address link in its network, or nil. Link
// is the relay's address, or the server's on the interface of the packet.
func (p *Pool) Subnet(link netip.Addr) *Subnet {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.blockOf(link.Unmap()); b != nil {
		return b.conf
	}
	return nil
}

func (p *Pool) blockOf(addr netip.Addr) *block {
	for _, b := range p.blocks {
		if b.conf.Network.Contains(addr) {
			return b
		}
	}
	return nil
}

// errGone is for a subnet that a reload has removed while a packet was in work.
var errGone = errors.New("the subnet is no longer configured")

// enter finds the block of a subnet as it is configured now, with everything
// ended that ends by now. The caller holds p.mu.
func (p *Pool) enter(sub *Subnet) (*block, time.Time, error) {
	now := p.Now()
	for _, b := range p.blocks {
		if b.conf.Network == sub.Network {
			b.expire(now)
			return b, now, nil
		}
	}
	return nil, now, errGone
}

// Stats counts the addresses of every subnet.
func (p *Pool) Stats() []SubnetStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	stats := make([]SubnetStats, 0, len(p.blocks))
	for _, b := range p.blocks {
		b.expire(now)
		s := SubnetStats{
			Network: b.conf.Network, Size: b.size,
			Leased: b.len(leased), Offered: b.len(offered), Declined: b.len(declined), InUse: b.len(inUse),
			Unprobed: b.unprobed,
		}
		s.Free = s.Size - s.Leased - s.Offered - s.Declined - s.InUse
		for _, k := range [...]kind{fresh, former} {
			for e := b.lists[k].Front(); e != nil; e = e.Next() {
				if e.Value.(*slot).silent(now) {
					s.Surveyed++
				}
			}
		}
		stats = append(stats, s)
	}
	return stats
}

// validate refuses what the code cannot work with. Errors that a reader of the
// configuration can understand are made where it is read.
func validate(subnets []Subnet) error {
	for i, sub := range subnets {
		if !sub.Network.Addr().Is4() {
			return fmt.Errorf("subnet %v: not an IPv4 network", sub.Network)
		}
		if sub.Lease <= 0 {
			return fmt.Errorf("subnet %v: the lease time must be over zero", sub.Network)
		}
		for _, other := range subnets[:i] {
			if sub.Network.Overlaps(other.Network) {
				return fmt.Errorf("subnets %v and %v overlap", other.Network, sub.Network)
			}
		}
		for j, r := range sub.Ranges {
			if r.Last.Less(r.First) || !sub.Network.Contains(r.First) || !sub.Network.Contains(r.Last) {
				return fmt.Errorf("subnet %v: the range from %v to %v is not within it", sub.Network, r.First, r.Last)
			}
			for _, other := range sub.Ranges[:j] {
				if other.Contains(r.First) || other.Contains(r.Last) || r.Contains(other.First) {
					return fmt.Errorf("subnet %v: the ranges from %v and from %v overlap", sub.Network, other.First, r.First)
				}
			}
		}
	}
	return nil
}
