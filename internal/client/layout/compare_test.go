package layout

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
)

// labDisk has lab on it.
func labDisk(t *testing.T) Found {
	t.Helper()
	d := Disk{Path: "/dev/vda", Size: 40 * gib, SectorSize: 512, Model: "QEMU HARDDISK", Serial: "LAB1"}
	placed, err := mustParse(t, lab).place(d.Size)
	if err != nil {
		t.Fatal(err)
	}
	f := Found{Disk: d, Table: tableGPT, GUID: newGUID()}
	copy(f.GUID[6:], "0123456789") // or every run would have another refusal
	for i, p := range placed {
		f.Partitions = append(f.Partitions, FoundPartition{
			Number: i + 1, Label: p.Label, Type: p.Type, Start: p.start, Size: p.size,
			Holds: content{Format: string(p.Format), Label: p.FormatLabel},
		})
	}
	return f
}

func windows(f *Found) {
	f.GUID = uuid.UUID{1}
	f.Partitions = []FoundPartition{
		{Number: 1, Label: "EFI system partition", Type: typeNames["esp"], Start: mib, Size: 100 * mib, Holds: content{Format: "vfat"}},
		{Number: 2, Label: "Microsoft reserved partition", Type: uuid.MustParse("e3c9e316-0b5c-4db8-817d-f92df00215ae"), Start: 101 * mib, Size: 16 * mib},
		{Number: 3, Label: "Basic data partition", Type: uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), Start: 117 * mib, Size: 39*gib + 512, Holds: content{Format: "NTFS"}},
		{Number: 5, Label: "\x1b[2Jname that is longer than a cell has room", Type: uuid.MustParse("de94bba4-06d1-4d40-a16a-bfd50179d6ac"), Start: 117*mib + 39*gib + 512, Size: 523 * mib, Holds: content{Format: "NTFS"}},
		{Number: 6, Type: uuid.UUID{0xab}},
	}
}

