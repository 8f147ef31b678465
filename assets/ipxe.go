package assets

import (
	"slices"

	"ravenboot/assets/lockstep"
)

// ipxeOptions are what iPXE's own TFTP request carries (its tftp.c). OVMF sends
// "tsize 0 blksize 1468 windowsize 4", and ROMs other sizes again.
var ipxeOptions = []lockstep.Option{{Name: "blksize", Value: "1432"}, {Name: "tsize", Value: "0"}}

// askedByIPXE reports whether a request is iPXE's own, and not one of the
// firmware's before it.
func askedByIPXE(options []lockstep.Option) bool { return slices.Equal(options, ipxeOptions) }
