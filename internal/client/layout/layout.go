// Package layout puts a disk in the order that a generation declares: it says
// what is on the disk, compares that with the declaration, and, when asked to,
// makes it so. It knows partition tables, signatures of file systems, and the
// mkfs programs. It must not know policies, servers, or what a disk is for.
//
// Nothing but Make writes. Make destroys, so that what it leaves behind when
// the power goes must never be taken for a finished disk, nor for somebody
// else's. That hangs on one sector, the first:
//
//  1. Before anything else Make writes a mark into its boot code, and flushes.
//     The mark says that ravenboot is making this disk (its serial number,
//     WWID and size), the GUID that the new table will have, and what table
//     and signature the disk had before.
//  2. Then it clears the old table at both ends, writes the new one, makes the
//     file systems, flushes, and reads all of it back.
//  3. Only then is the mark taken away. Disks write a sector whole or not at
//     all, so that this is the commit.
//
// A disk with a mark is Unfinished, whatever else is on it, and Make starts
// over: a file system that is half there is made again. The mark doesn't count
// if it was copied from another disk, or if the disk has got another table
// since, because fdisk and its kin leave boot code alone: then somebody has
// put the disk to another use.
//
// A finished disk is known as ravenboot's by the first six bytes of its GUID,
// which survive a boot loader in the first sector.
package layout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// Layout is a declared layout. It is valid: Parse made it.
type Layout struct {
	Disk       Rule
	Partitions []Partition // numbered from 1, in this order
}

// Rule says which disk is meant. Exactly one of its parts is set.
type Rule struct {
	Path string // of the device or a link to it
	ByID string // a name below /dev/disk/by-id
	Size *SizeRule
}

// SizeRule fits a disk whose size in bytes lies between both ends.
type SizeRule struct {
	Min, Max uint64
}

// Partition is a declared partition.
type Partition struct {
	Label       string
	Type        uuid.UUID
	Size        uint64 // bytes; Rest for what the others leave
	Format      Format
	FormatLabel string
	MountPoint  string // "" for none
}

// Rest is the size of a partition that reaches to the end of the disk.
const Rest = 0

// Format is what a partition is formatted as.
type Format string

// The formats that can be declared. With None the partition's content is
// nobody's business: a boot loader's, or that of an encrypted volume.
const (
	None  Format = ""
	Ext4  Format = "ext4"
	XFS   Format = "xfs"
	Btrfs Format = "btrfs"
	VFAT  Format = "vfat"
	Swap  Format = "swap"
)

// maker is the program that makes a format, and where its limits lie.
type maker struct {
	program  string
	pkg      string // that has the program, in NixOS and in Debian
	label    int    // bytes of a label, at most
	smallest uint64 // bytes that the program wants, at least
	mounts   bool
	args     func(p placed, sector uint) []string
}

// makers are told to overwrite where they would ask: Make has wiped what was
// there, and nobody is there to answer. xfsprogs 5.19 and later refuse less
// than what stands here; mkswap ends a label with a zero in its 16 bytes.
var makers = map[Format]maker{
	Ext4:  {"mkfs.ext4", "e2fsprogs", 16, 8 * mib, true, options("-L", "-q", "-F")},
	XFS:   {"mkfs.xfs", "xfsprogs", 12, 300 * mib, true, options("-L", "-q", "-f")},
	Btrfs: {"mkfs.btrfs", "btrfs-progs", 255, 128 * mib, true, options("-L", "-q", "-f")},
	VFAT:  {"mkfs.vfat", "dosfstools", 11, 2 * mib, true, vfatOptions},
	Swap:  {"mkswap", "util-linux", 15, mib, false, options("-L")},
}

func options(label string, always ...string) func(placed, uint) []string {
	return func(p placed, _ uint) []string {
		if p.FormatLabel == "" {
			return always
		}
		return append(slices.Clone(always), label, p.FormatLabel)
	}
}

// vfatOptions ask for FAT32, which UEFI 2.10, 13.3 wants of a system partition,
// wherever the partition has room for the 65525 clusters that make a FAT that.
func vfatOptions(p placed, sector uint) []string {
	if p.size/uint64(sector) < 66<<10 {
		return options("-n")(p, sector)
	}
	return options("-n", "-F", "32")(p, sector)
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// alignment is where partitions start and end. The first copy of the table
// stands before the first partition; the second, at the end of the disk, takes
// at most tableSize: 128 entries, and whole sectors of 4096 bytes.
const (
	alignment = mib
	tableSize = 16*kib + 2*4096
)

// placed is a declared partition with its place on a disk, in bytes.
type placed struct {
	Partition
	start, size uint64
}

// place puts the partitions onto a disk of so many bytes.
func (l Layout) place(size uint64) ([]placed, error) {
	start, end := uint64(alignment), (size-min(size, tableSize))/alignment*alignment
	var out []placed
	for i, p := range l.Partitions {
		at := placed{Partition: p, start: start, size: p.Size}
		if p.Size == Rest {
			at.size = end - min(start, end)
		}
		least := cmp.Or(makers[p.Format].smallest, alignment)
		if start > end || at.size > end-start || at.size < least {
			return nil, fmt.Errorf("partitions[%d] (%q) doesn't fit: the disk has %s, of which the partitions before it leave %s; "+
				"declare smaller sizes, or another disk", i, p.Label, sizeText(size), sizeText(end-min(start, end)))
		}
		start += at.size
		out = append(out, at)
	}
	return out, nil
}

// typeNames are the types that can be declared by name: UEFI's, GRUB's and
// those of the UAPI group's Discoverable Partitions Specification.
var typeNames = map[string]uuid.UUID{
	"esp":         uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
	"bios-boot":   uuid.MustParse("21686148-6449-6e6f-744e-656564454649"),
	"xbootldr":    uuid.MustParse("bc13c2ff-59e6-4262-a352-b275fd6f7172"),
	"linux":       uuid.MustParse("0fc63daf-8483-4772-8e79-3d69d8477de4"),
	"swap":        uuid.MustParse("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
	"home":        uuid.MustParse("933ac7e1-2eb4-4f13-b844-0e14e2aef915"),
	"srv":         uuid.MustParse("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"),
	"var":         uuid.MustParse("4d21b016-b534-45c2-a9fb-5c16e091fd2d"),
	"root-x86-64": uuid.MustParse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
	"root-arm64":  uuid.MustParse("b921b045-1df0-41c3-af44-4c6f280d3fae"),
	"lvm":         uuid.MustParse("e6d6d379-f507-44c2-a23c-238f2a3df928"),
	"raid":        uuid.MustParse("a19d880f-05fc-4d3b-a006-743f0f84911e"),
}

// foreignTypes are shown by name, because labs have disks with Windows on.
var foreignTypes = map[uuid.UUID]string{
	uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"): "Windows data",
	uuid.MustParse("e3c9e316-0b5c-4db8-817d-f92df00215ae"): "Windows reserved",
	uuid.MustParse("de94bba4-06d1-4d40-a16a-bfd50179d6ac"): "Windows recovery",
}

// typeText is the name of a type, or its GUID.
func typeText(t uuid.UUID) string {
	for name, guid := range typeNames {
		if guid == t {
			return name
		}
	}
	if name, ok := foreignTypes[t]; ok {
		return name
	}
	return t.String()
}

func sortedNames() []string {
	var names []string
	for name := range typeNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