func TestCompare(t *testing.T) {
	foreign := func(change func(*Found)) func(*Found) {
		return func(f *Found) { f.GUID = uuid.UUID{1}; change(f) }
	}
	none := func(f *Found) { f.Table, f.GUID, f.Partitions = tableNone, uuid.Nil, nil }
	marked := func(m mark, change func(*Found)) func(*Found) {
		return func(f *Found) {
			m.disk = f.Disk.digest()
			f.mark = &m
			change(f)
		}
	}
	for _, test := range []struct {
		name   string
		change func(*Found)
		kind   Kind
		why    string
	}{
		{"as declared", func(f *Found) {}, Same, "everything is as declared"},
		{"made by another", foreign(func(*Found) {}), Same, "everything is as declared"},
		{"up to the last sector", func(f *Found) { f.Partitions[3].Size = f.Disk.Size - f.Partitions[3].Start - 34*512 }, Same, "everything is as declared"},
		{"partitions that Linux doesn't see", func(f *Found) { f.Unseen = "no" }, Ours, "Linux sees none of its partitions: no"},
		{"a boot loader where no format is declared", func(f *Found) { f.Partitions[2].Holds.Format = "LUKS" }, Same, "everything is as declared"},
		{"short", func(f *Found) { f.Partitions[3].Size -= 3 * mib }, Ours, "partition 4: its size is 32250M, declared is 32253M"},
		{"larger disk", func(f *Found) { f.Disk.Size *= 2 }, Ours, "partition 4: its size is 32253M, declared is 73213M"},
		{"other size", func(f *Found) { f.Partitions[1].Size -= mib }, Ours, "partition 2: its size is 8191M, declared is 8G"},
		{"sector less", func(f *Found) { f.Partitions[1].Size -= 512 }, Ours, "partition 2: its size is 8192.0M, declared is 8G"},
		{"other type", func(f *Found) { f.Partitions[1].Type = uuid.UUID{1} }, Ours, "partition 2: its type is 01000000-0000-0000-0000-000000000000, declared is swap"},
		{"other label", func(f *Found) { f.Partitions[0].Label = "\x1b[2J" }, Ours, `partition 1: its label is "\x1b[2J", declared is "esp"`},
		{"other format", func(f *Found) { f.Partitions[3].Holds.Format = "btrfs" }, Ours, "partition 4: its format is btrfs, declared is ext4"},
		{"no format", func(f *Found) { f.Partitions[3].Holds = content{} }, Ours, "partition 4: its format is none, declared is ext4"},
		{"other label of the format", func(f *Found) { f.Partitions[3].Holds.Label = "" }, Ours, `partition 4: its format's label is "", declared is "nixos"`},
		{"a label that isn't declared", func(f *Found) { f.Partitions[1].Holds.Label = "swap" }, Ours, `partition 2: its format's label is "swap", declared is ""`},
		{"other number", func(f *Found) { f.Partitions[3].Number = 5 }, Ours, "partition 4: its number is 5"},
		{"missing", func(f *Found) { f.Partitions = f.Partitions[:3] }, Ours, `partition 4 ("nixos") is missing`},
		{"one more", func(f *Found) { f.Partitions = append(f.Partitions, FoundPartition{Number: 5, Label: "data"}) }, Ours, "it has 5 partitions, and 4 are declared"},
		{"other order", func(f *Found) {
			p := f.Partitions
			p[0].Start, p[1].Start = p[1].Start, p[0].Start
		}, Ours, "partition 2 doesn't lie behind partition 1"},
		{"overlapping", func(f *Found) { f.Partitions[1].Start -= 512 }, Ours, "partition 2 doesn't lie behind partition 1"},
		{"outside", func(f *Found) { f.Partitions[3].Start, f.Partitions[3].Size = 0, 0 }, Ours, "partition 4: its size is 0M, declared is 32253M"},
		{"RAID", func(f *Found) { f.Whole.Format = "RAID" }, Ours, "the whole disk has the signature of RAID beside its partition table"},
		{"windows", windows, Foreign, `partition 1: its label is "EFI system partition", declared is "esp"`},
		{"empty table", foreign(func(f *Found) { f.Partitions = nil }), Foreign, `partition 1 ("esp") is missing`},
		{"MBR", func(f *Found) { none(f); f.Table = tableMBR }, Foreign, "its partition table is an MBR, not a GPT"},
		{"whole disk", func(f *Found) { none(f); f.Whole.Format = "btrfs" }, Foreign, "the whole disk is formatted as btrfs, without partitions"},
		{"data", none, Foreign, "there is data on it, but no partition table"},
		{"nothing", func(f *Found) { none(f); f.Empty = true }, Blank, "there is nothing on it"},

		{"marked, nothing else", marked(mark{}, none), Unfinished, "ravenboot was stopped while it made this disk"},
		{"marked, all made", marked(mark{table: uuid.UUID{2}}, func(f *Found) { f.GUID = uuid.UUID{2} }), Unfinished, "ravenboot was stopped while it made this disk"},
		{"marked, old table", marked(mark{table: uuid.UUID{2}, oldTable: uuid.UUID{1}}, windows), Unfinished, "ravenboot was stopped while it made this disk"},
		{"marked, other table", marked(mark{table: uuid.UUID{2}, oldTable: uuid.UUID{3}}, windows), Foreign, `partition 1: its label is "EFI system partition", declared is "esp"`},
		{"marked, old content", marked(mark{oldContent: content{Format: "btrfs"}.digest()}, func(f *Found) { none(f); f.Whole.Format = "btrfs" }),
			Unfinished, "ravenboot was stopped while it made this disk"},
		{"marked, other content", marked(mark{}, func(f *Found) { none(f); f.Whole.Format = "btrfs" }), Foreign, "the whole disk is formatted as btrfs, without partitions"},
		{"marked elsewhere", marked(mark{}, func(f *Found) { none(f); f.Disk.Serial = "LAB2" }), Foreign, "there is data on it, but no partition table"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := labDisk(t)
			test.change(&f)
			v, err := Compare(mustParse(t, lab), f)
			if err != nil {
				t.Fatal(err)
			}
			if v.Kind != test.kind || v.Why != test.why {
				t.Errorf("got  %s, %s\nwant %s, %s", v.Kind, v.Why, test.kind, test.why)
			}
		})
	}
}

func TestSideBySide(t *testing.T) {
	many := func(f *Found) {
		for i := range 900 {
			f.Partitions = append(f.Partitions, FoundPartition{Number: i + 5, Label: strings.Repeat("ä", 36), Start: 1 << 50, Size: 1<<50 + 1})
		}
	}
	var all strings.Builder
	for _, change := range []func(*Found){
		func(*Found) {}, windows, many,
		func(f *Found) {
			*f = Found{Disk: f.Disk, Table: tableMBR, Partitions: []FoundPartition{{Number: 1, MBRType: "MBR type 07", Start: 63 * 512, Size: 39 * gib, Holds: content{Format: "NTFS"}}}}
		},
		func(f *Found) { *f = Found{Disk: f.Disk, Whole: content{Format: "btrfs", Label: "data"}} },
		func(f *Found) { *f = Found{Disk: f.Disk, Empty: true}; f.Disk.Model, f.Disk.Serial = "", "" },
	} {
		f := labDisk(t)
		change(&f)
		v, err := Compare(mustParse(t, lab), f)
		if err != nil {
			t.Fatal(err)
		}
		rows := strings.Split(strings.TrimSuffix(v.SideBySide, "\n"), "\n")
		if len(rows) > 24 {
			t.Errorf("%d lines don't fit a screen", len(rows))
		}
		for _, row := range rows {
			if utf8.RuneCountInString(row) > 80 {
				t.Errorf("%q is longer than 80 characters", row)
			}
		}
		fmt.Fprintf(&all, "%s----\n", v.SideBySide)
	}
	golden(t, "side-by-side.txt", all.String())
}

