package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// diagnosis notices machines whose firmware asks again and again without using
// what it is offered. It remembers attempts for a while, for a bounded number of
// machines, and speaks once for each.
type diagnosis struct {
	now    func() time.Time
	recent *recent[attempts]
}

// attempts is what the firmware of one machine did since it last got further.
type attempts struct {
	discovers int // offers since the last REQUEST, to whatever server
	pxe, http int // exchanges of each class
	xid       dhcpv4.TransactionID
	last      time.Time
	told      bool
}

const (
	// unansweredOffers without a REQUEST is a ROM that gave up: it sends
	// DISCOVER four times, after 4, 8, 16 and 32 s (PXE 2.1 section 2.2.2).
	unansweredOffers = 4
	// fruitlessExchanges without an iPXE in between is no accident.
	fruitlessExchanges = 3
	// attemptsBelong is how far apart attempts still belong together.
	attemptsBelong = 10 * time.Minute
	// attemptsKept is how long a silent machine is remembered, and mostWatched
	// of how many machines in that time.
	attemptsKept = time.Hour
	mostWatched  = 4096
)

func newDiagnosis(now func() time.Time) *diagnosis {
	return &diagnosis{now: now, recent: newRecent[attempts](attemptsKept, mostWatched)}
}

// watch takes note of a packet after it was decided upon, and logs what an
// administrator can do for a machine that is stuck.
func (x *exchange) watch(ctx context.Context, v verdict) {
	if x.asker.class == "" {
		return
	}
	var symptom string
	now := x.diagnosis.now()
	x.diagnosis.recent.change(now, x.req.mac, func(a attempts) attempts {
		if now.Sub(a.last) > attemptsBelong {
			a = attempts{told: a.told}
		}
		a.last = now
		a.note(x, v)
		if !a.told {
			symptom = a.symptom(x)
			a.told = symptom != ""
		}
		return a
	})
	if symptom != "" {
		x.tellHowToHelp(ctx, symptom)
	}
}

// note counts a packet. An iPXE, or a REQUEST on port 4011, is a machine that
// follows.
func (a *attempts) note(x *exchange, v verdict) {
	switch {
	case x.isIPXE() || x.atProxyPort():
		*a = attempts{told: a.told, last: a.last}
	case x.req.message == dhcpv4.MessageTypeRequest:
		a.discovers = 0
	case x.req.message == dhcpv4.MessageTypeDiscover && v.answer != nil && v.answer.file != nil:
		a.discovers++
		if a.xid == x.req.xid {
			return
		}
		a.xid = x.req.xid
		if x.asker.class == classHTTP {
			a.http++
		} else {
			a.pxe++
		}
	}
}

func (x *exchange) isIPXE() bool { return len(x.asker.clients) > 0 && x.asker.clients[0].IPXE != nil }

// symptom says what is wrong; "" if nothing is, as far as one can see.
func (a *attempts) symptom(x *exchange) string {
	switch {
	case a.http >= fruitlessExchanges:
		return fmt.Sprintf("UEFI HTTP Boot asked %d times and no iPXE came of it: some firmware (Dell's) accepts https:// only, "+
			"some needs HTTP connections allowed in its set-up; boot it by PXE, or look there", a.http)
	case x.Mode != ModeProxy:
		return ""
	case a.discovers >= unansweredOffers:
		return fmt.Sprintf("%d offers were made to it and no REQUEST followed: either no DHCP server gives it an address, "+
			"or its firmware ignores proxyDHCP; then enter `settings` in the DHCP server", a.discovers)
	case a.pxe >= fruitlessExchanges:
		return fmt.Sprintf("it takes its address from the DHCP server, but asked %d times without fetching the loader: its firmware "+
			"ignores proxyDHCP, or can't reach TFTP here; for the first enter `settings` in the DHCP server", a.pxe)
	}
	return ""
}

// tellHowToHelp logs the symptom with the exact settings for another DHCP server.
func (x *exchange) tellHowToHelp(ctx context.Context, symptom string) {
	ok, left := x.log.stuck.Take()
	if !ok {
		return
	}
	x.log.leftOut(ctx, "stuck machines", left)
	x.log.LogAttrs(ctx, slog.LevelWarn, "machine is stuck",
		slog.String("machine", x.req.mac.String()), slog.String("step", "dhcp"), slog.String("outcome", "stuck"),
		slog.String("reason", symptom), slog.String("settings", x.settingsElsewhere()),
		slog.String("interface", x.packet.Interface.Name))
}

// typesElsewhere are the values of option 93 that a DHCP server is told a file for.
var typesElsewhere = [...]uint16{0, 6, 7, 9, 10, 11, 27, 39}

// settingsElsewhere is what another DHCP server must say so that this machine
// boots from here: next-server, and a file for each client architecture that a
// loader exists for. The names are bare; TFTP serves them to anybody.
func (x *exchange) settingsElsewhere() string {
	var b strings.Builder
	fmt.Fprintf(&b, "next-server %s;", x.told)
	for _, t := range typesElsewhere {
		client, _ := machine.ClientOfType(t)
		start := x.decider.Start(boot.Request{Machine: x.asker.machine, Clients: []machine.Client{client}})
		if start.Kind == boot.StartLoader && start.Client.Firmware == client.Firmware && start.Client.Arch == client.Arch {
			fmt.Fprintf(&b, " file %q where option 93 is %d;", start.Loader, t)
		}
	}
	if x.HTTPPort != 0 {
		fmt.Fprintf(&b, " file %q where option 77 is iPXE", x.ScriptURL(x.told))
	}
	return strings.TrimSuffix(b.String(), ";")
}
