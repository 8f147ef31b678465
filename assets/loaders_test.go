package assets

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ravenboot/internal/machine"
)

// The values of PE headers, by architecture.
const (
	amd64   = 0x8664
	arm64   = 0xaa64
	i386    = 0x014c
	riscv64 = 0x5064
	loong64 = 0x6264
)

func bios(n int) []byte { return append([]byte{0xeb, 0x20}, make([]byte, n)...) }

// layouts are what packages put into a directory, as of 2026.
var layouts = []struct {
	name  string
	files map[string][]byte
	want  map[string]string // loader -> path
}{
	{
		name: "Debian 12", // ipxe 1.0.0+git-20190125
		files: map[string][]byte{
			"undionly.kpxe": bios(100), "undionly.kkpxe": bios(100), "ipxe.pxe": bios(100), "ipxe.lkrn": bios(100),
			"snponly.efi": program(amd64, 300), "ipxe.efi": program(amd64, 300), "qemu/pxe-e1000.rom": bios(9),
		},
		want: map[string]string{"undionly.kpxe": "undionly.kpxe", "snponly.efi": "snponly.efi", "ipxe.efi": "ipxe.efi"},
	},
	{
		name: "Debian 13", // ipxe 1.21.1+git20250501, and 2.0.0
		files: map[string][]byte{
			"undionly.kpxe": bios(100), "snponly.efi": program(amd64, 300), "ipxe-amd64.efi": program(amd64, 300),
			"ipxe-arm64.efi": program(arm64, 300), "ipxe-riscv64.efi": program(riscv64, 300), "ipxe-loong64.efi": program(loong64, 300),
		},
		want: map[string]string{
			"undionly.kpxe": "undionly.kpxe", "snponly.efi": "snponly.efi", "ipxe.efi": "ipxe-amd64.efi",
			"ipxe-arm64.efi": "ipxe-arm64.efi", "ipxe-riscv64.efi": "ipxe-riscv64.efi", "ipxe-loong64.efi": "ipxe-loong64.efi",
		},
	},
	{
		name: "Fedora", // ipxe-bootimgs-x86 and ipxe-bootimgs-aarch64
		files: map[string][]byte{
			"undionly.kpxe": bios(100), "ipxe-snponly-x86_64.efi": program(amd64, 300), "ipxe-x86_64.efi": program(amd64, 300),
			"ipxe-i386.efi": program(i386, 300), "arm64-efi/snponly.efi": program(arm64, 300), "arm64-efi/ipxe.efi": program(arm64, 300),
		},
		want: map[string]string{
			"undionly.kpxe": "undionly.kpxe", "snponly.efi": "ipxe-snponly-x86_64.efi", "ipxe.efi": "ipxe-x86_64.efi",
			"ipxe-i386.efi": "ipxe-i386.efi", "snponly-arm64.efi": "arm64-efi/snponly.efi", "ipxe-arm64.efi": "arm64-efi/ipxe.efi",
		},
	},
	{
		name:  "Arch",
		files: map[string][]byte{"ipxe.pxe": bios(100), "x86_64/ipxe.efi": program(amd64, 300), "i386/ipxe.efi": program(i386, 300)},
		want:  map[string]string{"ipxe.efi": "x86_64/ipxe.efi", "ipxe-i386.efi": "i386/ipxe.efi"},
	},
	{
		name: "nixpkgs on x86_64",
		files: map[string][]byte{
			"undionly.kpxe": bios(100), "undionly.kpxe.0": bios(100), "ipxe.efi": program(amd64, 300), "snp.efi": program(amd64, 300),
		},
		want: map[string]string{"undionly.kpxe": "undionly.kpxe", "ipxe.efi": "ipxe.efi", "snponly.efi": "snp.efi"},
	},
	{
		name:  "nixpkgs on aarch64: the same names, another architecture",
		files: map[string][]byte{"ipxe.efi": program(arm64, 300), "snp.efi": program(arm64, 300)},
		want:  map[string]string{"ipxe-arm64.efi": "ipxe.efi", "snponly-arm64.efi": "snp.efi"},
	},
	{
		name:  "iPXE's own build",
		files: map[string][]byte{"bin-x86_64-efi/snponly.efi": program(amd64, 300), "bin-arm64-efi/ipxe.efi": program(arm64, 300)},
		want:  map[string]string{"snponly.efi": "bin-x86_64-efi/snponly.efi", "ipxe-arm64.efi": "bin-arm64-efi/ipxe.efi"},
	},
}

