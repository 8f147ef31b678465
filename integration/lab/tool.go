package lab

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// packages says which Debian package brings a program or file that the boots
// need.
var packages = map[string]string{
	"qemu-system-x86_64":  "qemu-system-x86",
	"qemu-system-aarch64": "qemu-system-arm",
	"dnsmasq":             "dnsmasq-base",
	"dhcrelay":            "isc-dhcp-relay",
	"mksquashfs":          "squashfs-tools",
	"modprobe":            "kmod",
	"nix-build":           "nix-bin",
	"nix-env":             "nix-bin",
	"tcpdump":             "tcpdump",
	"busybox":             "busybox-static",

	"/usr/share/OVMF/OVMF_CODE_4M.fd":   "ovmf",
	"/usr/share/OVMF/OVMF_VARS_4M.fd":   "ovmf",
	"/usr/share/AAVMF/AAVMF_CODE.fd":    "qemu-efi-aarch64",
	"/usr/share/AAVMF/AAVMF_VARS.fd":    "qemu-efi-aarch64",
	"/usr/lib/ipxe/undionly.kpxe":       "ipxe",
	"/usr/lib/ipxe/snponly.efi":         "ipxe",
	"/boot/ipxe.efi":                    "ipxe",
	"/usr/lib/ipxe/qemu/efi-virtio.rom": "ipxe-qemu",
}

// Tool finds a program. A missing one fails the test with the command that
// installs it: a boot that was not tried must not look like one that worked.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		// Debian keeps servers out of an ordinary user's PATH.
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatal(Missing(name))
	}
	return path
}

// File is the same for a file at a fixed place.
func File(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(Missing(path))
	}
	return path
}

// Missing says what to do about a program or file that is not there.
func Missing(name string) error {
	if pkg, known := packages[name]; known {
		return fmt.Errorf("%s is missing: apt-get install %s", name, pkg)
	}
	return fmt.Errorf("%s is missing", name)
}
