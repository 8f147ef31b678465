package layout

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Disk is a disk of this machine.
type Disk struct {
	Path       string // /dev/vda
	Size       uint64 // bytes
	SectorSize uint   // logical
	Model      string
	Serial     string
	WWID       string
	IDs        []string // what it is called below /dev/disk/by-id

	// Unfit says why no rule takes the disk: "removable", "on USB", ... Only
	// its path does; on USB, only that of a link to it.
	Unfit string
	// InUse says what holds the disk, if anything does.
	InUse string
}

// Disks lists the disks of this machine.
func Disks() ([]Disk, error) { return disksBelow("/") }

// disksBelow takes the root directory of the machine, where /sys, /dev and
// /proc are.
func disksBelow(root string) ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(root, "sys/block"))
	if err != nil {
		return nil, fmt.Errorf("the kernel's list of disks can't be read: %w; is sysfs mounted?", err)
	}
	s := scan{root: root, links: map[string][]string{}}
	s.readLinks()
	s.readUses()
	var disks []Disk
	for _, e := range entries {
		if d, ok := s.disk(e.Name()); ok {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// scan is what is known of all disks at once.
type scan struct {
	root  string
	links map[string][]string // device name -> names below /dev/disk/by-id
	uses  map[string]string   // device name or MAJOR:MINOR -> what holds it
}

// read is "" for what isn't there: drivers differ in what they tell.
func (s scan) read(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(append([]string{s.root, "sys/block"}, parts...)...))
	if err != nil {
		return ""
	}
	return strings.TrimFunc(string(b), func(r rune) bool { return unicode.IsSpace(r) || r == 0 })
}

// readLinks reads what udev has made, where there is one.
func (s scan) readLinks() {
	dir := filepath.Join(s.root, "dev/disk/by-id")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			s.links[filepath.Base(to)] = append(s.links[filepath.Base(to)], e.Name())
		}
	}
}

// readUses reads what is mounted, and what is swapped to. A mount of Btrfs has
// a device number of its own, so that both the number and the name count.
func (s *scan) readUses() {
	s.uses = map[string]string{}
	mounts, _ := os.ReadFile(filepath.Join(s.root, "proc/self/mountinfo"))
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 2 {
			continue
		}
		what := "mounted on " + f[4]
		s.uses[f[2]] = what
		if strings.HasPrefix(g[1], "/dev/") {
			s.uses[sysfsName(g[1])] = what
		}
	}
	swaps, _ := os.ReadFile(filepath.Join(s.root, "proc/swaps"))
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "/dev/") {
			s.uses[sysfsName(f[0])] = "used as swap"
		}
	}
}

// sysfsName is how sysfs calls a device below /dev: slashes can't be in a name
// there.
func sysfsName(path string) string {
	return strings.ReplaceAll(strings.TrimPrefix(path, "/dev/"), "/", "!")
}

func devicePath(name string) string {
	return filepath.Join("/dev", strings.ReplaceAll(name, "!", "/"))
}

// disk is false for what has no size, as drives without a medium, or isn't for
// use by itself, as the single ways to an NVMe disk with several.
func (s scan) disk(name string) (Disk, bool) {
	const sysfsSector = 512 // of every size in sysfs
	sectors, err := strconv.ParseUint(s.read(name, "size"), 10, 64)
	if err != nil || sectors == 0 || sectors > maxSize/sysfsSector || s.read(name, "hidden") == "1" {
		return Disk{}, false
	}
	sector, err := strconv.ParseUint(s.read(name, "queue/logical_block_size"), 10, 16)
	if err != nil {
		sector = sysfsSector
	}
	d := Disk{
		Path:       devicePath(name),
		Size:       sectors * sysfsSector,
		SectorSize: uint(sector),
		Model:      s.read(name, "device/model"),
		Serial:     cmp.Or(s.read(name, "serial"), s.read(name, "device/serial"), s.vitalSerial(name)),
		WWID:       cmp.Or(s.read(name, "wwid"), s.read(name, "device/wwid")),
	}
	d.IDs = s.ids(name, d)
	d.Unfit, d.InUse = s.unfit(name), s.inUse(name)
	return d, true
}

// vitalSerial is the serial number of a SCSI or SATA disk, behind the four
// bytes of a vital product data page's header (SPC-4, 7.8.18).
func (s scan) vitalSerial(name string) string {
	b, err := os.ReadFile(filepath.Join(s.root, "sys/block", name, "device/vpd_pg80"))
	if err != nil || len(b) < 4 {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(b[4:]), "\x00"))
}

