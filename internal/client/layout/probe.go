package layout

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
)

// content is what a partition or a whole disk has been formatted as. The zero
// value is none that is known.
type content struct {
	Format string // a Format, or another word for those that are only shown
	Label  string
	UUID   string // hex, only ever compared
}

// signature is what tells a format by a few bytes at a fixed place.
type signature struct {
	format string
	at     int64 // from the end, where negative
	magic  string
}

// signatures of what can't be declared, so that a refusal says what would be
// lost. They come before the formats that can be: an NTFS or a volume of a
// RAID must not pass for what an earlier owner left beneath it.
//
// go-blockdevice has probes too, but none for Btrfs, NTFS, exFAT or RAID.
var signatures = []signature{
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"BitLocker", 3, "-FVE-FS-"},
	{"NTFS", 3, "NTFS    "},
	{"exFAT", 3, "EXFAT   "},
	{"squashfs", 0, "hsqs"},
	{"APFS", 32, "NXSB"},
	{"LVM", 512, "LABELONE"},
	{"RAID", 0, "\xfc\x4e\x2b\xa9"},
	{"RAID", 4096, "\xfc\x4e\x2b\xa9"},
	{"RAID", -8192, "\xfc\x4e\x2b\xa9"},
	{"HFS+", 1024, "H+"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"bcachefs", 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"ISO 9660", 32769, "CD001"},
}

// probe says what the volume holds. The error is that of the disk: what is
// too short, or half there, is just not known.
func probe(volume *io.SectionReader) (content, error) {
	r := &prober{volume: volume}
	for _, s := range signatures {
		if string(r.at(s.at, len(s.magic))) == s.magic {
			return content{Format: s.format}, r.err
		}
	}
	for _, known := range []func(*prober) content{(*prober).ext, (*prober).xfs, (*prober).btrfs, (*prober).vfat, (*prober).swap} {
		if c := known(r); c.Format != "" {
			return c, r.err
		}
	}
	return content{}, r.err
}

// prober keeps the first error, so that nothing reads on from a bad disk.
type prober struct {
	volume *io.SectionReader
	err    error
}

// at returns zeroes for what lies outside the volume.
func (r *prober) at(offset int64, n int) []byte {
	b := make([]byte, n)
	if offset < 0 {
		offset += r.volume.Size()
	}
	if r.err != nil || offset < 0 || offset+int64(n) > r.volume.Size() {
		return b
	}
	if _, r.err = r.volume.ReadAt(b, offset); r.err != nil {
		clear(b)
	}
	return b
}

func label(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// ext tells ext4 from its elders by features that they don't have (Linux,
// fs/ext4/ext4.h).
func (r *prober) ext() content {
	const extents, is64bit, flexBG, journalDevice = 0x40, 0x80, 0x200, 0x8
	const hugeFile, gdtCsum, dirNlink, extraIsize, metadataCsum = 0x8, 0x10, 0x20, 0x40, 0x400
	b := r.at(1024, 256)
	incompat, compat := binary.LittleEndian.Uint32(b[96:]), binary.LittleEndian.Uint32(b[92:])
	c := content{Label: label(b[120:136]), UUID: hex.EncodeToString(b[104:120])}
	switch readOnly := binary.LittleEndian.Uint32(b[100:]); {
	case b[56] != 0x53 || b[57] != 0xef:
		return content{}
	case incompat&journalDevice != 0:
		c.Format = "ext journal"
	case incompat&(extents|is64bit|flexBG) != 0, readOnly&(hugeFile|gdtCsum|dirNlink|extraIsize|metadataCsum) != 0:
		c.Format = string(Ext4)
	case compat&0x4 != 0: // has a journal
		c.Format = "ext3"
	default:
		c.Format = "ext2"
	}
	return c
}

func (r *prober) xfs() content {
	b := r.at(0, 120)
	if string(b[:4]) != "XFSB" {
		return content{}
	}
	return content{Format: string(XFS), Label: label(b[108:120]), UUID: hex.EncodeToString(b[32:48])}
}

func (r *prober) btrfs() content {
	b := r.at(64*kib, 1024)
	if string(b[64:72]) != "_BHRfS_M" {
		return content{}
	}
	return content{Format: string(Btrfs), Label: label(b[299 : 299+256]), UUID: hex.EncodeToString(b[32:48])}
}

// vfat takes a boot sector only if its figures can be: the two bytes at its
// end are those of every MBR.
func (r *prober) vfat() content {
	b := r.at(0, 512)
	perSector, perCluster := int64(binary.LittleEndian.Uint16(b[11:])), int64(b[13])
	reserved, fats := int64(binary.LittleEndian.Uint16(b[14:])), int64(b[16])
	if b[510] != 0x55 || b[511] != 0xaa || !powerOf2(perSector) || !powerOf2(perCluster) ||
		perSector < 512 || perSector > 4096 || reserved == 0 || fats == 0 {
		return content{}
	}
	c := content{Format: string(VFAT)}
	var root, size int64
	switch fat16, fat32 := int64(binary.LittleEndian.Uint16(b[22:])), int64(binary.LittleEndian.Uint32(b[36:])); {
	case string(b[82:87]) == "FAT32" && fat16 == 0:
		c.UUID = hex.EncodeToString(b[67:71])
		cluster := int64(binary.LittleEndian.Uint32(b[44:])) - 2
		root, size = (reserved+fats*fat32+cluster*perCluster)*perSector, perCluster*perSector
	case string(b[54:57]) == "FAT":
		c.UUID = hex.EncodeToString(b[39:43])
		root, size = (reserved+fats*fat16)*perSector, int64(binary.LittleEndian.Uint16(b[17:]))*32
	default:
		return content{}
	}
	c.Label = fatLabel(r.at(root, int(min(size, 64*kib))))
	return c
}

func powerOf2(n int64) bool { return n > 0 && n&(n-1) == 0 }

// fatLabel looks for the label in the root directory. The one in the boot
// sector is a copy, which Windows doesn't keep up to date.
func fatLabel(directory []byte) string {
	const attributes, isLabel, isLongName, deleted = 11, 0x08, 0x0f, 0xe5
	for e := range chunks(directory, 32) {
		switch {
		case e[0] == 0:
			return ""
		case e[0] != deleted && e[attributes]&isLongName != isLongName && e[attributes]&isLabel != 0:
			return strings.TrimRight(string(e[:11]), " ")
		}
	}
	return ""
}

// chunks yields whole pieces only.
func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(b) >= n; b = b[n:] {
			if !yield(b[:n]) {
				return
			}
		}
	}
}

// swap has its signature at the end of a page, of whatever size the CPU's
// pages are. Swap that a machine has hibernated into is swap still: it keeps
// its label, and gets its old signature back when the machine wakes.
func (r *prober) swap() content {
	for _, page := range []int64{4 * kib, 8 * kib, 16 * kib, 64 * kib} {
		switch string(r.at(page-10, 10)) {
		case "SWAPSPACE2", "S1SUSPEND\x00":
			b := r.at(1024, 44)
			return content{Format: string(Swap), Label: label(b[28:44]), UUID: hex.EncodeToString(b[12:28])}
		}
	}
	return content{}
}
