package assets

import (
	"fmt"
	"strings"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// MissingLoader is a loader that machines could use and that isn't there.
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
// machines first. Of several for the same machines it leaves out those that are
// no better than what is there, or no easier to come by.
func (l *Loaders) Missing() []MissingLoader {
	var missing []MissingLoader
	for _, t := range targets {
		m := MissingLoader{Name: t.name, Firmware: t.firmware, Arch: t.arch, Advice: advice(t)}
		if !l.Has(t.name) && l.isWorth(t, &m.Replaced) {
			missing = append(missing, m)
		}
	}
	return missing
}

// isWorth compares a missing loader with the others for the same machines.
func (l *Loaders) isWorth(t target, replaced *bool) bool {
	packaged := len(packages[t.name]) > 0
	better := true // than those that follow, in boot's order
	for _, other := range boot.LoaderNames(t.firmware, t.arch) {
		switch {
		case other == t.name:
			better = false
		case l.Has(other):
			*replaced = true
			if better || !packaged {
				return false
			}
		case !packaged && (better || len(packages[other]) > 0):
			return false
		}
	}
	return true
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
