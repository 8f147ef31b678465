package config

import (
	"net/netip"
	"time"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
)

func (p *parser) dhcp() {
	d, c := &p.raw.DHCP, &p.cfg.DHCP
	oneOf(p, &c.Mode, d.Mode, ModeProxy, ModeServer, ModeOff)
	p.number(&c.Port, d.Port, 1, 65534) // clients are answered on the port above
	p.number(&c.ProxyPort, d.ProxyPort, 1, 65535)
	readFlag(&c.EFIOption43, d.EFIOption43)
	p.chainload(&p.cfg.Boot.Default.Chainload, d.Chainload)
	if c.Port == c.ProxyPort {
		p.wrong(d.ProxyPort.place, "port %d is the DHCP port, too; choose another", c.ProxyPort)
	}
	for i := range d.Subnet {
		p.subnet(&d.Subnet[i])
	}
	switch {
	case c.Mode == ModeServer && len(d.Subnet) == 0:
		p.wrong(d.Mode.place, `"server" has no addresses to hand out; add a [[dhcp.subnet]] with network and range, or write "proxy"`)
	case c.Mode == ModeServer && len(p.cfg.Server.Interfaces) == 0:
		p.doubt(d.Mode.place, `"server" hands out addresses on every Ethernet interface; name the boot network's as server.interface`)
	case c.Mode != ModeServer && len(d.Subnet) > 0:
		p.doubt(d.Subnet[0].place, `a subnet has no effect in mode %q; write mode = "server", or remove it`, c.Mode)
	}
}

func (p *parser) chainload(dst *boot.Chainload, t text) {
	oneOf(p, dst, t, boot.ChainloadAuto, boot.ChainloadAlways, boot.ChainloadNever)
}

// maxLease is the longest lease: half of what 32 bits of seconds can say
// (RFC 2132, 9.2), so that sums stay in bounds, and far more than a lab needs.
const maxLease = 68 * 365 * 24 * time.Hour

func (p *parser) subnet(r *rawSubnet) {
	s := lease.Subnet{Lease: defaultLease}
	if !r.Network.set {
		p.missing(r.Network.place, `write it as network = "192.0.2.0/24"`)
		return
	}
	var ok bool
	if s.Network, ok = p.network(r.Network); !ok {
		return
	}
	for _, other := range p.cfg.DHCP.Subnets {
		if other.Network.Overlaps(s.Network) {
			p.wrong(r.Network.place, "%v overlaps with subnet %v; a machine must be in one of them only", s.Network, other.Network)
		}
	}
	s.Router, s.DNS, s.NTP = p.addrs(r.Router), p.addrs(r.DNS), p.addrs(r.NTP)
	for i, router := range s.Router {
		if !isHostAddr(s.Network, router) && len(s.Router) == len(r.Router.items) {
			p.wrong(r.Router.items[i].place, "%v is not a machine's address in %v, so no machine could reach it; correct one of the two", router, s.Network)
		}
	}
	p.ranges(r, &s)
	p.domain(&s.Domain, r.Domain)
	p.leaseTimes(r, &s)
	p.cfg.DHCP.Subnets = append(p.cfg.DHCP.Subnets, s)
}

func (p *parser) network(t text) (netip.Prefix, bool) {
	n, err := netip.ParsePrefix(t.value)
	switch {
	case err != nil || !n.Addr().Is4():
		p.wrong(t.place, "%s is no IPv4 network; write it as 192.0.2.0/24", quoted(t.value))
	case n != n.Masked():
		p.wrong(t.place, "%s is an address within a network; write %v", quoted(t.value), n.Masked())
	case n.Bits() < 8 || n.Bits() > 30:
		p.wrong(t.place, "/%d is out of range; a subnet has /8 to /30", n.Bits())
	default:
		return n, true
	}
	return netip.Prefix{}, false
}

func (p *parser) addrs(t texts) []netip.Addr {
	var addrs []netip.Addr
	for _, item := range t.items {
		if a, ok := p.addr(item); ok {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// broadcastOf is the last address of an IPv4 network.
func broadcastOf(n netip.Prefix) netip.Addr {
	b := n.Addr().As4()
	for i := n.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// isHostAddr reports whether a machine of the network may have the address.
func isHostAddr(n netip.Prefix, a netip.Addr) bool {
	return n.Contains(a) && a != n.Addr() && a != broadcastOf(n)
}

func (p *parser) ranges(r *rawSubnet, s *lease.Subnet) {
	for _, pair := range r.Range.items {
		first, ok1 := p.addr(pair[0])
		last, ok2 := p.addr(pair[1])
		if ok1 && ok2 && p.rangeFits(pair[0].place, s, first, last) {
			s.Ranges = append(s.Ranges, lease.Range{First: first, Last: last})
		}
	}
}

func (p *parser) rangeFits(at place, s *lease.Subnet, first, last netip.Addr) bool {
	network := s.Network
	broadcast := broadcastOf(network)
	switch {
	case last.Less(first):
		p.wrong(at, "%v comes after %v; exchange them", first, last)
	case !network.Contains(first) || !network.Contains(last):
		p.wrong(at, "%v to %v is not within %v; correct the range or the network", first, last, network)
	case first == network.Addr():
		p.wrong(at, "%v is the address of the network itself; begin with %v", first, first.Next())
	case last == broadcast:
		p.wrong(at, "%v is the broadcast address of %v; end with %v", last, network, last.Prev())
	default:
		return p.rangeFree(at, s, lease.Range{First: first, Last: last})
	}
	return false
}

// rangeFree refuses a range that holds an address which isn't free.
func (p *parser) rangeFree(at place, s *lease.Subnet, r lease.Range) bool {
	for _, router := range s.Router {
		if r.Contains(router) {
			p.wrong(at, "the router's address %v lies within %v to %v; leave it out, as with two ranges", router, r.First, r.Last)
			return false
		}
	}
	for _, other := range s.Ranges {
		if !r.Last.Less(other.First) && !other.Last.Less(r.First) {
			p.wrong(at, "%v to %v overlaps with %v to %v; make one range of them", r.First, r.Last, other.First, other.Last)
			return false
		}
	}
	return true
}

func (p *parser) domain(dst *string, t text) {
	if t.set && (t.value == "" || len(t.value) > 253 || !onlyOf(t.value, nameChars)) {
		p.wrong(t.place, "%s is no domain; write it as lab.example.org", quoted(t.value))
		return
	}
	readText(dst, t)
}

// leaseTimes keeps T1 < T2 < lease, as RFC 2131 section 4.4.5 asks.
func (p *parser) leaseTimes(r *rawSubnet, s *lease.Subnet) {
	const least = 10 * time.Second
	p.duration(&s.Lease, r.Lease, least, maxLease)
	p.duration(&s.T1, r.T1, time.Second, maxLease)
	p.duration(&s.T2, r.T2, time.Second, maxLease)
	t1, t2 := s.T1, s.T2
	if t1 == 0 {
		t1 = s.Lease / 2
	}
	if t2 == 0 {
		t2 = s.Lease * 7 / 8
	}
	at := r.T1.place
	if !r.T1.set {
		at = r.T2.place
	}
	if (r.T1.set || r.T2.set) && (t1 >= t2 || t2 >= s.Lease) {
		p.wrong(at, "t1 %v, t2 %v, lease %v don't rise; leave t1 and t2 out for a half and seven eighths of the lease", t1, t2, s.Lease)
	}
}
