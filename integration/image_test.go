//go:build boots

package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// TestSquashfsImage boots a labsync-like image: a kernel, two initrds, and a
// root file system whose address is among the kernel's arguments. The machine
// fetches and mounts it.
func TestSquashfsImage(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	kernel, err := fixture.FindKernel()
	check(t, err)
	first, err := fixture.Initrd(kernel)
	check(t, err)
	second, err := fixture.ExtraInitrd("second-initrd")
	check(t, err)
	lab.Tool(t, "mksquashfs")
	root, err := fixture.Squashfs(l.Dir(), "labsync-2026")
	check(t, err)
	p := newProfile(t, l, 1)
	l.Serve(config(dhcpServer, quickMenu, p.toml(), `
[[image]]
name = "labsync"
label = "Lab image of 2026"
kernel = "`+kernel.Image+`"
initrd = ["`+l.Write("first.img", string(first))+`", "`+l.Write("second.img", string(second))+`"]
args = "`+kernelParams+` labtest.squashfs={url}/`+filepath.Base(root)+`"
files = ["`+root+`"]
arch = ["x86_64"]

[default]
action = "menu"
profile = "lab"
default = "labsync"
`))

	m := l.Boot(lab.Spec{Path: "ROM iPXE, squashfs image", Memory: 768})
	s := booted(m)
	if s.Initrd != "second-initrd" {
		t.Errorf("initrds brought %q, want second-initrd; command line %s", s.Initrd, s.Line)
	}
	if url := s.Args["labtest.squashfs"]; !strings.HasPrefix(url, "http://"+lab.Address+"/") {
		t.Errorf("{url} became %q, want the server's own address", url)
	}
	m.Expect("RAVENBOOT-SQUASHFS labsync-2026")
	m.Off()
}

// TestLocalDiskByKey leaves the network for the disk from the menu, by the
// firmware's own list of what to boot next. With PXE on, OVMF would come back by
// HTTP Boot first: both are ahead of the disk.
func TestLocalDiskByKey(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	p := newProfile(t, l, 1)
	disk, err := fixture.UEFIDisk(l.Dir())
	check(t, err)
	l.Serve(config(dhcpServer, slowMenu, forEveryone, p.toml()))

	m := l.Boot(lab.Spec{Firmware: lab.UEFIHTTP, Path: "snponly.efi, then local disk", Disk: disk})
	m.ExpectMenu("26.05.1", "Local disk")
	m.Send("l")
	m.Expect(fixture.LocalDisk)
}

// TestUnknownMachine goes on to the disk of a machine that the configuration
// doesn't want to boot: at once under "local", after the firmware has given up
// under "ignore". (Under "menu" it gets the menu, as in most tests.)
func TestUnknownMachine(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		firmware lab.Firmware
		action   string
		disk     func(dir string) (string, error)
	}{
		{lab.BIOS, "local", fixture.BIOSDisk},
		{lab.UEFI, "local", fixture.UEFIDisk},
		{lab.BIOS, "ignore", fixture.BIOSDisk},
	} {
		t.Run(b.firmware.String()+" "+b.action, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1)
			p := newProfile(t, l, 1)
			disk, err := b.disk(l.Dir())
			check(t, err)
			server := l.Serve(config(dhcpServer, quickMenu, p.toml(), host("lab-01", lab.MAC(1)), `
[default]
action = "`+b.action+`"
profile = "lab"
`))
			m := l.Boot(lab.Spec{Firmware: b.firmware, Path: "unknown machine, action " + b.action, Disk: disk, NICs: []lab.NIC{{MAC: lab.MAC(66)}}})
			m.Expect(fixture.LocalDisk)
			server.ExpectLog(lab.Patience, lab.MAC(66), b.action)
			if strings.Contains(m.Transcript(), "26.05.1") {
				t.Errorf("an unknown machine saw the menu under action %q", b.action)
			}
		})
	}
}
