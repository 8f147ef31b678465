package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/google/uuid"
)

// Kinds of partition tables.
const (
	tableNone = ""
	tableGPT  = "GPT"
	tableMBR  = "MBR"
)

// table is what a disk says of its partitions. go-blockdevice reads such
// tables too, but leaves out partitions before the first MiB, where Windows
// has had some, and knows no MBR: here everything counts that somebody may
// want to keep.
type table struct {
	kind       string
	guid       uuid.UUID // of a GPT
	backup     bool      // the GPT's first copy is damaged, this is the second
	unseen     string    // why Linux has no devices for a GPT's partitions; "" if it does
	partitions []FoundPartition
}

// Why Linux doesn't read a GPT (block/partitions/efi.c), unless its command line
// has "gpt". libblkid, and so udev, does read such a one: what is on the disk
// has a name then, and no device.
const (
	unseenMBR  = "the first sector has no MBR that protects a GPT"
	unseenCopy = "the first copy of its GPT is damaged"
	unseenSize = "its GPT is that of a larger disk"
)

// maxEntries bounds a table. The usual ones have 128.
const maxEntries = 1024

// readTable reads whichever copy of a GPT is valid, or an MBR. Damaged tables
// are none. The error is that of the disk.
func readTable(disk io.ReaderAt, size uint64, sector uint) (table, error) {
	last := size/uint64(sector) - 1
	for i, lba := range []uint64{1, last} {
		t, ok, err := readGPT(disk, lba, last, sector)
		if err != nil {
			return table{}, err
		}
		if ok {
			t.backup = i > 0
			if t.backup {
				t.unseen = unseenCopy
			}
			if t.unseen == "" {
				t.unseen, err = unprotected(disk)
			}
			return t, err
		}
	}
	return readMBR(disk, last)
}

// readGPT reads the copy with its header in that sector (UEFI 2.10, 5.3.2).
func readGPT(disk io.ReaderAt, lba, last uint64, sector uint) (table, bool, error) {
	const headerSize, entrySize = 92, 128
	h := make([]byte, sector)
	if _, err := disk.ReadAt(h, int64(lba)*int64(sector)); err != nil {
		return table{}, false, err
	}
	if string(h[:8]) != "EFI PART" {
		return table{}, false, nil
	}
	size := binary.LittleEndian.Uint32(h[12:])
	if size < headerSize || size > uint32(sector) || binary.LittleEndian.Uint64(h[24:]) != lba {
		return table{}, false, nil
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:size]) != sum {
		return table{}, false, nil
	}
	at, count, each := binary.LittleEndian.Uint64(h[72:]), binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if count > maxEntries || each < entrySize || each > 4096 || at < 2 || at > last {
		return table{}, false, nil
	}
	entries := make([]byte, count*each)
	if room := (last + 1 - at) * uint64(sector); uint64(len(entries)) > room {
		return table{}, false, nil
	}
	if _, err := disk.ReadAt(entries, int64(at)*int64(sector)); err != nil {
		return table{}, false, err
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(h[88:]) {
		return table{}, false, nil
	}
	t := table{kind: tableGPT, guid: readGUID(h[56:])}
	if lastUsable := binary.LittleEndian.Uint64(h[48:]); lastUsable > last {
		t.unseen = unseenSize
	}
	for i := range int(count) {
		e := entries[i*int(each):][:entrySize]
		if p := readEntry(e, sector, last); p.Type != uuid.Nil {
			p.Number = i + 1
			t.partitions = append(t.partitions, p)
		}
	}
	return t, true, nil
}

// unprotected is unseenMBR for a disk whose first sector doesn't say that it has
// a GPT: by one partition, of the type ee, that begins at the header.
func unprotected(disk io.ReaderAt) (string, error) {
	b := make([]byte, 512)
	if _, err := disk.ReadAt(b, 0); err != nil {
		return "", err
	}
	for i := range 4 {
		e := b[446+16*i:][:16]
		if b[510] == 0x55 && b[511] == 0xaa && e[4] == 0xee && binary.LittleEndian.Uint32(e[8:]) == 1 {
			return "", nil
		}
	}
	return unseenMBR, nil
}

// readEntry leaves the size of a partition that lies outside the disk at 0.
func readEntry(e []byte, sector uint, last uint64) FoundPartition {
	name := make([]uint16, maxPartitionLabel)
	for i := range name {
		name[i] = binary.LittleEndian.Uint16(e[56+2*i:])
		if name[i] == 0 {
			name = name[:i]
			break
		}
	}
	p := FoundPartition{Type: readGUID(e), GUID: readGUID(e[16:]), Label: string(utf16.Decode(name))}
	from, to := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
	if from <= to && to <= last {
		p.Start, p.Size = from*uint64(sector), (to-from+1)*uint64(sector)
	}
	return p
}

// readGUID reads a GUID as UEFI stores it: the first three fields are little
// endian (UEFI 2.10, appendix A).
func readGUID(b []byte) uuid.UUID {
	return uuid.UUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// readMBR reads the four primary partitions. Those inside an extended one
// are behind it, and an MBR is foreign either way. Its sectors have 512 bytes
// wherever it is still met.
func readMBR(disk io.ReaderAt, last uint64) (table, error) {
	b := make([]byte, 512)
	if _, err := disk.ReadAt(b, 0); err != nil {
		return table{}, err
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return table{}, nil
	}
	t := table{kind: tableMBR}
	for i := range 4 {
		e := b[446+16*i:][:16]
		start, size := uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
		switch {
		case bytes.Equal(e, make([]byte, 16)):
		// The boot sector of a FAT or an NTFS ends in the same two bytes, and
		// has text and code here.
		case e[0]&0x7f != 0 || e[4] == 0 || start == 0 || start > last:
			return table{}, nil
		case e[4] == 0xee: // what protects a GPT is no partition
		default:
			t.partitions = append(t.partitions, FoundPartition{
				Number: i + 1, MBRType: fmt.Sprintf("MBR type %02x", e[4]), Start: start * 512, Size: size * 512,
			})
		}
	}
	if len(t.partitions) == 0 {
		return table{}, nil
	}
	return t, nil
}