func TestLayouts(t *testing.T) {
	for _, layout := range layouts {
		for how, find := range map[string]func(dir string) *Loaders{
			"configured": func(dir string) *Loaders { return only(dir) },
			"known":      func(dir string) *Loaders { return findLoaders(nil, []string{dir}, nil) },
		} {
			dir := write(t, layout.files)
			loaders := find(dir)
			got := map[string]string{}
			for _, loader := range loaders.List() {
				if aliases[loader.Name] == loader.Name {
					got[loader.Name], _ = filepath.Rel(dir, loader.Path)
				}
			}
			if diff := cmp.Diff(layout.want, got); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", layout.name, how, diff)
			}
			if problems := loaders.Problems(); len(problems) > 0 {
				t.Errorf("%s, %s: problems %q", layout.name, how, problems)
			}
		}
	}
}

// TestNamesOfDistributions asks for loaders as another DHCP server's
// configuration may have them.
func TestNamesOfDistributions(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 301), "snponly-arm64.efi": program(arm64, 302)}))
	for name, want := range map[string]string{
		"snponly.efi": "snponly.efi", "ipxe-snponly-x86_64.efi": "snponly.efi", "x86_64/snponly.efi": "snponly.efi",
		"arm64-efi/snponly.efi": "snponly-arm64.efi", "ipxe-snponly-aarch64.efi": "snponly-arm64.efi",
	} {
		content, err := loaders.Open(name)
		if err != nil || content.Name != want {
			t.Errorf("%s: %+v, %v, want %s", name, content, err, want)
		}
	}
	for _, name := range []string{"ipxe.efi", "undionly.kpxe", "", "..", "../snponly.efi", "/etc/passwd"} {
		if _, err := loaders.Open(name); !errors.Is(err, fs.ErrNotExist) || loaders.Has(name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFirstDirectoryWins(t *testing.T) {
	first := write(t, map[string][]byte{"ipxe-snponly-x86_64.efi": program(amd64, 400)})
	second := write(t, map[string][]byte{"snponly.efi": program(amd64, 500), "ipxe.efi": program(amd64, 600)})
	loaders := findLoaders([]string{first}, []string{second}, nil)
	for name, size := range map[string]int{"snponly.efi": 400, "ipxe.efi": 600} {
		if content, err := loaders.Open(name); err != nil || len(content.Data) != size {
			t.Errorf("%s: %v, want the one of %d bytes", name, err, size)
		}
	}
}

func TestKnownFile(t *testing.T) {
	boot := write(t, map[string][]byte{"ipxe.efi": program(amd64, 400), "vmlinuz": bios(100)})
	loaders := findLoaders(nil, nil, map[string]string{"ipxe.efi": filepath.Join(boot, "ipxe.efi")})
	if !loaders.Has("ipxe.efi") || loaders.Has("vmlinuz") {
		t.Errorf("found %v, want only ipxe.efi", loaders.List())
	}
}

// TestPlainFiles is a host's loader = "custom.efi".
func TestPlainFiles(t *testing.T) {
	files := map[string][]byte{
		"custom.efi": program(amd64, 300), "lpxelinux.0": bios(10), "text.efi": []byte("no program"), "empty.kpxe": {},
		".hidden.efi": program(amd64, 300), "with space.efi": program(amd64, 300), "sub/deep.efi": program(amd64, 300), "notes": []byte("x"),
	}
	dir := write(t, files)
	if err := os.Symlink(dir, filepath.Join(dir, "dir.efi")); err != nil {
		t.Fatal(err)
	}
	configured, known := only(dir), findLoaders(nil, []string{dir}, nil)
	for name, want := range map[string][2]bool{ // in a configured directory, in a distribution's
		"custom.efi": {true, true}, "lpxelinux.0": {true, true}, "notes": {true, false}, "text.efi": {false, false},
		"empty.kpxe": {false, false}, ".hidden.efi": {false, false}, "with space.efi": {false, false},
		"sub/deep.efi": {false, false}, "deep.efi": {false, false}, "dir.efi": {false, false}, "sub": {false, false},
	} {
		if got := [2]bool{configured.Has(name), known.Has(name)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestWrongContent(t *testing.T) {
	dir := write(t, map[string][]byte{
		"undionly.kpxe": program(amd64, 300), "snponly.efi": []byte("<html>not found</html>"),
		"ipxe-arm64.efi": program(amd64, 300), "ipxe.efi": {}, "ipxe-riscv64.efi": []byte("MZ"),
	})
	loaders := only(dir, filepath.Join(dir, "missing"))
	if list := loaders.List(); len(list) > 0 {
		t.Errorf("found %v", list)
	}
	problems := strings.Join(loaders.Problems(), "\n")
	for _, want := range []string{
		"undionly.kpxe is not used as undionly.kpxe: it is an EFI program",
		"snponly.efi is not used as snponly.efi: it is no EFI program",
		"ipxe-arm64.efi is not used as ipxe-arm64.efi: it is an EFI program for x86_64",
		"ipxe.efi is not used as ipxe.efi: it is empty",
		"ipxe-riscv64.efi is not used as ipxe-riscv64.efi: it is no EFI program",
		"loader directory: open " + filepath.Join(dir, "missing"),
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("no problem says %q; they are:\n%s", want, problems)
		}
	}
}

func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	loaders := only(dir)
	path := filepath.Join(dir, "snponly.efi")
	put := func(data []byte, modified time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, data, 0o644), os.Chtimes(path, modified, modified)); err != nil {
			t.Fatal(err)
		}
	}
	put(program(amd64, 300), time.Unix(1e9, 0))
	if loaders.Has("snponly.efi") {
		t.Error("Has looks at the disk")
	}
	loaders.Refresh()
	first, err := loaders.Open("snponly.efi")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loaders.Open("snponly.efi"); err != nil || again != first {
		t.Errorf("read again without need: %v", err)
	}
	// An upgrade of the package, seen without a new search.
	put(program(amd64, 400), time.Unix(1e9+1, 0))
	if second, err := loaders.Open("snponly.efi"); err != nil || len(second.Data) != 400 {
		t.Errorf("the file's former content is served: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := loaders.Open("snponly.efi"); err == nil {
		t.Error("a file that is gone is served")
	}
	loaders.Refresh()
	if loaders.Has("snponly.efi") {
		t.Error("a loader is found that is gone")
	}
}

func TestLogChanges(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	a := &findings{byName: map[string]Loader{"a": {Name: "a", Path: "/a"}}, problems: []string{"p"}}
	b := &findings{byName: map[string]Loader{"b": {Name: "b", Path: "/b"}}, problems: []string{"p"}}
	logChanges(&findings{}, a, log)
	logChanges(a, b, log)
	for _, want := range []string{"problem=p", "found=b", "gone=a"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q is not in the log once:\n%s", want, out.String())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := only().Run(ctx, log); err != nil {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	names := func(missing []MissingLoader) (names []string) {
		for _, m := range missing {
			names = append(names, m.Name)
		}
		return names
	}
	if diff := cmp.Diff([]string{
		"undionly.kpxe", "snponly.efi", "ipxe.efi", "snponly-arm64.efi", "ipxe-arm64.efi", "ipxe-i386.efi",
		"ipxe-riscv64.efi", "ipxe-loong64.efi", "snponly-arm32.efi", "snponly-riscv32.efi",
	}, names(only().Missing())); diff != "" {
		t.Errorf("with nothing there (-want +got):\n%s", diff)
	}
	there := only(write(t, map[string][]byte{"undionly.kpxe": bios(9), "ipxe.efi": program(amd64, 300), "snponly-arm64.efi": program(arm64, 300)}))
	missing := there.Missing()
	if got := names(missing); got[0] != "snponly.efi" || got[1] != "ipxe-i386.efi" || !missing[0].Replaced || missing[1].Replaced {
		t.Errorf("missing: %+v", missing)
	}
	for _, m := range only().Missing() {
		if m.Firmware == machine.FirmwareUnknown || m.Arch == machine.ArchUnknown || !strings.Contains(m.Advice, "[loaders] dirs") {
			t.Errorf("%+v", m)
		}
	}
}
