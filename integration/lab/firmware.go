package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// Firmware is what a machine's power switch starts.
type Firmware int

const (
	// BIOS is SeaBIOS with QEMU's network boot ROM, which is an iPXE of 2019.
	BIOS Firmware = iota
	// UEFI is OVMF with its own PXE stack: the card has no ROM.
	UEFI
	// UEFIHTTP is OVMF with PXE turned off, so that HTTP Boot speaks.
	UEFIHTTP
	// ARM64 is AAVMF, the 64-bit ARM sibling of OVMF, with its own PXE stack.
	ARM64
)

func (f Firmware) String() string {
	return [...]string{"BIOS", "UEFI PXE", "UEFI HTTP", "arm64 UEFI"}[f]
}

// program is the QEMU that emulates the firmware's processor.
func (f Firmware) program() string {
	if f == ARM64 {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// arguments are QEMU's for the board and its firmware. dir takes the copy of
// the firmware's variables, which it writes to.
func (f Firmware) arguments(t testing.TB, dir string) []string {
	t.Helper()
	switch f {
	case BIOS:
		File(t, "/usr/lib/ipxe/qemu/efi-virtio.rom")
		// graphics=off makes SeaBIOS copy the text screen to the serial line.
		return []string{"-machine", "pc,graphics=off"}
	case ARM64:
		args := []string{"-machine", "virt", "-cpu", "cortex-a57"}
		return append(args, flash(t, dir, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd")...)
	}
	args := []string{"-machine", "q35"}
	args = append(args, flash(t, dir, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")...)
	// The lab has IPv4 only; without this OVMF tries IPv6 first on every round.
	args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	if f == UEFIHTTP {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
	}
	return args
}

func flash(t testing.TB, dir, code, variables string) []string {
	t.Helper()
	content, err := os.ReadFile(File(t, variables))
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(own, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + File(t, code),
		"-drive", "if=pflash,unit=1,format=raw,file=" + own,
	}
}
