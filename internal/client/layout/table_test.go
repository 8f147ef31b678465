package layout

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"
)

// memory is a disk for go-blockdevice, with no kernel beneath.
type memory struct {
	bytes  []byte
	sector uint
}

func (m *memory) ReadAt(b []byte, at int64) (int, error)          { return copy(b, m.bytes[at:]), nil }
func (m *memory) WriteAt(b []byte, at int64) (int, error)         { return copy(m.bytes[at:], b), nil }
func (m *memory) GetSectorSize() uint                             { return m.sector }
func (m *memory) GetSize() uint64                                 { return uint64(len(m.bytes)) }
func (m *memory) GetIOSize() (uint, error)                        { return m.sector, nil }
func (m *memory) Sync() error                                     { return nil }
func (m *memory) GetKernelLastPartitionNum() (int, error)         { return 0, nil }
func (m *memory) KernelPartitionAdd(int, uint64, uint64) error    { return nil }
func (m *memory) KernelPartitionResize(int, uint64, uint64) error { return unix.ENXIO }
func (m *memory) KernelPartitionDelete(int) error                 { return unix.ENXIO }

// What go-blockdevice writes is read as it was meant, by either copy, and
// placed where the layout has it.
func FuzzTable(f *testing.F) {
	f.Add("esp", "nixos", uint16(1), false)
	f.Add("groß \U0001F427", "", uint16(40), true)
	f.Fuzz(func(t *testing.T, first, second string, size uint16, large bool) {
		l := Layout{Partitions: []Partition{
			{Label: first, Type: typeNames["esp"], Size: uint64(size) * mib}, {Label: second, Type: typeNames["linux"], Size: Rest},
		}}
		sector := uint(512)
		if large {
			sector = 4096
		}
		m := &memory{make([]byte, 64*mib), sector}
		placed, err := l.place(m.GetSize())
		if err != nil || size == 0 || !fits(first) || !fits(second) {
			return
		}
		guid := newGUID()
		written, err := gpt.New(m, gpt.WithDiskGUID(guid))
		if err != nil {
			t.Fatal(err)
		}
		want := table{kind: tableGPT, guid: guid}
		for i, p := range placed {
			if _, _, err := written.AllocatePartition(p.size, p.Label, p.Type, gpt.WithUniqueGUID(uuid.UUID{byte(i + 1)})); err != nil {
				t.Fatal(err)
			}
			want.partitions = append(want.partitions, FoundPartition{
				Number: i + 1, Label: p.Label, Type: p.Type, GUID: uuid.UUID{byte(i + 1)}, Start: p.start, Size: p.size,
			})
		}
		if err := written.Write(); err != nil {
			t.Fatal(err)
		}
		copy(m.bytes, firstSector(nil, m.GetSize(), sector))
		for _, want.backup = range []bool{false, true} {
			if want.backup {
				want.unseen = unseenCopy
			}
			got, err := readTable(m, m.GetSize(), sector)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(table{})); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			m.bytes[sector]++ // the first copy's signature
		}
	})
}

// fits says whether the label is one that Parse lets through.
func fits(label string) bool {
	back := string(utf16.Decode(utf16.Encode([]rune(label))))
	return back == label && len(utf16.Encode([]rune(label))) <= maxPartitionLabel && !bytes.ContainsRune([]byte(label), 0) &&
		!bytes.ContainsRune([]byte(label), '�')
}

// A table with the right sums may still say anything.
func FuzzHostileTable(f *testing.F) {
	header := make([]byte, 92)
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], 2)
	binary.LittleEndian.PutUint32(header[84:], 128)
	f.Add(header, bytes.Repeat([]byte{0xff}, 256))
	f.Add(bytes.Repeat([]byte{0xff}, 92), []byte{})
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		if len(header) != 92 || len(entries) > mib {
			return
		}
		disk := make([]byte, 2*mib)
		h := disk[512 : 512+92]
		copy(h, header)
		copy(disk[1024:], entries)
		if n := uint64(binary.LittleEndian.Uint32(h[80:])) * uint64(binary.LittleEndian.Uint32(h[84:])); n < mib {
			binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(disk[1024:1024+n]))
		}
		copy(h, "EFI PART")
		binary.LittleEndian.PutUint32(h[12:], 92)
		binary.LittleEndian.PutUint64(h[24:], 1)
		clear(h[16:20])
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))

		got, err := readTable(bytes.NewReader(disk), uint64(len(disk)), 512)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got.partitions {
			if p.Start+p.Size > uint64(len(disk)) {
				t.Fatalf("%+v lies outside the disk", p)
			}
		}
	})
}

// Linux reads no GPT without its MBR, nor the second copy by itself, nor that of
// a larger disk (block/partitions/efi.c): what such a disk has is no use to a
// system that mounts it.
func TestUnseen(t *testing.T) {
	for _, test := range []struct {
		name   string
		size   int64 // the disk's, with a table of 64 MiB
		damage map[int64]byte
		want   string
	}{
		{"whole", 64 * mib, nil, ""},
		{"larger", 65 * mib, nil, ""},
		{"hybrid", 64 * mib, map[int64]byte{462 + 4: 0x0c, 462 + 8: 40, 462 + 12: 1}, ""},
		{"no boot signature", 64 * mib, map[int64]byte{510: 0}, unseenMBR},
		{"another type in the MBR", 64 * mib, map[int64]byte{450: 0x83}, unseenMBR},
		{"another start in the MBR", 64 * mib, map[int64]byte{454: 2}, unseenMBR},
		{"damaged header", 64 * mib, map[int64]byte{512 + 60: 1}, unseenCopy},
		{"smaller", 63 * mib, nil, unseenSize},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := image(t, 64*mib)
			tool(t, "label: gpt\nsize=8M\n", "sfdisk", path)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, make([]byte, mib)...)[:test.size]
			for at, value := range test.damage {
				b[at] = value
			}
			got, err := readTable(bytes.NewReader(b), uint64(test.size), 512)
			if err != nil {
				t.Fatal(err)
			}
			if got.kind != tableGPT || len(got.partitions) != 1 || got.unseen != test.want {
				t.Errorf("%+v, want unseen %q", got, test.want)
			}
		})
	}
}
