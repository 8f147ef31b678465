package assets

import (
	"path"
	"strings"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
)

// knownDirs are the places where distributions install iPXE for others to use:
// Debian; Fedora and Arch; NixOS and nix-env. They are searched after the
// configured ones.
var knownDirs = []string{
	"/usr/lib/ipxe",
	"/usr/share/ipxe",
	"/run/current-system/sw/share/ipxe",
	"/nix/var/nix/profiles/default",
}

// knownFiles are loaders that lie in a directory that has much else in it, of
// which nothing may be served: Debian 12 puts ipxe.efi beside its kernels.
var knownFiles = map[string]string{
	"ipxe.efi": "/boot/ipxe.efi",
}

// target is what a loader is built for.
type target struct {
	name     string // as boot.LoaderNames has it
	firmware machine.Firmware
	arch     machine.Arch
}

var targets = allTargets()

func allTargets() []target {
	var all []target
	seen := map[string]bool{}
	for _, f := range []machine.Firmware{machine.BIOS, machine.EFI} {
		for _, a := range []machine.Arch{
			machine.X86_64, machine.ARM64, machine.I386, machine.RISCV64, machine.LoongArch64, machine.ARM32, machine.RISCV32,
		} {
			for _, name := range boot.LoaderNames(f, a) {
				if !seen[name] {
					seen[name] = true
					all = append(all, target{name, f, a})
				}
			}
		}
	}
	return all
}

// snponly reports whether the loader leaves the NIC to the firmware's driver.
func (t target) snponly() bool { return strings.HasPrefix(t.name, "snponly") }

// spellings are the paths below a directory under which distributions have the
// loader, the best first. A path without the architecture in it means that of
// whatever machine the package was built for, so the file itself must tell.
func (t target) spellings() []string {
	if t.firmware == machine.BIOS {
		return []string{t.name, t.name + ".0"} // nixpkgs has both
	}
	base, arch := "ipxe.efi", string(t.arch)
	if t.snponly() {
		base = "snponly.efi"
	}
	paths := []string{t.name}
	for _, a := range append([]string{arch}, otherNames[t.arch]...) {
		if t.snponly() {
			paths = append(paths, "ipxe-snponly-"+a+".efi", "snponly-"+a+".efi") // Fedora
		} else {
			paths = append(paths, "ipxe-"+a+".efi") // Debian 13, Fedora
		}
	}
	for _, dir := range []string{arch, arch + "-efi", "bin-" + arch + "-efi"} { // Arch, Fedora, iPXE's own build
		paths = append(paths, dir+"/"+base)
	}
	paths = append(paths, base) // nixpkgs on a machine of this architecture
	if t.snponly() {
		// nixpkgs builds snp.efi, which drives the NIC by the firmware's driver
		// too, but every NIC and not only the one that booted.
		paths = append(paths, arch+"/snp.efi", "bin-"+arch+"-efi/snp.efi", "snp.efi")
	}
	return paths
}

// otherNames are the architectures' names in distributions' file names.
var otherNames = map[machine.Arch][]string{
	machine.X86_64: {"amd64"},
	machine.ARM64:  {"aarch64"},
}

// aliases maps distributions' paths to the loader's name here, for machines
// that another DHCP server sends after such a path. Paths that fit several
// architectures are left out, but for those that are names already.
var aliases = allAliases()

func allAliases() map[string]string {
	known := map[string]string{}
	for _, t := range targets {
		for _, spelling := range t.spellings() {
			generic := path.Base(spelling) == spelling && !strings.Contains(spelling, "-")
			if _, taken := known[spelling]; !taken && !generic {
				known[spelling] = t.name
			}
		}
	}
	for _, t := range targets {
		known[t.name] = t.name
	}
	return known
}
