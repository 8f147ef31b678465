package layout

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// image is a file with zeroes.
func image(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

func openImage(t *testing.T, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, st.Size()
}

// What the real programs make is known, and blkid agrees.
func TestProbe(t *testing.T) {
	for _, test := range []struct {
		size    int64
		command string
		want    content
	}{
		{64 * mib, "mkfs.ext2 -qF -L old", content{Format: "ext2", Label: "old"}},
		{64 * mib, "mkfs.ext3 -qF -L older", content{Format: "ext3", Label: "older"}},
		{64 * mib, "mkfs.ext4 -qF -L 0123456789abcdef", content{Format: "ext4", Label: "0123456789abcdef"}},
		{64 * mib, "mkfs.ext4 -qF -O ^metadata_csum,^has_journal", content{Format: "ext4"}},
		{300 * mib, "mkfs.xfs -q -L 0123456789ab", content{Format: "xfs", Label: "0123456789ab"}},
		{128 * mib, "mkfs.btrfs -q -L home", content{Format: "btrfs", Label: "home"}},
		{2 * mib, "mkfs.vfat -F 12 -n TWELVE", content{Format: "vfat", Label: "TWELVE"}},
		{32 * mib, "mkfs.vfat -F 16 -n 0123456789A", content{Format: "vfat", Label: "0123456789A"}},
		{64 * mib, "mkfs.vfat -F 32 -n ESP", content{Format: "vfat", Label: "ESP"}},
		{64 * mib, "mkfs.vfat -F 32", content{Format: "vfat"}},
		{512 * mib, "mkfs.vfat -S 4096 -F 32 -n ESP", content{Format: "vfat", Label: "ESP"}},
		{16 * mib, "mkswap -L 0123456789abcde", content{Format: "swap", Label: "0123456789abcde"}},
		{16 * mib, "mkswap -p 65536", content{Format: "swap"}},
	} {
		t.Run(test.command, func(t *testing.T) {
			path := image(t, test.size)
			words := append(strings.Fields(test.command), path)
			tool(t, "", words[0], words[1:]...)
			f, size := openImage(t, path)
			got, err := probe(io.NewSectionReader(f, 0, size))
			if err != nil {
				t.Fatal(err)
			}
			if got.UUID == "" || strings.Trim(got.UUID, "0") == "" {
				t.Errorf("no UUID: %q", got.UUID)
			}
			judged := content{
				Format: tool(t, "", "blkid", "--probe", "--output", "value", "--match-tag", "TYPE", path),
				UUID:   got.UUID,
			}
			if test.want.Label != "" {
				judged.Label = tool(t, "", "blkid", "--probe", "--output", "value", "--match-tag", "LABEL", path)
			}
			test.want.UUID = got.UUID
			if got != test.want || got != judged {
				t.Errorf("got %+v\nwant %+v\nblkid says %+v", got, test.want, judged)
			}
		})
	}
}

// A swap that a machine sleeps in is no reason to make its disk anew.
func TestProbeHibernated(t *testing.T) {
	path := image(t, 16*mib)
	tool(t, "", "mkswap", "-L", "swap", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[4086:], "S1SUSPEND\x00")
	got, err := probe(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
	if err != nil || got.Format != "swap" || got.Label != "swap" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Every signature is found, and not in what is too short for it.
func TestSignatures(t *testing.T) {
	for _, s := range signatures {
		b := make([]byte, mib)
		at := s.at
		if at < 0 {
			at += int64(len(b))
		}
		copy(b[at:], s.magic)
		if got, err := probe(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))); err != nil || got != (content{Format: s.format}) {
			t.Errorf("%s: got %+v, %v", s.format, got, err)
		}
		if s.at < 0 {
			continue
		}
		short := b[:at+int64(len(s.magic))-1]
		if got, err := probe(io.NewSectionReader(bytes.NewReader(short), 0, int64(len(short)))); err != nil || got != (content{}) {
			t.Errorf("%s, cut off: got %+v, %v", s.format, got, err)
		}
	}
}

// sfdisk knows the types by the same GUIDs.
func TestTypes(t *testing.T) {
	said := strings.ToLower(tool(t, "", "sfdisk", "--label", "gpt", "--list-types"))
	words := map[string]string{
		"esp": "efi system", "bios-boot": "bios boot", "xbootldr": "linux extended boot", "linux": "linux filesystem", "swap": "linux swap",
		"home": "linux home", "srv": "linux server data", "var": "linux variable data",
		"root-x86-64": "linux root (x86-64)", "root-arm64": "linux root (arm-64)", "lvm": "linux lvm", "raid": "linux raid",
	}
	for name, guid := range typeNames {
		if want := fmt.Sprintf("%s  %s\n", guid, words[name]); !strings.Contains(said+"\n", want) {
			t.Errorf("sfdisk doesn't know %s as %q", guid, words[name])
		}
	}
}

// readImage reads the table of an image by sfdisk.
func readImage(t *testing.T, path string) table {
	t.Helper()
	f, size := openImage(t, path)
	got, err := readTable(f, uint64(size), 512)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadTable(t *testing.T) {
	const size = 64 * mib
	guid := "12345678-9ABC-DEF0-1234-56789ABCDEF0"
	for _, test := range []struct {
		name, script string
		damage       []int64 // sectors that are overwritten
		want         table
	}{
		// Windows has put its reserved partition before the first MiB.
		{"GPT", "label: gpt\nlabel-id: " + guid + "\nfirst-lba: 34\n" +
			"start=34, size=100, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name=\"groß\", uuid=" + guid + "\n" +
			"5: start=1M, size=10M, type=linux, uuid=" + guid + "\n", nil,
			table{kind: tableGPT, guid: uuid.MustParse(guid), partitions: []FoundPartition{
				{Number: 1, Label: "groß", Type: uuid.MustParse("e3c9e316-0b5c-4db8-817d-f92df00215ae"), GUID: uuid.MustParse(guid), Start: 34 * 512, Size: 100 * 512},
				{Number: 5, Type: typeNames["linux"], GUID: uuid.MustParse(guid), Start: mib, Size: 10 * mib},
			}}},
		{"damaged header", "label: gpt\nlabel-id: " + guid + "\n", []int64{1}, table{kind: tableGPT, guid: uuid.MustParse(guid), backup: true, unseen: unseenCopy}},
		{"damaged entries", "label: gpt\nlabel-id: " + guid + "\n", []int64{2},
			table{kind: tableGPT, guid: uuid.MustParse(guid), backup: true, unseen: unseenCopy}},
		{"both damaged", "label: gpt\n", []int64{1, size/512 - 1}, table{}},
		{"GPT with many entries", "label: gpt\nlabel-id: " + guid + "\ntable-length: 256\n", nil, table{kind: tableGPT, guid: uuid.MustParse(guid)}},
		{"MBR", "label: dos\nstart=63, size=1000, type=7\nstart=1M, size=10M, type=5\nstart=2M, size=1M\n", nil,
			table{kind: tableMBR, partitions: []FoundPartition{
				{Number: 1, MBRType: "MBR type 07", Start: 63 * 512, Size: 1000 * 512}, {Number: 2, MBRType: "MBR type 05", Start: 2048 * 512, Size: 10 * mib},
			}}},
		{"empty MBR", "label: dos\n", nil, table{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := image(t, size)
			tool(t, test.script, "sfdisk", "--force", path)
			for _, sector := range test.damage {
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte("damage"), sector*512+56); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			if diff := cmp.Diff(test.want, readImage(t, path), cmp.AllowUnexported(table{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
