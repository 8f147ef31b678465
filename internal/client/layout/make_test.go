package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tool runs a real program, the peer that judges, and returns what it said.
func tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loop is a disk made of a sparse file.
func loop(t *testing.T, size uint64, options ...string) Disk {
	t.Helper()
	// Linux has no loop devices for user namespaces.
	if ids, err := os.ReadFile("/proc/self/uid_map"); err != nil || len(strings.Fields(string(ids))) != 3 ||
		strings.Fields(string(ids))[2] != "4294967295" {
		t.Fatal("this test makes disks of loop devices, which takes real root: run it, or make test, as root")
	}
	path := filepath.Join(t.TempDir(), "disk")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(int64(size)), file.Close()); err != nil {
		t.Fatal(err)
	}
	device := tool(t, "", "losetup", append(options, "--find", "--show", "--partscan", path)...)
	t.Cleanup(func() { tool(t, "", "losetup", "--detach", device) })
	return found(t, device)
}

// found looks the disk up as the program does.
func found(t *testing.T, path string) Disk {
	t.Helper()
	disks, err := Disks()
	if err != nil {
		t.Fatal(err)
	}
	d, err := Layout{Disk: Rule{Path: path}}.Find(disks)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// partition has sfdisk write a table. It tells the kernel through partx, because
// not every kernel reads tables by itself.
func partition(t *testing.T, d Disk, table string, options ...string) {
	t.Helper()
	tool(t, table, "sfdisk", append(options, "--no-reread", "--no-tell-kernel", d.Path)...)
	tool(t, "", "partx", "--update", d.Path)
}

// all has every format, and a partition without one.
const all = `{"disk": {"path": "/dev/x"}, "partitions": [
	{"label": "esp", "type": "esp", "size": "64M", "format": "vfat", "formatLabel": "ESP", "mountPoint": "/boot"},
	{"label": "grub", "type": "bios-boot", "size": "1M"},
	{"label": "Auslagerung, groß", "type": "swap", "size": "16M", "format": "swap", "formatLabel": "swap"},
	{"label": "xfs", "type": "var", "size": "300M", "format": "xfs", "formatLabel": "var", "mountPoint": "/var"},
	{"label": "btrfs", "type": "home", "size": "128M", "format": "btrfs", "formatLabel": "home of all", "mountPoint": "/home"},
	{"label": "nixos", "type": "root-x86-64", "size": "rest", "format": "ext4", "formatLabel": "nixos", "mountPoint": "/"}]}`

// small is quick to make.
const small = `{"disk": {"path": "/dev/x"}, "partitions": [
	{"label": "esp", "type": "esp", "size": "8M", "format": "vfat", "formatLabel": "ESP", "mountPoint": "/boot"},
	{"label": "nixos", "type": "linux", "size": "rest", "format": "ext4", "mountPoint": "/"}]}`

func verdict(t *testing.T, l Layout, d Disk) Verdict {
	t.Helper()
	f, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Compare(l, f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantKind(t *testing.T, l Layout, d Disk, want Kind) {
	t.Helper()
	if v := verdict(t, l, d); v.Kind != want {
		t.Fatalf("the disk is %s (%s), want %s", v.Kind, v.Why, want)
	}
}

func mustMake(t *testing.T, l Layout, d Disk) {
	t.Helper()
	if err := Make(t.Context(), l, d, func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
}

// util-linux says what it finds on a disk that Make has made.
func TestMakeBlank(t *testing.T) {
	for _, options := range [][]string{nil, {"--sector-size", "4096"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			l, d := mustParse(t, all), loop(t, 640*mib, options...)
			wantKind(t, l, d, Blank)
			mustMake(t, l, d)
			wantKind(t, l, d, Same)
			judge(t, l, d)

			before := sum(t, d)
			wantKind(t, l, d, Same)
			if sum(t, d) != before {
				t.Error("a disk that is as declared was written to")
			}
		})
	}
}

func judge(t *testing.T, l Layout, d Disk) {
	t.Helper()
	if said := tool(t, "", "sfdisk", "--verify", d.Path); !strings.Contains(said, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", said)
	}
	var table struct {
		PartitionTable struct {
			Label      string
			SectorSize uint64
			Partitions []struct {
				Node, Type, Name string
				Start, Size      uint64
			}
		}
	}
	if err := json.Unmarshal([]byte(tool(t, "", "sfdisk", "--json", d.Path)), &table); err != nil {
		t.Fatal(err)
	}
	placed, err := l.place(d.Size)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, p := range placed {
		want = append(want, fmt.Sprintln(p.Label, strings.ToUpper(p.Type.String()), p.start, p.size, p.Format, p.FormatLabel))
	}
	for _, p := range table.PartitionTable.Partitions {
		sector := table.PartitionTable.SectorSize
		holds := map[string]string{}
		if p.Name != "grub" {
			for line := range strings.Lines(tool(t, "", "blkid", "--probe", "--output", "export", p.Node)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				holds[key] = strings.ReplaceAll(value, `\ `, " ")
			}
		}
		got = append(got, fmt.Sprintln(p.Name, p.Type, p.Start*sector, p.Size*sector, holds["TYPE"], holds["LABEL"]))
	}
	if diff := cmp.Diff(want, got); diff != "" || table.PartitionTable.Label != "gpt" {
		t.Errorf("util-linux finds a table %q (-want +got):\n%s", table.PartitionTable.Label, diff)
	}
	check(t, l, d)
}

// check has the checkers of the formats look at what mkfs made, after the
// label's sector, the mark and the wiping.
func check(t *testing.T, l Layout, d Disk) {
	t.Helper()
	checkers := map[Format][]string{
		Ext4: {"e2fsck", "-fn"}, XFS: {"xfs_repair", "-n"}, VFAT: {"fsck.vfat", "-n"}, Btrfs: {"btrfs", "check"},
	}
	for i, p := range l.Partitions {
		if c := checkers[p.Format]; c != nil {
			tool(t, "", c[0], append(c[1:], fmt.Sprintf("%sp%d", d.Path, i+1))...)
		}
	}
}

// sum reads past the cache, as what was written there wouldn't be seen else.
func sum(t *testing.T, d Disk) string {
	t.Helper()
	return tool(t, "", "sh", "-c", "dd if="+d.Path+" bs=1M iflag=direct status=none | sha256sum")
}

// occupants are what labs' disks have had before. Each leaves a disk that is
// not ravenboot's.
var occupants = map[string]func(t *testing.T, d Disk){
	"MBR with a FAT": func(t *testing.T, d Disk) {
		partition(t, d, "label: dos\nstart=1M,size=20M,type=c,bootable\nstart=30M,type=83\n")
		tool(t, "", "mkfs.vfat", "-n", "WINDOWS", d.Path+"p1")
	},
	"whole-disk ext4":  func(t *testing.T, d Disk) { tool(t, "", "mkfs.ext4", "-qF", "-L", "data", d.Path) },
	"whole-disk FAT":   func(t *testing.T, d Disk) { tool(t, "", "mkfs.vfat", "-I", "-n", "STICK", d.Path) },
	"whole-disk Btrfs": func(t *testing.T, d Disk) { tool(t, "", "mkfs.btrfs", "-qf", d.Path) },
	"whole-disk swap":  func(t *testing.T, d Disk) { tool(t, "", "mkswap", d.Path) },
	"GPT by sfdisk": func(t *testing.T, d Disk) {
		partition(t, d, "label: gpt\nsize=8M,type=uefi,name=esp\nname=nixos\n")
		tool(t, "", "mkfs.ext4", "-qF", d.Path+"p2")
	},
	"GPT without its first copy": func(t *testing.T, d Disk) {
		partition(t, d, "label: gpt\nsize=8M,type=uefi,name=esp\n")
		tool(t, "", "dd", "if=/dev/zero", "of="+d.Path, "bs=512", "seek=1", "count=1", "conv=fsync")
	},
	"data without a table": func(t *testing.T, d Disk) {
		tool(t, "", "dd", "if=/dev/urandom", "of="+d.Path, "bs=1M", "seek=20", "count=20", "conv=fsync")
	},
}

// What is foreign stays untouched until Make is called, and is made then.
func TestForeign(t *testing.T) {
	l := mustParse(t, small)
	for name, occupy := range occupants {
		t.Run(name, func(t *testing.T) {
			d := loop(t, 160*mib)
			occupy(t, d)
			before := sum(t, d)
			wantKind(t, l, d, Foreign)
			if sum(t, d) != before {
				t.Fatal("comparing has written to the disk")
			}
			mustMake(t, l, d)
			wantKind(t, l, d, Same)
			judge(t, l, d)
		})
	}
}

// A disk that others made as it is declared is left as it is.
func TestMadeByOthers(t *testing.T) {
	l, d := mustParse(t, small), loop(t, 160*mib)
	partition(t, d, "label: gpt\nsize=8M,type=uefi,name=esp\nname=nixos\n")
	tool(t, "", "mkfs.vfat", "-n", "ESP", d.Path+"p1")
	tool(t, "", "mkfs.ext4", "-qF", d.Path+"p2")
	wantKind(t, l, d, Same)
}

// What ravenboot made and somebody changed is ours, but different.
func TestOurs(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, d Disk)
		why    string
	}{
		"label": {func(t *testing.T, d Disk) { tool(t, "", "sfdisk", "--part-label", d.Path, "1", "boot") },
			`partition 1: its label is "boot", declared is "esp"`},
		"type": {func(t *testing.T, d Disk) {
			tool(t, "", "sfdisk", "--part-type", d.Path, "2", typeNames["home"].String())
		},
			`partition 2: its type is home, declared is linux`},
		"format": {func(t *testing.T, d Disk) {
			tool(t, "", "mkfs.ext4", "-qF", "-O", "^extent,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize,^metadata_csum", d.Path+"p2")
		},
			`partition 2: its format is ext3, declared is ext4`},
		"no format": {func(t *testing.T, d Disk) { tool(t, "", "wipefs", "--all", d.Path+"p2") },
			`partition 2: its format is none, declared is ext4`},
		"format's label": {func(t *testing.T, d Disk) { tool(t, "", "tune2fs", "-L", "root", d.Path+"p2") },
			`partition 2: its format's label is "root", declared is ""`},
		"FAT's label": {func(t *testing.T, d Disk) { tool(t, "", "fatlabel", d.Path+"p1", "EFI") },
			`partition 1: its format's label is "EFI", declared is "ESP"`},
		"size": {func(t *testing.T, d Disk) { tool(t, ",100M\n", "sfdisk", "--no-reread", "-N2", d.Path) },
			`partition 2: its size is 100M, declared is 150M`},
		"missing": {func(t *testing.T, d Disk) { tool(t, "", "sfdisk", "--delete", d.Path, "2") },
			`partition 2 ("nixos") is missing`},
	}
	l := mustParse(t, small)
	for name, test := range changes {
		t.Run(name, func(t *testing.T) {
			d := loop(t, 160*mib)
			mustMake(t, l, d)
			test.change(t, d)
			if v := verdict(t, l, d); v.Kind != Ours || v.Why != test.why {
				t.Errorf("%s, %s\nwant %s, %s", v.Kind, v.Why, Ours, test.why)
			}
			mustMake(t, l, d)
			wantKind(t, l, d, Same)
		})
	}
}

var errPower = errors.New("the power went")

// interrupted is a run that ends at its k-th write or program, which does
// half of its work. The first sector is written whole or not at all.
func interrupted(d Disk, k int) *making {
	m := &making{disk: d, log: func(string) {}}
	last := func() bool { k--; return k <= 0 }
	m.write = func(to io.WriterAt, b []byte, at int64) (int, error) {
		switch {
		case !last():
			return to.WriteAt(b, at)
		case k < 0 || len(b) <= int(d.SectorSize):
			return 0, errPower
		}
		n, err := to.WriteAt(b[:len(b)/2], at)
		return n, errors.Join(err, errPower)
	}
	m.run = func(ctx context.Context, program string, args ...string) error {
		if !last() {
			return run(ctx, program, args...)
		}
		if k < 0 {
			return errPower
		}
		return errors.Join(run(ctx, program, args...), halve(args[len(args)-1]), errPower)
	}
	return m
}

// halve leaves of a format only what comes first, its signature among it.
func halve(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(make([]byte, 4*mib), mib/8)
	return errors.Join(err, f.Sync())
}

// The power goes at every step in turn. Nothing but the first step leaves the
// disk as it was, only the last one leaves it finished, and the next run ends
// right.
func TestPowerCut(t *testing.T) {
	l := mustParse(t, small)
	d := loop(t, 160*mib)
	// Once the old table is cleared, it no longer matters what was before.
	const every, untilCleared = 1000, 4
	for name, test := range map[string]struct {
		occupy func(*testing.T, Disk)
		steps  int
	}{
		"blank":      {func(*testing.T, Disk) {}, every},
		"GPT":        {occupants["GPT by sfdisk"], untilCleared},
		"MBR":        {occupants["MBR with a FAT"], untilCleared},
		"whole disk": {occupants["whole-disk ext4"], untilCleared},
		"our older one": {func(t *testing.T, d Disk) {
			mustMake(t, mustParse(t, with(`{"label": "a", "type": "home", "size": "9M"}`)), d)
		}, untilCleared},
	} {
		t.Run(name, func(t *testing.T) {
			for k := 1; k <= test.steps; k++ {
				d := clean(t, d)
				test.occupy(t, d)
				before := verdict(t, l, d)
				err := interrupted(d, k).make(t.Context(), l)
				if err == nil {
					if k < 12 {
						t.Errorf("only %d steps were seen", k-1)
					}
					break
				}
				if !errors.Is(err, errPower) {
					t.Fatalf("step %d: %v", k, err)
				}
				after := verdict(t, l, d)
				switch {
				case k == 1 && (after.Kind != before.Kind || after.Refusal != before.Refusal):
					t.Fatalf("nothing was written, and the disk was %s and is %s", before.Kind, after.Kind)
				case k > 1 && after.Kind != Unfinished:
					t.Fatalf("step %d leaves a disk that is %s (%s)", k, after.Kind, after.Why)
				}
				mustMake(t, l, d)
				wantKind(t, l, d, Same)
				check(t, l, d)
			}
		})
	}
}

// clean empties a disk that has been used.
func clean(t *testing.T, d Disk) Disk {
	t.Helper()
	tool(t, "", "wipefs", "--all", "--force", d.Path)
	tool(t, "", "blkdiscard", "--force", "--zeroout", d.Path)
	tool(t, "", "blockdev", "--rereadpt", d.Path)
	return d
}

// A whole process is killed at any moment, its mkfs with it or not.
func TestKilled(t *testing.T) {
	l, d := mustParse(t, all), loop(t, 640*mib)
	for wait := time.Millisecond; ; wait = wait * 3 / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := Make(ctx, l, d, func(string) {})
		cancel()
		v := verdict(t, l, d)
		if err == nil {
			break
		}
		if v.Kind == Same {
			t.Fatalf("after %v: %v, and the disk is %s", wait, err, v.Kind)
		}
	}
	wantKind(t, l, d, Same)
	judge(t, l, d)
}

