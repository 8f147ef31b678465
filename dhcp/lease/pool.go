package lease

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"ravenboot/internal/machine"
)

// Pool hands out addresses. Its methods are safe for use by several goroutines.
type Pool struct {
	// Now is the clock; set it before the first use.
	Now func() time.Time
}

// NewPool makes a pool of the subnets' ranges, without the reserved addresses:
// those of hosts, and the server's own. It takes up the leases of the store. A
// nil prober means that no address is ever probed.
func NewPool(subnets []Subnet, reserved []netip.Addr, store Store, prober Prober, log *slog.Logger) (*Pool, error) {
	panic("being written")
}

// Run surveys free addresses ahead of time and forgets old leases, until ctx
// ends. A pool works without it, but then only probes when it is asked.
func (p *Pool) Run(ctx context.Context) error { panic("being written") }

// SetSubnets puts a new configuration in force. Leases outside of it stay
// recorded, but aren't offered or renewed.
func (p *Pool) SetSubnets(subnets []Subnet, reserved []netip.Addr) error { panic("being written") }

// Subnet is the subnet that has the address link in its network, or nil. Link
// is the relay's address, or the server's on the interface of the packet.
func (p *Pool) Subnet(link netip.Addr) *Subnet { panic("being written") }

// Offer picks an address for a DISCOVER and holds it for a short time. Fixed
// is the host's address by configuration, requested the one in option 50; both
// may be the zero Addr. It returns within 300 ms. On an error there is nothing
// to answer: ErrNoAddress, ErrInProgress, or that of ctx.
func (p *Pool) Offer(ctx context.Context, sub *Subnet, mac machine.MAC, fixed, requested netip.Addr) (Lease, error) {
	panic("being written")
}

// Confirm leases addr for a REQUEST in any state of RFC 2131 section 4.3.2,
// and returns once the lease is on the disk. ErrNotYours calls for a NAK.
// ErrUnknown calls for silence in INIT-REBOOT; in SELECTING, when the machine
// names this server (which was restarted since its offer), for an Offer with
// addr requested and another Confirm, or else a NAK. Any other error: silence.
func (p *Pool) Confirm(ctx context.Context, sub *Subnet, mac machine.MAC, fixed, addr netip.Addr) (Lease, error) {
	panic("being written")
}

// Decline sets aside an address that the machine found in use by another. An
// address that the machine doesn't hold is left alone.
func (p *Pool) Decline(mac machine.MAC, addr netip.Addr) { panic("being written") }

// Release ends the machine's lease on addr. An address that the machine
// doesn't hold is left alone.
func (p *Pool) Release(mac machine.MAC, addr netip.Addr) { panic("being written") }

// Stats counts the addresses of every subnet.
func (p *Pool) Stats() []SubnetStats { panic("being written") }
