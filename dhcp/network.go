package dhcp

import (
	"net/netip"
	"time"

	"ravenboot/dhcp/lease"
)

// writeTimes says how long the address is granted. T1 and T2 fall back to the
// fractions of RFC 2131 section 4.4.5.
func writeTimes(w *writer, s *lease.Subnet) {
	w.seconds(optLeaseTime, s.Lease)
	w.seconds(optT1, orElse(s.T1, s.Lease/2))
	w.seconds(optT2, orElse(s.T2, s.Lease/8*7))
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// writeNetwork writes what a machine can't do without on its network. Option 1
// comes before option 3, as RFC 2132 section 3.3 wants.
func writeNetwork(w *writer, s *lease.Subnet) {
	mask := maskOf(s.Network)
	w.option(optSubnetMask, mask[:])
	writeAddrs(w, optRouter, s.Router)
	writeAddrs(w, optDNS, s.DNS)
}

// writeExtras writes what is left out where the machine takes short packets only.
func (r *request) writeExtras(w *writer, a *answer) {
	s := a.subnet
	if w.fits(4) && s.Network.Bits() < 31 {
		w.addrs(optBroadcast, lastOf(s.Network))
	}
	if w.fits(len(s.Domain)) {
		w.text(optDomain, s.Domain)
	}
	if w.fits(len(a.host)) {
		w.text(optHostName, a.host)
	}
	writeAddrs(w, optNTP, s.NTP)
}

func writeAddrs(w *writer, code byte, addrs []netip.Addr) {
	if w.fits(4 * len(addrs)) {
		w.addrs(code, addrs...)
	}
}