// A refusal stands for one disk, one content and one declaration, but not for
// what the disk is mounted on.
func TestRefusal(t *testing.T) {
	refusalOf := func(text string, change func(*Found)) string {
		f := labDisk(t)
		change(&f)
		v, err := Compare(mustParse(t, text), f)
		if err != nil {
			t.Fatal(err)
		}
		return v.Refusal
	}
	same := refusalOf(lab, func(*Found) {})
	if len(same) != 64 {
		t.Errorf("%q has %d characters", same, len(same))
	}
	if again := refusalOf(strings.Replace(lab, `"/boot"`, `"/efi"`, 1), func(*Found) {}); again != same {
		t.Error("another mount point is another refusal")
	}
	if again := refusalOf(lab, func(f *Found) { f.Disk.Path = "/dev/vdb" }); again != same {
		t.Error("the same disk in another place is another refusal")
	}
	seen := map[string]string{same: "the same"}
	for name, got := range map[string]string{
		"serial":      refusalOf(lab, func(f *Found) { f.Disk.Serial = "LAB2" }),
		"WWID":        refusalOf(lab, func(f *Found) { f.Disk.WWID = "naa.1" }),
		"size":        refusalOf(lab, func(f *Found) { f.Disk.Size += 512 }),
		"table":       refusalOf(lab, func(f *Found) { f.GUID[15]++ }),
		"label":       refusalOf(lab, func(f *Found) { f.Partitions[0].Label = "x" }),
		"format":      refusalOf(lab, func(f *Found) { f.Partitions[0].Holds.UUID = "1" }),
		"whole":       refusalOf(lab, func(f *Found) { f.Whole.UUID = "1" }),
		"ends":        refusalOf(lab, func(f *Found) { f.ends[0]++ }),
		"declaration": refusalOf(strings.Replace(lab, `"swap", "type"`, `"swop", "type"`, 1), func(*Found) {}),
	} {
		if other, taken := seen[got]; taken {
			t.Errorf("another %s has the refusal of %s", name, other)
		}
		seen[got] = "another " + name
	}
}

// Whatever is on a disk is read without harm, and shown in its 80 columns.
func FuzzInspect(f *testing.F) {
	f.Add(firstSector(&mark{table: uuid.UUID{1}}, smallest, 512), []byte{})
	f.Add([]byte("\xebX\x90NTFS    "), []byte("EFI PART"))
	l := mustParseFuzz(f)
	f.Fuzz(func(t *testing.T, start, end []byte) {
		if len(start)+len(end) > smallest {
			return
		}
		for _, sector := range []uint{512, 4096} {
			found, err := inspect(ends{start, end}, Disk{Path: "/dev/x", Size: smallest, SectorSize: sector})
			if err != nil {
				t.Fatal(err)
			}
			v, err := Compare(l, found)
			if err != nil {
				t.Fatal(err)
			}
			for row := range strings.Lines(v.SideBySide) {
				if utf8.RuneCountInString(row) > 81 {
					t.Fatalf("%q is too long", row)
				}
			}
			if v.Kind == Blank && len(bytes.Trim(start, "\x00"))+len(bytes.Trim(end, "\x00")) > 0 {
				t.Fatal("a disk that isn't empty is blank")
			}
		}
	})
}

// ends are what the smallest disk has at its start and at its end, with zeroes
// between them.
type ends struct{ start, end []byte }

func (e ends) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > smallest {
		return 0, io.ErrUnexpectedEOF
	}
	clear(b)
	if at < int64(len(e.start)) {
		copy(b, e.start[at:])
	}
	if from := smallest - int64(len(e.end)); from < at {
		copy(b, e.end[at-from:])
	} else if from < at+int64(len(b)) {
		copy(b[from-at:], e.end)
	}
	return len(b), nil
}

func mustParseFuzz(f *testing.F) Layout {
	l, err := Parse([]byte(with(`{"label": "a", "type": "linux", "size": "1M"}`)))
	if err != nil {
		f.Fatal(err)
	}
	return l
}

// A disk that can't be read is never blank.
func TestBadDisk(t *testing.T) {
	d := Disk{Path: "/dev/x", Size: 1 * gib, SectorSize: 512}
	for _, at := range []int64{0, 512, 64 * kib, 3 * mib, 512 * mib, int64(d.Size) - 512, int64(d.Size) - 4*mib} {
		if f, err := inspect(badAt(at), d); err == nil {
			t.Errorf("bad at %d: no error, %+v", at, f)
		}
	}
	if f, err := inspect(badAt(-1), d); err != nil || !f.Empty {
		t.Errorf("good everywhere: %v, %v", f.Empty, err)
	}
}

// badAt is a disk of zeroes with a sector that can't be read.
type badAt int64

func (bad badAt) ReadAt(b []byte, at int64) (int, error) {
	if at <= int64(bad) && int64(bad) < at+int64(len(b)) {
		return 0, io.ErrNoProgress
	}
	clear(b)
	return len(b), nil
}
