//go:build boots

package integration

import (
	"testing"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// banner is how a release's iPXE introduces itself.
var banner = map[fixture.Loaders]string{
	fixture.Bookworm: "iPXE 1.0.0+git-20190125",
	fixture.Trixie:   "iPXE 1.21.1+git2025",
	fixture.Sid:      "iPXE 2.",
}

// TestLoaders boots every firmware through every loader that fits it, of every
// release: what iPXE can and can't do has changed a lot between them.
func TestLoaders(t *testing.T) {
	t.Parallel()
	boots := []struct {
		name     string
		firmware lab.Firmware
		release  fixture.Loaders
		dhcp     string
		loader   string // "" is what ravenboot chooses by itself
	}{
		{"undionly of 2019", lab.BIOS, fixture.Bookworm, dhcpServerChainload, ""},
		{"undionly of 2025", lab.BIOS, fixture.Trixie, dhcpServerChainload, ""},
		{"undionly 2.0", lab.BIOS, fixture.Sid, dhcpServerChainload, ""},
		{"snponly of 2019", lab.UEFI, fixture.Bookworm, dhcpServer, ""},
		{"snponly of 2025", lab.UEFI, fixture.Trixie, dhcpServer, ""},
		{"snponly 2.0", lab.UEFI, fixture.Sid, dhcpServer, ""},
		{"ipxe.efi of 2019", lab.UEFI, fixture.Bookworm, dhcpServer, "ipxe.efi"},
		{"ipxe.efi of 2025", lab.UEFI, fixture.Trixie, dhcpServer, "ipxe.efi"},
		{"snponly of 2019", lab.UEFIHTTP, fixture.Bookworm, dhcpServer, ""},
		{"snponly of 2025", lab.UEFIHTTP, fixture.Trixie, dhcpServer, ""},
		{"snponly 2.0", lab.UEFIHTTP, fixture.Sid, dhcpServer, ""},
	}
	for _, b := range boots {
		t.Run(b.firmware.String()+" "+b.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			newest := p.publish(generation(2))
			settings := ""
			if b.loader != "" {
				settings = "loader = \"" + b.loader + "\""
			}
			l.Serve(config(b.dhcp, quickMenu, loaders(t, b.release), p.toml(), host("lab-01", lab.MAC(1), settings)))

			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: b.name})
			if b.firmware == lab.BIOS {
				m.Expect(banner[fixture.Bookworm]) // the ROM's own
			}
			m.Expect(banner[b.release])
			booted(m).runs(t, "gen-2", newest, lab.MAC(1))
			m.Off()
		})
	}
}

// TestARM64 has no kernel to boot: Debian's kernel for it is another
// architecture's package. The script must know the architecture, and offer no
// x86 generation.
func TestARM64(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	script := l.Write("arch.ipxe", "#!ipxe\necho RAVENBOOT-ARCH ${buildarch} ${platform}\npoweroff\n")
	l.Serve(config(dhcpServer, quickMenu, loaders(t, fixture.Trixie), p.toml(), `
[[image]]
name = "arch"
label = "Says its architecture"
chain = "`+script+`"
arch = ["arm64"]
`, host("lab-01", lab.MAC(1), `default = "arch"`)))

	m := l.Boot(lab.Spec{Firmware: lab.ARM64, Path: "ipxe-arm64.efi of 2025"})
	m.Expect(banner[fixture.Trixie])
	m.Expect("RAVENBOOT-ARCH arm64 efi")
}
