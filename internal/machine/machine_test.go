package machine

import (
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	want := MAC{0x52, 0x54, 0x00, 0xab, 0x34, 0x56}
	for _, s := range []string{
		"52:54:00:ab:34:56", "52-54-00-AB-34-56", "5254.00ab.3456", "525400ab3456", "01-52-54-00-ab-34-56",
	} {
		if got, err := ParseMAC(s); err != nil || got != want {
			t.Errorf("ParseMAC(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", ":", "52:54:00:ab:34", "52:54:00:ab:34:5g", ":525400ab3456", "525400ab3456:", "52::5400ab3456",
		"02-52-54-00-ab-34-56", "00:00:00:00:00:00", "52:54:00:ab:34:56:78:90", strings.Repeat("5", 1000),
	} {
		if got, err := ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%q) = %v, want an error", s, got)
		} else if len(err.Error()) > 120 {
			t.Errorf("ParseMAC(%q): error of %d bytes repeats what a stranger sent", s[:8], len(err.Error()))
		}
	}
}

func TestMACSpellings(t *testing.T) {
	m := MAC{0x52, 0x54, 0x00, 0xab, 0x34, 0x56}
	if got, want := m.Dashed(), "52-54-00-ab-34-56"; got != want {
		t.Errorf("Dashed() = %q, want %q", got, want)
	}
	if got, want := m.BOOTIF(), "01-52-54-00-ab-34-56"; got != want {
		t.Errorf("BOOTIF() = %q, want %q", got, want)
	}
}

func FuzzMAC(f *testing.F) {
	f.Add("52:54:00:12:34:56")
	f.Add("01-52-54-00-ab-34-56")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		for _, again := range []string{m.String(), m.Dashed(), m.BOOTIF()} {
			if back, err := ParseMAC(again); err != nil || back != m {
				t.Errorf("%q became %v, and its spelling %q is read as %v, %v", s, m, again, back, err)
			}
		}
	})
}

func TestMACPattern(t *testing.T) {
	m := MAC{0x52, 0x54, 0x00, 0xab, 0x34, 0x56}
	for pattern, want := range map[string]bool{
		"*": true, "52:54:00:*": true, "52-54-00-AB-*": true, "52:54:00:a*": true, "52:54:00:ab:34:56": true,
		"52:54:01:*": false, "52:54:00:ab:34:57": false,
	} {
		p, err := ParseMACPattern(pattern)
		if err != nil {
			t.Errorf("ParseMACPattern(%q): %v", pattern, err)
			continue
		}
		if p.Match(m) != want {
			t.Errorf("%q matches %v: %v, want %v", pattern, m, !want, want)
		}
		if p.Match(MAC{}) {
			t.Errorf("%q matches a machine whose MAC is not known", pattern)
		}
	}
	for _, pattern := range []string{"", "52:54:*:00", "5254*", "52:54:00:ab:34:56:*", "zz:*", "52:54:00:ab:34:56:78*"} {
		if _, err := ParseMACPattern(pattern); err == nil {
			t.Errorf("ParseMACPattern(%q): no error", pattern)
		}
	}
}

func TestUUID(t *testing.T) {
	const s = "4c4c4544-0042-3510-8052-b4c04f4d3432"
	u, err := ParseUUID(strings.ToUpper(s))
	if err != nil || u.String() != s {
		t.Fatalf("ParseUUID = %v, %v", u, err)
	}
	if got, want := u.Swapped().String(), "44454c4c-4200-1035-8052-b4c04f4d3432"; got != want {
		t.Errorf("Swapped() = %s, want %s", got, want)
	}
	if u.Swapped().Swapped() != u {
		t.Error("swapping twice is not the identity")
	}
	for s, known := range map[string]bool{
		s: true, "00000000-0000-0000-0000-000000000000": false, "ffffffff-ffff-ffff-ffff-ffffffffffff": false,
	} {
		if u, err := ParseUUID(s); err != nil || u.IsKnown() != known {
			t.Errorf("%s: known %v, %v, want %v", s, u.IsKnown(), err, known)
		}
	}
	for _, s := range []string{"", "4c4c4544", s + "0", strings.ReplaceAll(s, "-", "0"), strings.ReplaceAll(s, "4", "-")} {
		if _, err := ParseUUID(s); err == nil {
			t.Errorf("ParseUUID(%q): no error", s)
		}
	}
}

// TestClientOfType has every row of the registry that firmware was seen to
// send, and those next to them that no loader exists for.
func TestClientOfType(t *testing.T) {
	for _, row := range []struct {
		option93 uint16
		firmware Firmware
		arch     Arch
		http, ok bool
	}{
		{0, BIOS, X86_64, false, true},
		{1, "", "", false, false}, // NEC/PC98
		{2, "", "", false, false}, // Itanium
		{6, EFI, I386, false, true},
		{7, EFI, X86_64, false, true},
		{8, EFI, X86_64, false, true},
		{9, EFI, X86_64, false, true},
		{10, EFI, ARM32, false, true},
		{11, EFI, ARM64, false, true},
		{15, EFI, I386, true, true},
		{16, EFI, X86_64, true, true},
		{18, EFI, ARM32, true, true},
		{19, EFI, ARM64, true, true},
		{20, BIOS, X86_64, true, true},
		{27, EFI, RISCV64, false, true},
		{28, EFI, RISCV64, true, true},
		{39, EFI, LoongArch64, false, true},
		{40, EFI, LoongArch64, true, true},
		{41, RaspberryPi, ARM64, false, true},
		{65535, "", "", false, false},
	} {
		c, ok := ClientOfType(row.option93)
		want := Client{Firmware: row.firmware, Arch: row.arch, HTTP: row.http}
		if ok != row.ok || c != want {
			t.Errorf("option 93 = %d: %+v, %v, want %+v, %v", row.option93, c, ok, want, row.ok)
		}
	}
}

func TestRuns(t *testing.T) {
	for _, row := range []struct {
		machine, kernel Arch
		want            bool
	}{
		{X86_64, X86_64, true}, {X86_64, I386, true}, {I386, X86_64, false}, {ARM64, X86_64, false},
		{ArchUnknown, ARM64, true}, {ARM64, ArchUnknown, true},
	} {
		if got := row.machine.Runs(row.kernel); got != row.want {
			t.Errorf("%q runs %q: %v", row.machine, row.kernel, got)
		}
	}
	if got := ArchOfNixSystem("aarch64-linux"); got != ARM64 {
		t.Errorf("aarch64-linux is %q", got)
	}
}

func TestRunsOurScripts(t *testing.T) {
	for _, row := range []struct {
		name  string
		ipxe  IPXE
		lacks string
	}{
		{"QEMU's ROM of 2019", IPXE{Told: true, HTTP: true, Menu: true, BzImage: true, PXE: true}, ""},
		{"an EFI build has no bzImage feature (netboot#55)", IPXE{Told: true, HTTP: true, Menu: true, EFI: true}, ""},
		{"VirtualBox's ROM has no HTTP (netboot#51)", IPXE{Told: true, Menu: true, BzImage: true}, "HTTP"},
		{"no menu", IPXE{Told: true, HTTP: true, BzImage: true}, "menus"},
		{"no Linux", IPXE{Told: true, HTTP: true, Menu: true}, "Linux kernels (bzImage)"},
		{"says nothing", IPXE{}, "a list of its features (option 175)"},
	} {
		if ok, lacks := row.ipxe.RunsOurScripts(); lacks != row.lacks || ok != (row.lacks == "") {
			t.Errorf("%s: %v, lacks %q, want %q", row.name, ok, lacks, row.lacks)
		}
	}
}
