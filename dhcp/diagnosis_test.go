package dhcp

import (
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
)

// TestDiagnosis has the ways in which machines get stuck (FIELD-NOTES 7, 8), and
// those that look like it and aren't.
func TestDiagnosis(t *testing.T) {
	httpBoot := func(p *dhcpv4.DHCPv4) { withText(optClass, classHTTP)(p); with(optArch, 0, 16)(p) }
	discover := func(xid byte, client dhcpv4.Modifier) Packet {
		return broadcast(message(dhcpv4.MessageTypeDiscover, client, dhcpv4.WithTransactionID(dhcpv4.TransactionID{xid})))
	}
	elsewhere := broadcast(message(dhcpv4.MessageTypeRequest, biosROM, withAddr(optServerID, "192.0.2.2")))
	at4011 := unicast(message(dhcpv4.MessageTypeRequest, edk2, from("192.0.2.100")), "192.0.2.100:68", "192.0.2.10:4011")
	const settings = `next-server 192.0.2.10; file \"undionly.kpxe\" where option 93 is 0; file \"snponly-i386.efi\" where option 93 is 6; ` +
		`file \"snponly.efi\" where option 93 is 7; file \"snponly.efi\" where option 93 is 9;`
	for name, row := range map[string]struct {
		mode    Mode
		packets []Packet
		pause   time.Duration
		want    string // "": nothing is wrong
	}{
		"offers without a request": {ModeProxy, []Packet{discover(1, biosROM), discover(1, biosROM), discover(1, biosROM), discover(1, biosROM)}, 8 * time.Second,
			"4 offers were made to it and no REQUEST followed"},
		"address taken, file not": {ModeProxy, []Packet{discover(1, biosROM), elsewhere, discover(2, biosROM), elsewhere, discover(3, biosROM), elsewhere}, 20 * time.Second,
			"it takes its address from the DHCP server, but asked 3 times"},
		"HTTP Boot again and again": {ModeServer, []Packet{discover(1, httpBoot), discover(2, httpBoot), discover(3, httpBoot)}, 20 * time.Second,
			"accepts https:// only"},
		"repeated within an exchange": {ModeServer, []Packet{discover(1, httpBoot), discover(1, httpBoot), discover(1, httpBoot), discover(1, httpBoot)}, time.Second, ""},
		"rare reboots":                {ModeProxy, []Packet{discover(1, biosROM), discover(2, biosROM), discover(3, biosROM), discover(4, biosROM)}, 11 * time.Minute, ""},
		"boots well":                  {ModeProxy, []Packet{discover(1, biosROM), elsewhere, discover(2, ipxe(fullIPXE)), discover(3, biosROM), discover(4, ipxe(fullIPXE)), discover(5, biosROM)}, time.Second, ""},
		"asks at 4011":                {ModeProxy, []Packet{discover(1, edk2), elsewhere, at4011, discover(2, edk2), elsewhere, at4011, discover(3, edk2), elsewhere, at4011}, time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, clock, log := loggedServer(t, testConfig(row.mode), boot.Policy{})
			for range 2 { // it speaks once
				for _, p := range row.packets {
					clock.t = clock.t.Add(row.pause)
					ask(t, s, p)
				}
			}
			wantLines := 1
			if row.want == "" {
				wantLines = 0
			}
			if got := strings.Count(log.String(), "outcome=stuck"); got != wantLines {
				t.Fatalf("%d lines, want %d:\n%s", got, wantLines, log)
			}
			if !strings.Contains(log.String(), row.want) || row.want != "" && !strings.Contains(log.String(), settings) {
				t.Errorf("want %q and %q in the log:\n%s", row.want, settings, log)
			}
		})
	}
}

// TestRecentIsBounded sends more machines than are remembered.
func TestRecentIsBounded(t *testing.T) {
	clock := newClock()
	r := newRecent[int](time.Minute, 10)
	for i := range 1000 {
		r.change(clock.now(), [6]byte{0, 0, 0, 0, byte(i >> 8), byte(i)}, func(n int) int { return n + 1 })
		if n := len(r.young) + len(r.old); n > 20 {
			t.Fatalf("%d machines are remembered", n)
		}
	}
	last := [6]byte{0, 0, 0, 0, 999 >> 8, 999 & 0xff}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {70 * time.Second, 1}, {70 * time.Second, 0}} {
		clock.t = clock.t.Add(step.after)
		if got := r.get(clock.now(), last); got != step.want {
			t.Errorf("%v later: %d, want %d", step.after, got, step.want)
		}
	}
}
