package assets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"ravenboot/internal/machine"
)

// largestLoader is the size in bytes up to which a file is taken for a loader.
// iPXE with all drivers has about 1 MiB, Debian's ipxe.iso 9 MiB.
const largestLoader = 32 << 20

// peMachines are the values of Machine in a PE/COFF header (Microsoft PE format
// 3.3.1), which is what an EFI program begins with.
var peMachines = map[uint16]machine.Arch{
	0x014c: machine.I386,
	0x8664: machine.X86_64,
	0x01c2: machine.ARM32, // Thumb, as UEFI 2.3.5 wants it
	0x01c4: machine.ARM32,
	0xaa64: machine.ARM64,
	0x5032: machine.RISCV32,
	0x5064: machine.RISCV64,
	0x6264: machine.LoongArch64,
}

// kindOf tells what a file is by its first bytes: an EFI program and for which
// architecture, or something else (ok is false).
func kindOf(path string) (arch machine.Arch, efi bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	var dos [64]byte
	if _, err := io.ReadFull(file, dos[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	}
	if string(dos[:2]) != "MZ" {
		return "", false, nil
	}
	var coff [6]byte
	if _, err := file.ReadAt(coff[:], int64(binary.LittleEndian.Uint32(dos[60:]))); err != nil || string(coff[:4]) != "PE\x00\x00" {
		return "", false, nil
	}
	return peMachines[binary.LittleEndian.Uint16(coff[4:])], true, nil
}

// wrongContent says why a file can't be the loader that its name promises, or
// "". elsewhere is set for a sound EFI program of another architecture, which
// may be what another loader's search is after.
func wrongContent(path string, t target) (problem string, elsewhere bool) {
	arch, efi, err := kindOf(path)
	switch {
	case err != nil:
		return err.Error(), false
	case t.firmware == machine.BIOS && efi:
		return "it is an EFI program, which no BIOS can start", false
	case t.firmware == machine.EFI && !efi:
		return "it is no EFI program (no PE header)", false
	case t.firmware == machine.EFI && arch != t.arch:
		return fmt.Sprintf("it is an EFI program for %s", archName(arch)), true
	}
	return "", false
}

// wrongPlain is wrongContent for a file of a name that nobody knows.
func wrongPlain(name, path string) string {
	_, efi, err := kindOf(path)
	switch {
	case err != nil:
		return err.Error()
	case strings.HasSuffix(strings.ToLower(name), ".efi") && !efi:
		return "it is no EFI program (no PE header)"
	}
	return ""
}

func archName(a machine.Arch) string {
	if a == machine.ArchUnknown {
		return "an unknown architecture"
	}
	return string(a)
}
