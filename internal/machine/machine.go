package machine

import (
	"fmt"
	"net/netip"
	"strings"
)

// Arch is a processor architecture, which decides which kernels a machine can
// run. The names are iPXE's (its buildarch setting).
type Arch string

// The architectures that PXE and UEFI HTTP Boot clients name in option 93.
const (
	ArchUnknown Arch = ""
	I386        Arch = "i386"
	X86_64      Arch = "x86_64"
	ARM32       Arch = "arm32"
	ARM64       Arch = "arm64"
	RISCV32     Arch = "riscv32"
	RISCV64     Arch = "riscv64"
	LoongArch64 Arch = "loong64"
)

// archNames has every accepted spelling: iPXE's, Nix's, Debian's and Go's.
var archNames = map[string]Arch{
	"i386": I386, "i686": I386, "x86": I386,
	"x86_64": X86_64, "amd64": X86_64, "x64": X86_64,
	"arm32": ARM32, "armv7l": ARM32, "armhf": ARM32, "arm": ARM32,
	"arm64": ARM64, "aarch64": ARM64,
	"riscv32": RISCV32, "riscv64": RISCV64,
	"loong64": LoongArch64, "loongarch64": LoongArch64,
}

// ParseArch reads an architecture in the spelling of iPXE, Nix, Debian or Go.
func ParseArch(s string) (Arch, error) {
	if a, ok := archNames[strings.ToLower(s)]; ok {
		return a, nil
	}
	return ArchUnknown, fmt.Errorf("%q is no architecture; known are i386, x86_64, arm32, arm64, riscv32, riscv64, loong64", s)
}

// ArchOfNixSystem is the architecture in a Nix system such as x86_64-linux.
func ArchOfNixSystem(system string) Arch {
	cpu, _, _ := strings.Cut(system, "-")
	return archNames[cpu]
}

// Runs reports whether a machine of architecture a can run a kernel built for
// b. What is not known is taken to fit: a menu with an entry too many beats
// one without the entry that was wanted.
func (a Arch) Runs(b Arch) bool {
	return a == ArchUnknown || b == ArchUnknown || a == b || a == X86_64 && b == I386
}

// Firmware is the family of program that started the machine. It decides which
// loader fits and how a script hands control back.
type Firmware string

// The firmware families.
const (
	FirmwareUnknown Firmware = ""
	BIOS            Firmware = "bios"
	EFI             Firmware = "efi"
	// RaspberryPi is the Pi's own boot ROM, which loads no iPXE (option 93: 41).
	RaspberryPi Firmware = "rpi"
)

// ParseFirmware reads bios or efi, and iPXE's platform names pcbios and efi.
func ParseFirmware(s string) (Firmware, error) {
	switch strings.ToLower(s) {
	case "bios", "pcbios":
		return BIOS, nil
	case "efi", "uefi":
		return EFI, nil
	}
	return FirmwareUnknown, fmt.Errorf("%q is no firmware; known are bios and efi", s)
}

// Machine is what a machine has told of itself in one exchange. Fields that it
// left out are zero.
type Machine struct {
	MAC      MAC   // of the interface that boots
	Others   []MAC // of its other interfaces, as iPXE lists them
	UUID     UUID
	Serial   string
	Arch     Arch
	Firmware Firmware
	Addr     netip.Addr // where it is, or the subnet that it asked from
}
