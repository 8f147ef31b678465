//go:build boots

package integration

import (
	"testing"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// foreignDHCP is another computer on the segment, with a dnsmasq that gives
// addresses and what else the options say.
func foreignDHCP(l *lab.Lab, options ...string) *lab.Process {
	n := l.NewNamespace("dhcp")
	l.Join(lab.Segment, n, "eth0", "192.0.2.2/24")
	return l.Dnsmasq(n, append([]string{"--dhcp-range=192.0.2.100,192.0.2.200", "--dhcp-authoritative"}, options...)...)
}

// TestProxy boots beside a real DHCP server that knows nothing of booting.
func TestProxy(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		firmware lab.Firmware
		path     string
	}{
		{lab.BIOS, "ROM iPXE, proxy beside dnsmasq"},
		{lab.UEFI, "snponly.efi, proxy beside dnsmasq"},
		{lab.UEFIHTTP, "snponly.efi, proxy beside dnsmasq"},
	} {
		t.Run(b.firmware.String(), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			newest := p.publish(generation(2))
			foreignDHCP(l)
			l.Serve(config(dhcpProxy, quickMenu, forEveryone, p.toml()))

			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: b.path})
			booted(m).runs(t, "gen-2", newest, lab.MAC(1))
			m.Off()
		})
	}
}

// TestOff boots behind a real DHCP server that hands the loader to everyone, so
// also to the iPXE that the loader is (FIELD-NOTES 4). The loaders of 2025 ask
// for autoexec.ipxe; those of 2019 and the BIOS ones don't, and get a script
// under the loader's name.
func TestOff(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		firmware lab.Firmware
		release  fixture.Loaders
		loader   string
		path     string
	}{
		{lab.BIOS, fixture.Bookworm, "undionly.kpxe", "ROM iPXE, off behind dnsmasq"},
		{lab.UEFI, fixture.Trixie, "snponly.efi", "autoexec.ipxe of 2025, off behind dnsmasq"},
		{lab.UEFI, fixture.Bookworm, "snponly.efi", "snponly.efi of 2019, off behind dnsmasq"},
	} {
		t.Run(b.path, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			newest := p.publish(generation(2))
			foreignDHCP(l, "--dhcp-boot="+b.loader+",,"+lab.Address)
			l.Serve(config(dhcpOff, quickMenu, forEveryone, loaders(t, b.release), p.toml()))

			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: b.path})
			booted(m).runs(t, "gen-2", newest, lab.MAC(1))
			m.Off()
		})
	}
}

// TestRelay has the machine on another segment than the server, behind ISC's
// dhcrelay and a router.
func TestRelay(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	newest := p.publish(generation(2))
	l.Bridge("br1", "")
	router := l.NewNamespace("router")
	l.Join("br1", router, "machines", "198.51.100.1/24")
	l.Join(lab.Segment, router, "uplink", "192.0.2.1/24")
	router.Forward()
	l.Route("198.51.100.0/24", "192.0.2.1")
	l.Serve(config(dhcpServer, `
[[dhcp.subnet]]
network = "198.51.100.0/24"
range = ["198.51.100.100", "198.51.100.200"]
router = "198.51.100.1"
`, quickMenu, forEveryone, p.toml()))
	l.Relay(router, "machines", "uplink")

	m := l.Boot(lab.Spec{Firmware: lab.UEFI, Path: "snponly.efi through dhcrelay", NICs: []lab.NIC{{MAC: lab.MAC(1), Segment: "br1"}}})
	booted(m).runs(t, "gen-2", newest, lab.MAC(1))
	m.Off()
}

// TestSecondNIC boots from the second of two network cards. The first is up,
// but leads nowhere, and iPXE calls it net0 (matchbox PR#410). The machine is
// known by the first one's MAC, and BOOTIF names the second.
func TestSecondNIC(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 0)
	oldest := p.publish(generation(1))
	p.publish(generation(2))
	l.Bridge("br1", "")
	l.Serve(config(dhcpServer, quickMenu, forEveryone, p.toml(), host("lab-07", lab.MAC(7), `default = "lab/1"`)))

	m := l.Boot(lab.Spec{Path: "ROM iPXE on the second NIC", NICs: []lab.NIC{
		{MAC: lab.MAC(7), Segment: "br1", NoBoot: true},
		{MAC: lab.MAC(8)},
	}})
	booted(m).runs(t, "gen-1", oldest, lab.MAC(8))
	m.Off()
}

// TestPacketLoss loses one frame in twenty, in both directions.
func TestPacketLoss(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		firmware lab.Firmware
		dhcp     string
		path     string
	}{
		{lab.BIOS, dhcpServerChainload, "undionly.kpxe, 5 % loss"},
		{lab.UEFI, dhcpServer, "snponly.efi, 5 % loss"},
	} {
		t.Run(b.firmware.String(), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			newest := p.publish(generation(2))
			l.Serve(config(b.dhcp, quickMenu, forEveryone, p.toml()))

			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: b.path, NICs: []lab.NIC{{MAC: lab.MAC(1), Loss: 0.05}}})
			m.Expect("Booting lab/2")
			m.Expect("initrd...") // the kernel's 14 MB take a minute or two
			booted(m).runs(t, "gen-2", newest, lab.MAC(1))
			m.Off()
		})
	}
}
