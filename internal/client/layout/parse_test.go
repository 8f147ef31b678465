package layout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; -update rewrites it (-want +got):\n%s", path, diff)
	}
}

func mustParse(t *testing.T, text string) Layout {
	t.Helper()
	l, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const lab = `{
  "disk": {"byId": "virtio-LAB1"},
  "partitions": [
    {"label": "esp", "type": "esp", "size": "512M", "format": "vfat", "formatLabel": "ESP", "mountPoint": "/boot"},
    {"label": "swap", "type": "swap", "size": "8GiB", "format": "swap"},
    {"label": "grub", "type": "21686148-6449-6E6F-744E-656564454649", "size": "1M", "format": "none"},
    {"label": "nixos", "type": "linux", "size": "rest", "format": "ext4", "formatLabel": "nixos", "mountPoint": "/"}]}`

func TestParse(t *testing.T) {
	want := Layout{Disk: Rule{ByID: "virtio-LAB1"}, Partitions: []Partition{
		{Label: "esp", Type: typeNames["esp"], Size: 512 * mib, Format: VFAT, FormatLabel: "ESP", MountPoint: "/boot"},
		{Label: "swap", Type: typeNames["swap"], Size: 8 * gib, Format: Swap},
		{Label: "grub", Type: typeNames["bios-boot"], Size: mib},
		{Label: "nixos", Type: typeNames["linux"], Size: Rest, Format: Ext4, FormatLabel: "nixos", MountPoint: "/"},
	}}
	if diff := cmp.Diff(want, mustParse(t, lab)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// partition and with make declarations that are right but for what they are
// given.
func with(partition string) string {
	return fmt.Sprintf(`{"disk": {"path": "/dev/vda"}, "partitions": [%s]}`, partition)
}

func disk(rule string) string {
	return fmt.Sprintf(`{"disk": %s, "partitions": [{"label": "a", "type": "linux", "size": "rest"}]}`, rule)
}

func TestParseRules(t *testing.T) {
	for rule, want := range map[string]Rule{
		`{"path": "/dev/disk/by-path/x"}`:        {Path: "/dev/disk/by-path/x"},
		`{"size": {"min": "20G", "max": "2T"}}`:  {Size: &SizeRule{Min: 20 * gib, Max: 2 * tib}},
		`{"size": {"min": "20G"}}`:               {Size: &SizeRule{Min: 20 * gib, Max: maxSize}},
		`{"size": {"max": "21474836481"}}`:       {Size: &SizeRule{Max: 20*gib + 1}},
		`{"size": {"min": "1KiB", "max": "1K"}}`: {Size: &SizeRule{Min: kib, Max: kib}},
	} {
		if diff := cmp.Diff(want, mustParse(t, disk(rule)).Disk); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rule, diff)
		}
	}
}

func TestParseProblems(t *testing.T) {
	part := func(keys string) string { return with(`{"label": "a", "type": "linux", ` + keys + `}`) }
	for _, test := range []struct{ name, text, want string }{
		{"nothing", ``, `not JSON, near line 1: it ends in the middle`},
		{"cut off", "{\"disk\":\n {", `not JSON, near line 2: it ends in the middle`},
		{"two", disk(`{"path": "/dev/vda"}`) + `{}`, `not JSON, near line 1: something follows the closing brace`},
		{"key twice", `{"disk": {}, "disk": {}}`, `not JSON, near line 1: the key "disk" is there twice`},
		{"deep", strings.Repeat(`[`, 1000), `not JSON, near line 1: too many objects inside each other`},
		{"long", strings.Repeat(` `, maxDeclaration+1), `longer than 65536 bytes`},
		{"bytes", "\"\xff\"", `not UTF-8`},
		{"list", `[]`, `the declaration: must be an object, {...}`},
		{"empty", `{}`, "disk: must be an object, {...}\npartitions: must be a list with at least one partition"},
		{"no partitions", `{"disk": {"path": "/dev/vda"}, "partitions": []}`, `partitions: must be a list with at least one partition`},
		{"many partitions", with(strings.Repeat(`0,`, 128) + `0`), `partitions: has 129 partitions; a table holds 128`},
		{"no object", with(`1`), `partitions[0]: must be an object, {...}`},
		{"missing keys", with(`{}`), "partitions[0].label: is missing\npartitions[0].type: is missing\npartitions[0].size: is missing"},
		{"unknown key", part(`"size": "1M", "lable": "x"`), `partitions[0].lable: unknown key; known here are label, type, size, format, formatLabel, mountPoint`},
		{"two rules", disk(`{"path": "/dev/vda", "byId": "x"}`), `disk: must have exactly one of "path", "byId" and "size"`},
		{"no rule", disk(`{}`), `disk: must have exactly one of "path", "byId" and "size"`},
		{"path", disk(`{"path": "vda"}`), `disk.path: "vda" is not below /dev`},
		{"byId", disk(`{"byId": "/dev/disk/by-id/x"}`), `disk.byId: "/dev/disk/by-id/x" has a slash; write the name alone, as ` + "`ls /dev/disk/by-id` shows it"},
		{"no limits", disk(`{"size": {}}`), `disk.size: must have "min", "max" or both`},
		{"limits", disk(`{"size": {"min": "2G", "max": "1G"}}`), `disk.size: min is more than max`},
		{"number", part(`"size": 512`), `partitions[0].size: must be a string`},
		{"decimal unit", part(`"size": "512MB"`), `partitions[0].size: "512MB" is not a size; write it as 512M, 20G or 2T, in powers of 1024`},
		{"negative", part(`"size": "-1M"`), `partitions[0].size: "-1M" is not a size; write it as 512M, 20G or 2T, in powers of 1024`},
		{"fraction", part(`"size": "1.5G"`), `partitions[0].size: "1.5G" is not a size; write it as 512M, 20G or 2T, in powers of 1024`},
		{"zero", part(`"size": "0M"`), `partitions[0].size: "0M" is out of range`},
		{"overflow", part(`"size": "17179869184T"`), `partitions[0].size: "17179869184T" is out of range`},
		{"unaligned", part(`"size": "1000K"`), `partitions[0].size: "1000K" is no multiple of 1M, at which partitions are aligned`},
		{"small xfs", part(`"size": "299M", "format": "xfs"`), `partitions[0].size: "299M" is too small; xfs needs 300M`},
		{"rest first", with(`{"label": "a", "type": "linux", "size": "rest"}, {"label": "b", "type": "linux", "size": "1M"}`),
			`partitions[0].size: only the last partition can have the "rest"`},
		{"type", with(`{"label": "a", "type": "ext4", "size": "1M"}`),
			`partitions[0].type: "ext4" is no type; known are root, bios-boot, esp, home, linux, lvm, raid, root-arm64, root-x86-64, srv, swap, var, xbootldr, and GUIDs as 0fc63daf-8483-4772-8e79-3d69d8477de4`},
		{"format", part(`"size": "1M", "format": "ntfs"`), `partitions[0].format: "ntfs" is no format; known are ext4, xfs, btrfs, vfat, swap and none`},
		{"long label", with(`{"label": "0123456789012345678901234567890123456", "type": "linux", "size": "1M"}`),
			`partitions[0].label: has 37 UTF-16 units; a table has room for 36`},
		{"wide label", with(`{"label": "` + strings.Repeat("\U0001F427", 19) + `", "type": "linux", "size": "1M"}`),
			`partitions[0].label: has 38 UTF-16 units; a table has room for 36`},
		{"control character", with(`{"label": "a\u001b[2J", "type": "linux", "size": "1M"}`),
			`partitions[0].label: "a\x1b[2J" has characters that can't be shown`},
		{"empty label", with(`{"label": "", "type": "linux", "size": "1M"}`), `partitions[0].label: is empty; leave the key out`},
		{"label of nothing", part(`"size": "1M", "formatLabel": "x"`), `partitions[0].formatLabel: a partition without a format has no such label`},
		{"long ext4 label", part(`"size": "1G", "format": "ext4", "formatLabel": "0123456789abcdefg"`), `partitions[0].formatLabel: "0123456789abcdefg" has 17 bytes; ext4 has room for 16`},
		{"long xfs label", part(`"size": "1G", "format": "xfs", "formatLabel": "0123456789abé"`), `partitions[0].formatLabel: "0123456789abé" has 14 bytes; xfs has room for 12`},
		{"long vfat label", part(`"size": "1G", "format": "vfat", "formatLabel": "0123456789AB"`), `partitions[0].formatLabel: "0123456789AB" has 12 bytes; vfat has room for 11`},
		{"long swap label", part(`"size": "1G", "format": "swap", "formatLabel": "0123456789abcdef"`), `partitions[0].formatLabel: "0123456789abcdef" has 16 bytes; swap has room for 15`},
		{"long btrfs label", part(`"size": "1G", "format": "btrfs", "formatLabel": "` + strings.Repeat("x", 256) + `"`),
			`partitions[0].formatLabel: "` + strings.Repeat("x", 60) + `..." has 256 bytes; btrfs has room for 255`},
		{"lower-case vfat label", part(`"size": "1G", "format": "vfat", "formatLabel": "esp"`), `partitions[0].formatLabel: "esp" has lower-case letters, or others that FAT doesn't know; write it as ESP`},
		{"no vfat label", part(`"size": "1G", "format": "vfat", "formatLabel": "NO NAME"`), `partitions[0].formatLabel: "NO NAME" is how FAT says that there is no label`},
		{"blank", part(`"size": "1G", "format": "ext4", "formatLabel": "a "`), `partitions[0].formatLabel: "a " begins or ends with a blank`},
		{"relative mount", part(`"size": "1G", "format": "ext4", "mountPoint": "boot"`), `partitions[0].mountPoint: "boot" is no absolute path without dots and doubled slashes`},
		{"dotted mount", part(`"size": "1G", "format": "ext4", "mountPoint": "/a/../b"`), `partitions[0].mountPoint: "/a/../b" is no absolute path without dots and doubled slashes`},
		{"mounted swap", part(`"size": "1G", "format": "swap", "mountPoint": "/"`), `partitions[0].mountPoint: only ext4, xfs, btrfs and vfat can be mounted`},
		{"twins", with(`{"label": "a", "type": "linux", "size": "1G", "format": "ext4", "formatLabel": "l", "mountPoint": "/"},
			{"label": "a", "type": "linux", "size": "1G", "format": "ext4", "formatLabel": "l", "mountPoint": "/"}`),
			`partitions[1].label: "a" is that of partitions[0], too` + "\n" +
				`partitions[1].formatLabel: "l" is that of partitions[0], too` + "\n" +
				`partitions[1].mountPoint: "/" is that of partitions[0], too`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			if got := fmt.Sprint(err); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// A declaration that is taken can be written as JSON again, and placed or
// refused on a disk of any size without harm.
func FuzzParse(f *testing.F) {
	f.Add([]byte(lab), uint64(40*gib))
	f.Add([]byte(disk(`{"size": {"min": "20G"}}`)), uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint64) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		placed, err := l.place(size % maxSize)
		if err != nil {
			return
		}
		end := uint64(alignment)
		for _, p := range placed {
			if p.start != end || p.size == 0 || p.size%alignment != 0 {
				t.Fatalf("%+v doesn't begin at %d, or has a bad size", p, end)
			}
			end += p.size
		}
		if end+17*kib > size%maxSize {
			t.Fatalf("no room for a table behind %d", end)
		}
	})
}
