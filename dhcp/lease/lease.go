package lease

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

// Errors that the caller of a Pool tells apart. What they mean for a reply is
// said at Offer and Confirm.
var (
	// ErrNoAddress: every address of the subnet is leased or set aside.
	ErrNoAddress = errors.New("no free address: make the subnet's range larger or its leases shorter")
	// ErrNotYours: the machine must not use the address that it asks for.
	ErrNotYours = errors.New("the address belongs to another machine or is not handed out")
	// ErrUnknown: nothing is recorded of this machine in this subnet.
	ErrUnknown = errors.New("no lease or offer is recorded for this machine")
	// ErrInProgress: the same machine's DISCOVER is being answered just now.
	ErrInProgress = errors.New("an offer to this machine is on its way already")
)

// Range is the addresses from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// Contains reports whether addr lies within the range.
func (r Range) Contains(addr netip.Addr) bool {
	return !addr.Less(r.First) && !r.Last.Less(addr)
}

// Subnet is an IPv4 network, the addresses of it that are handed out, and what
// its machines are told.
type Subnet struct {
	Network netip.Prefix
	Ranges  []Range // may be empty: then only hosts with a fixed address are served
	Router  []netip.Addr
	DNS     []netip.Addr
	NTP     []netip.Addr
	Domain  string
	Lease   time.Duration // how long an address is given for; over zero
	T1, T2  time.Duration // when to renew and to rebind; zero for RFC 2131's 1/2 and 7/8 of Lease
}

// Lease is an address that a machine has or is offered.
type Lease struct {
	MAC     machine.MAC
	Addr    netip.Addr
	Subnet  *Subnet // as it is configured now; not to be changed
	Expires time.Time
	Fixed   bool // the host's own address by configuration
}

// Store keeps leases over a restart. Its methods are safe for use by several
// goroutines.
type Store interface {
	// Leases is every lease that was put and not deleted. Asked once, at start.
	Leases() ([]state.Lease, error)
	// PutLease replaces the record of l.Addr. Writes take effect in the order
	// of the calls, which return at once.
	PutLease(l state.Lease) *state.Commit
	// DeleteLease removes the record of addr, in the same order.
	DeleteLease(addr netip.Addr) *state.Commit
}

// Prober asks the network whether an address is in use.
type Prober interface {
	// InUse returns true as soon as something answers at addr, and false when
	// ctx ends first. Many calls run at a time.
	InUse(ctx context.Context, addr netip.Addr) bool
}

// SubnetStats counts the addresses of a subnet's ranges.
type SubnetStats struct {
	Network  netip.Prefix
	Size     int // addresses that can be handed out at all
	Free     int // of these, neither leased, offered nor set aside
	Leased   int
	Offered  int
	Declined int // set aside after a DECLINE
	InUse    int // set aside because something answered there
	Surveyed int // free, and found silent not long ago
	// Unprobed counts, since the start, first offers of addresses whose silence
	// was not made sure of, because too many machines came at once.
	Unprobed uint64
}