// ids adds to udev's names those that follow from sysfs: not every initrd has
// udev's rules for disks.
func (s scan) ids(name string, d Disk) []string {
	ids := slices.Clone(s.links[name])
	underscored := func(text string) string { return strings.Join(strings.Fields(text), "_") }
	switch {
	case strings.HasPrefix(name, "vd") && d.Serial != "":
		ids = append(ids, "virtio-"+underscored(d.Serial))
	case strings.HasPrefix(name, "nvme"):
		if d.Model != "" && d.Serial != "" {
			ids = append(ids, "nvme-"+underscored(d.Model)+"_"+underscored(d.Serial))
		}
		if d.WWID != "" {
			ids = append(ids, "nvme-"+underscored(d.WWID))
		}
	}
	if number, ok := strings.CutPrefix(d.WWID, "naa."); ok {
		ids = append(ids, "wwn-0x"+number)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// notDisks are the names of block devices that are something else: made of
// memory, of files, of other disks, of a server's, or read by light. Their place
// in sysfs doesn't tell, because an NVMe disk with several ways to it is below
// /sys/devices/virtual, too.
var notDisks = []string{"loop", "ram", "zram", "dm-", "md", "nbd", "rbd", "drbd", "sr", "fd", "mtdblock", "ublkb"}

// onUSB is why sticks are no rule's.
const onUSB = "on USB"

func (s scan) unfit(name string) string {
	for _, prefix := range notDisks {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return "no disk of its own"
		}
	}
	device, _ := filepath.EvalSymlinks(filepath.Join(s.root, "sys/block", name))
	switch {
	case strings.HasPrefix(name, "mmcblk") && strings.Contains(name, "boot"):
		return "a boot area of another disk"
	case s.read(name, "ro") == "1":
		return "read-only"
	case strings.Contains(device, "/usb"):
		return onUSB
	case s.read(name, "removable") == "1":
		return "removable"
	}
	return ""
}

// inUse looks at the disk and its partitions.
func (s scan) inUse(name string) string {
	children, _ := filepath.Glob(filepath.Join(s.root, "sys/block", name, "*/partition"))
	devices := []string{name}
	for _, c := range children {
		devices = append(devices, filepath.Join(name, filepath.Base(filepath.Dir(c))))
	}
	for _, d := range devices {
		base := filepath.Base(d)
		shown := devicePath(base) + " is "
		if use := cmp.Or(s.uses[base], s.uses[s.read(d, "dev")]); use != "" {
			return shown + use
		}
		holders, _ := os.ReadDir(filepath.Join(s.root, "sys/block", d, "holders"))
		if len(holders) > 0 {
			return shown + "part of " + devicePath(holders[0].Name())
		}
	}
	return ""
}

// Find says which of the disks the layout means: exactly one, that nothing
// uses. The error lists all of them.
func (l Layout) Find(disks []Disk) (Disk, error) {
	fits, what := l.Disk.fits()
	var found []Disk
	for _, d := range disks {
		if fits(d) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return Disk{}, fmt.Errorf("no disk is %s; %s", what, list(disks))
	case len(found) > 1:
		return Disk{}, fmt.Errorf("%d disks are %s, and it must be one; declare it by path or byId; %s", len(found), what, list(disks))
	case found[0].InUse != "":
		return Disk{}, fmt.Errorf("%s is in use: %s", found[0].Path, found[0].InUse)
	case found[0].Unfit == onUSB && l.Disk.Path == found[0].Path:
		// The kernel gives out sda as disks answer. Where the machine's own is
		// late, broken or an NVMe, that is the stick that somebody left in it.
		return Disk{}, fmt.Errorf("%s is on USB, where its name goes to whatever is plugged in; "+
			"if it is meant, declare its path below /dev/disk/by-id or /dev/disk/by-path", found[0].Path)
	}
	return found[0], nil
}

// fits says what the rule asks for, in words too.
func (r Rule) fits() (func(Disk) bool, string) {
	switch {
	case r.Path != "":
		path, err := filepath.EvalSymlinks(r.Path)
		if err != nil {
			path = r.Path
		}
		return func(d Disk) bool { return d.Path == path }, r.Path
	case r.ByID != "":
		return func(d Disk) bool { return d.Unfit == "" && slices.Contains(d.IDs, r.ByID) }, quoted(r.ByID) + " by its id"
	}
	what := fmt.Sprintf("at least %s large", sizeText(r.Size.Min))
	switch {
	case r.Size.Min == 0:
		what = fmt.Sprintf("at most %s large", sizeText(r.Size.Max))
	case r.Size.Max < maxSize:
		what = fmt.Sprintf("between %s and %s large", sizeText(r.Size.Min), sizeText(r.Size.Max))
	}
	return func(d Disk) bool { return d.Unfit == "" && d.Size >= r.Size.Min && d.Size <= r.Size.Max }, what
}

// list shows disks with what they can be declared by.
func list(disks []Disk) string {
	if len(disks) == 0 {
		return "this machine has no disks that the kernel knows; is the driver in the initrd?"
	}
	var b strings.Builder
	b.WriteString("this machine has")
	for _, d := range disks {
		// A machine's seven empty loop devices have no size, and aren't here.
		fmt.Fprintf(&b, "\n  %s  %s  %s", d.Path, sizeText(d.Size), describe(d))
		if len(d.IDs) > 0 {
			fmt.Fprintf(&b, "\n    byId: %s", printable(strings.Join(d.IDs, " ")))
		}
		if why := cmp.Or(d.Unfit, d.InUse); why != "" {
			fmt.Fprintf(&b, "\n    %s", why)
		}
	}
	return b.String()
}

func describe(d Disk) string {
	return printable(cmp.Or(d.Model, "unknown model") + ", serial " + cmp.Or(d.Serial, "unknown"))
}
