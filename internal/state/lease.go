package state

import (
	"net/netip"
	"time"

	"ravenboot/internal/machine"
)

// Lease is the record of an address that a machine was given.
type Lease struct {
	Addr netip.Addr // IPv4; one record for each address
	MAC  machine.MAC
	// Expires is in whole seconds, and never before the time that the machine
	// was told. A record outlives it, so that the machine finds its address
	// again.
	Expires time.Time
}
