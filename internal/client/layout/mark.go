package layout

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/google/uuid"
)

// mark is what Make writes into the first sector before anything else.
type mark struct {
	disk  [16]byte // which disk it was written to
	table uuid.UUID
	// What the disk had before, and may have again if the power goes right
	// after the mark. Zero for nothing.
	oldTable   uuid.UUID
	oldContent [16]byte
}

const markMagic = "ravenboot making"

// markAt leaves room for bootCode, and keeps clear of the disk signature that
// Windows writes at 440.
const markAt, markSize = 16, 5 * 16

// bootCode is what a BIOS runs that takes the disk for bootable, which any
// with 55 AA at the end of its first sector is: int 18h, which goes on to the
// next boot device, and for a BIOS that comes back, hlt and a jump to it.
var bootCode = []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd}

// firstSector is a first sector with the mark, or with none for nil, and with
// the MBR that protects a GPT (UEFI 2.10, 5.2.3).
func firstSector(m *mark, size uint64, sector uint) []byte {
	b := make([]byte, sector)
	copy(b, bootCode)
	if m != nil {
		copy(b[markAt:], bytes.Join([][]byte{[]byte(markMagic), m.disk[:], m.table[:], m.oldTable[:], m.oldContent[:]}, nil))
	}
	sectors := min(size/uint64(sector)-1, math.MaxUint32)
	copy(b[446:], []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0})
	binary.LittleEndian.PutUint32(b[458:], uint32(sectors))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// readMark is nil where there is none, or where an MBR with partitions of its
// own has been written around it.
func readMark(first []byte, size uint64, sector uint) *mark {
	if string(first[markAt:][:len(markMagic)]) != markMagic {
		return nil
	}
	m := new(mark)
	for i, field := range [][]byte{m.disk[:], m.table[:], m.oldTable[:], m.oldContent[:]} {
		copy(field, first[markAt+16*(i+1):])
	}
	if !bytes.Equal(first[446:510], firstSector(nil, size, sector)[446:510]) {
		return nil
	}
	return m
}

// unfinished says whether the mark tells what f is: it was written to this
// disk, and what is on the disk was there before, or has been made since.
func (m *mark) unfinished(f Found) bool {
	table := f.Table == tableNone || f.Table == tableGPT && (f.GUID == m.table || f.GUID == m.oldTable)
	old := f.Whole.Format == "" || f.Whole.digest() == m.oldContent
	return m.disk == f.Disk.digest() && table && old
}

// digest stands for the disk, wherever it is plugged in.
func (d Disk) digest() [16]byte {
	return short(d.Serial, d.WWID, fmt.Sprint(d.Size))
}

func (c content) digest() [16]byte {
	if c == (content{}) {
		return [16]byte{}
	}
	return short(c.Format, c.Label, c.UUID)
}

func short(parts ...string) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return [16]byte(sum[:])
}

// guidStart is what the GUIDs of disks that ravenboot has made begin with.
const guidStart = "ravenb"

// newGUID is a custom GUID, version 8 (RFC 9562, 5.8).
func newGUID() uuid.UUID {
	var g uuid.UUID
	rand.Read(g[:]) // never fails (crypto/rand)
	copy(g[:], guidStart)
	g[6], g[8] = 0x80|g[6]&0x0f, 0x80|g[8]&0x3f
	return g
}

func isOurs(g uuid.UUID) bool { return string(g[:len(guidStart)]) == guidStart }
