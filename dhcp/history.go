package dhcp

import (
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/machine"
)

// history is the loop detector's memory: the exchanges in which a machine was
// handed a loader, by its ROM or by an iPXE. An exchange is known by its transaction id, which
// iPXE keeps from DISCOVER to REQUEST, so that both get the same answer.
type history struct {
	now    func() time.Time
	recent *recent[handedLoaders]
}

// handedLoaders are the last exchanges of one machine. Four are enough for
// boot's limit of three, beside the exchange that is going on.
type handedLoaders [4]struct {
	xid dhcpv4.TransactionID
	at  time.Time
}

// loopWindow is how far back the detector looks (boot.Request.Handed), and
// mostHanded how many machines it remembers in that time. On a link that loses
// one packet in twenty, a minute was seen to pass between a loader and its DHCP.
const (
	loopWindow = 2 * time.Minute
	mostHanded = 4096
)

func newHistory(now func() time.Time) *history {
	return &history{now: now, recent: newRecent[handedLoaders](loopWindow, mostHanded)}
}

// others counts the exchanges but xid within loopWindow that handed the machine
// a loader.
func (h *history) others(mac machine.MAC, xid dhcpv4.TransactionID) int {
	now, n := h.now(), 0
	for _, e := range h.recent.get(now, mac) {
		if !e.at.IsZero() && now.Sub(e.at) < loopWindow && e.xid != xid {
			n++
		}
	}
	return n
}

// record notes that exchange xid hands the machine a loader. It may be
// told so again by each packet of the exchange.
func (h *history) record(mac machine.MAC, xid dhcpv4.TransactionID) {
	now := h.now()
	h.recent.change(now, mac, func(e handedLoaders) handedLoaders {
		if e[0].xid != xid || e[0].at.IsZero() {
			copy(e[1:], e[:])
		}
		e[0].xid, e[0].at = xid, now
		return e
	})
}
