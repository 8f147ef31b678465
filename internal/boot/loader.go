package boot

import "ravenboot/internal/machine"

// loaderNames lists, for each firmware and architecture, the loaders that fit,
// the best first. snponly.efi comes before ipxe.efi, because it leaves the NIC
// to the firmware's own driver, which has just been seen to work, where
// ipxe.efi's drivers can hang (ipxe#973, ipxe#541).
var loaderNames = map[machine.Firmware]map[machine.Arch][]string{
	machine.BIOS: {
		machine.X86_64: {"undionly.kpxe"},
		machine.I386:   {"undionly.kpxe"},
	},
	machine.EFI: {
		machine.X86_64:      {"snponly.efi", "ipxe.efi"},
		machine.I386:        {"snponly-i386.efi", "ipxe-i386.efi"},
		machine.ARM32:       {"snponly-arm32.efi", "ipxe-arm32.efi"},
		machine.ARM64:       {"snponly-arm64.efi", "ipxe-arm64.efi"},
		machine.RISCV32:     {"snponly-riscv32.efi", "ipxe-riscv32.efi"},
		machine.RISCV64:     {"snponly-riscv64.efi", "ipxe-riscv64.efi"},
		machine.LoongArch64: {"snponly-loong64.efi", "ipxe-loong64.efi"},
	},
}

// LoaderNames are the loaders that fit a firmware and architecture, the best
// first; none for a firmware that can't load iPXE.
func LoaderNames(f machine.Firmware, a machine.Arch) []string {
	return loaderNames[f][a]
}
