package assets

import (
	"fmt"
	"strings"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// MissingLoader is a loader that could be served and isn't there.
type MissingLoader struct {
	Name     string
	Firmware machine.Firmware
	Arch     machine.Arch
	// Replaced is set when another loader for the same machines is there.
	Replaced bool
	Advice   string // which package of which distribution has it
}

// packages are what has a loader, by its name. Where none has it, it must be
// built.
var packages = map[string][]string{
	"undionly.kpxe":     {"ipxe (Debian, Ubuntu)", "ipxe-bootimgs-x86 (Fedora)", "pkgs.ipxe (nixpkgs)"},
	"snponly.efi":       {"ipxe (Debian, Ubuntu)", "ipxe-bootimgs-x86 (Fedora)", "pkgs.ipxe (nixpkgs, as snp.efi)"},
	"ipxe.efi":          {"ipxe (Debian, Ubuntu, Arch)", "ipxe-bootimgs-x86 (Fedora)", "pkgs.ipxe (nixpkgs)"},
	"ipxe-i386.efi":     {"ipxe (Arch)", "ipxe-bootimgs-x86 (Fedora)"},
	"snponly-arm64.efi": {"ipxe-bootimgs-aarch64 (Fedora)", "pkgsCross.aarch64-multiplatform.ipxe (nixpkgs, as snp.efi)"},
	"ipxe-arm64.efi":    {"ipxe (Debian 13)", "ipxe-bootimgs-aarch64 (Fedora)", "pkgsCross.aarch64-multiplatform.ipxe (nixpkgs)"},
	"ipxe-riscv64.efi":  {"ipxe (Debian 13)"},
	"ipxe-loong64.efi":  {"ipxe (Debian 13)"},
}

// Missing lists the loaders that are not there, those for the commonest
// machines first.
func (l *Loaders) Missing() []MissingLoader {
	var missing []MissingLoader
	for _, t := range targets {
		if l.Has(t.name) {
			continue
		}
		m := MissingLoader{Name: t.name, Firmware: t.firmware, Arch: t.arch, Advice: advice(t)}
		for _, other := range boot.LoaderNames(t.firmware, t.arch) {
			m.Replaced = m.Replaced || l.Has(other)
		}
		missing = append(missing, m)
	}
	return missing
}

func advice(t target) string {
	if having := packages[t.name]; len(having) > 0 {
		return "install " + strings.Join(having, " or ") + ", or name its directory in [loaders] dirs"
	}
	base, platform := "ipxe.efi", "efi"
	if t.snponly() {
		base = "snponly.efi"
	}
	return fmt.Sprintf("no distribution has it; build it from iPXE's source (make bin-%s-%s/%s) and name its directory in [loaders] dirs",
		t.arch, platform, base)
}
