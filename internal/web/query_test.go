package web

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ravenboot/internal/machine"
)

var (
	macA = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	macB = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}
)

// infiniband is what iPXE gives as the MAC of an InfiniBand port.
const infiniband = "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:2f:79:e5"

func TestParseQuery(t *testing.T) {
	from := netip.MustParseAddr("::ffff:192.0.2.7")
	for query, want := range map[string]machine.Machine{
		"":                      {},
		"mac=":                  {},
		"mac=52-54-00-12-34-56": {MAC: macA},
		"mac=52:54:00:12:34:56&mac=52:54:00:12:34:56&mac=525400123457&mac=":  {MAC: macA, Others: []machine.MAC{macB}},
		"mac=&mac=5254.0012.3456&arch=aarch64&platform=pcbios&serial=X%20Y":  {MAC: macA, Arch: machine.ARM64, Firmware: machine.BIOS, Serial: "X Y"},
		"mac=52:54:00:12:34:56&mac=" + infiniband + "&mac=00:00:00:00:00:00": {MAC: macA},
		"mac=" + infiniband + "&mac=52:54:00:12:34:56":                       {MAC: macA},
		"mac=525400123456&serial=%FF%FF":                                     {MAC: macA},
		"mac=525400123456&serial=" + strings.Repeat("x", 200):                {MAC: macA},
		"unknown=parameters&are=fine":                                        {},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParseQuery(values, from)
		if err != nil {
			t.Errorf("%q: %v", query, err)
		}
		want.Addr = netip.MustParseAddr("192.0.2.7")
		if diff := cmp.Diff(want, q.Machine, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]string{
		"mac=" + infiniband:                     "mac: ",
		"mac=00:00:00:00:00:00":                 "mac: ",
		"mac=52:54:00:12:34:56&mac=52:54:00":    "mac: ",
		"mac=xyz":                               "mac: ",
		"mac=52:54:00:12:34:56&uuid=1":          "uuid: ",
		"arch=pdp11":                            "arch: ",
		"platform=openfirmware":                 "platform: ",
		"entry=" + strings.Repeat("x", 600):     "entry: ",
		strings.Repeat("mac=525400123457&", 17): "mac: ",
	} {
		values, _ := url.ParseQuery(query)
		if _, err := ParseQuery(values, from); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", query, err, want)
		}
	}
}

// TestLongestEntry: a specialisation's name is that of a file, and so may be 255
// bytes long.
func TestLongestEntry(t *testing.T) {
	entry := strings.Repeat("p", 64) + "/123456789/" + strings.Repeat("s", 255)
	q, err := ParseQuery(url.Values{"entry": {entry}}, netip.Addr{})
	if err != nil || q.Entry != entry {
		t.Errorf("%q, %v", q.Entry, err)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("mac=52:54:00:12:34:56&arch=x86_64&platform=efi&serial=1")
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := ParseQuery(values, netip.Addr{})
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(q.Machine.Others) >= mostMACs || q.Machine.MAC.IsZero() && len(q.Machine.Others) > 0 {
			t.Errorf("%q gives %v and %v", raw, q.Machine.MAC, q.Machine.Others)
		}
	})
}