// The mark counts only for what it was written about.
func TestMarkIsStale(t *testing.T) {
	l := mustParse(t, small)
	unfinished := func(t *testing.T) Disk {
		d := loop(t, 160*mib)
		if err := interrupted(d, 12).make(t.Context(), l); !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		wantKind(t, l, d, Unfinished)
		return d
	}
	for name, use := range map[string]func(t *testing.T, d Disk) Disk{
		"partitioned by another": func(t *testing.T, d Disk) Disk {
			partition(t, d, "label: gpt\nsize=20M,name=debian\n", "--wipe", "never")
			return d
		},
		"an MBR": func(t *testing.T, d Disk) Disk {
			partition(t, d, "label: dos\nsize=20M\n", "--wipe", "never")
			return d
		},
		"copied": func(t *testing.T, d Disk) Disk {
			other := loop(t, 161*mib)
			tool(t, "", "dd", "if="+d.Path, "of="+other.Path, "bs=1M", "conv=fsync")
			return other
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := use(t, unfinished(t))
			if v := verdict(t, l, d); v.Kind != Foreign && v.Kind != Ours {
				t.Errorf("the disk is %s", v.Kind)
			}
		})
	}
}

func TestMakeRefusesInUse(t *testing.T) {
	l, d := mustParse(t, small), loop(t, 160*mib)
	mustMake(t, l, d)
	dir := t.TempDir()
	tool(t, "", "mount", d.Path+"p2", dir)
	t.Cleanup(func() { tool(t, "", "umount", dir) })
	before := sum(t, d)
	err := Make(t.Context(), l, d, func(string) {})
	want := "making " + d.Path + ": it is in use: mounted, swapped to, or part of another device"
	if fmt.Sprint(err) != want || sum(t, d) != before {
		t.Errorf("got %v\nwant %s, and nothing written", err, want)
	}

	disks, err := Disks()
	if err != nil {
		t.Fatal(err)
	}
	l.Disk.Path = d.Path
	_, err = l.Find(disks)
	want = fmt.Sprintf("%s is in use: %sp2 is mounted on %s", d.Path, d.Path, dir)
	if fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestMakeNeedsPrograms(t *testing.T) {
	l, d := mustParse(t, small), loop(t, 160*mib)
	t.Setenv("PATH", t.TempDir())
	err := Make(t.Context(), l, d, func(string) {})
	want := "making " + d.Path + ": mkfs.vfat is not in PATH; put the package dosfstools into the initrd\n" +
		"mkfs.ext4 is not in PATH; put the package e2fsprogs into the initrd"
	if fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	wantKind(t, l, d, Blank)
}

func TestMakeTooLarge(t *testing.T) {
	l, d := mustParse(t, all), loop(t, 512*mib)
	f, err := Inspect(d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compare(l, f)
	want := `partitions[5] ("nixos") doesn't fit: the disk has 512M, of which the partitions before it leave 1M; declare smaller sizes, or another disk`
	if fmt.Sprint(err) != d.Path+": "+want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := Make(t.Context(), l, d, func(string) {}); fmt.Sprint(err) != "making "+d.Path+": "+want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	wantKind(t, mustParse(t, small), d, Blank)
}

// A link leads to the disk, too.
func TestFindByLink(t *testing.T) {
	d := loop(t, 160*mib)
	link := filepath.Join(t.TempDir(), "disk")
	if err := os.Symlink(d.Path, link); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, found(t, link)); diff != "" {
		t.Errorf("(-by path +by link):\n%s", diff)
	}
}
