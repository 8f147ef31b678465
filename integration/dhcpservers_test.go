//go:build boots

package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// documented is the settings that docs/dhcp-servers.md shows under a name.
func documented(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/dhcp-servers.md")
	check(t, err)
	block := regexp.MustCompile("(?s)```" + name + "\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatalf("docs/dhcp-servers.md has no block %q", name)
	}
	return string(block[1])
}

// otherServers are the DHCP servers that the page has settings for, each
// started with those settings and a range of addresses.
var otherServers = map[string]func(l *lab.Lab, n *lab.Namespace, settings string) *lab.Process{
	"dnsmasq": func(l *lab.Lab, n *lab.Namespace, settings string) *lab.Process {
		var options []string
		for _, line := range strings.Split(strings.TrimSpace(settings), "\n") {
			options = append(options, "--"+line)
		}
		return l.Dnsmasq(n, append(options, "--dhcp-range=192.0.2.100,192.0.2.200", "--dhcp-authoritative")...)
	},
	"json kea": func(l *lab.Lab, n *lab.Namespace, settings string) *lab.Process {
		file := l.Write("kea.json", `{"Dhcp4": {
  "interfaces-config": {"interfaces": ["eth0"]},
  "lease-database": {"type": "memfile", "persist": false},
  "subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.200"}]}],
  "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}],
`+settings+"}}\n")
		p := l.Start(n, "kea", "env", "KEA_LOCKFILE_DIR=none", "KEA_PIDFILE_DIR="+l.Dir(), "kea-dhcp4", "-c", file)
		p.ExpectLog(20*time.Second, "DHCP4_STARTED")
		return p
	},
	"dhcpd": func(l *lab.Lab, n *lab.Namespace, settings string) *lab.Process {
		file := l.Write("dhcpd.conf", settings+`
authoritative;
subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.100 192.0.2.200; }
`)
		leases := l.Write("dhcpd.leases", "")
		p := l.Start(n, "dhcpd", "dhcpd", "-4", "-d", "--no-pid", "-user", "root", "-group", "root", "-cf", file, "-lf", leases, "eth0")
		p.ExpectLog(10*time.Second, "Sending on")
		return p
	},
}

// TestDocumentedServers boots behind each DHCP server of the page, with the
// page's own settings. dnsmasq with one file for everybody is TestOff's.
func TestDocumentedServers(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		server, settings string
		firmware         lab.Firmware
		path             string
	}{
		{"dnsmasq", "rules", lab.UEFI, "snponly.efi, off, rules in dnsmasq"},
		{"json kea", "rules", lab.UEFIHTTP, "snponly.efi, off, rules in Kea"},
		{"json kea", "one", lab.BIOS, "ROM iPXE, off, one file in Kea"},
		{"dhcpd", "rules", lab.UEFI, "snponly.efi, off, rules in ISC dhcpd"},
		{"dhcpd", "one", lab.BIOS, "ROM iPXE, off, one file in ISC dhcpd"},
	} {
		t.Run(b.server+" "+b.settings, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			newest := p.publish(generation(2))
			n := l.NewNamespace("dhcp")
			l.Join(lab.Segment, n, "eth0", "192.0.2.2/24")
			otherServers[b.server](l, n, documented(t, b.server+" "+b.settings))
			l.Serve(config(dhcpOff, quickMenu, forEveryone, loaders(t, fixture.Bookworm), p.toml()))

			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: b.path})
			booted(m).runs(t, "gen-2", newest, lab.MAC(1))
			m.Off()
		})
	}
}
