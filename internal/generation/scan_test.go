package generation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func numbersOf(gens []Generation) []int {
	var numbers []int
	for i := range gens {
		numbers = append(numbers, gens[i].Number)
	}
	return numbers
}

func TestScan(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 9, tr.system("NixOS 26.05 (Linux 6.17)"))
	newest := tr.link("lab", 10, tr.system("NixOS 26.11 (Linux 6.18)"))
	date := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	touch(t, newest, date)
	tr.point("lab", 9)
	// Profiles beside it whose names begin alike.
	tr.link("lab-2", 7, tr.system("another profile"))
	tr.link("labs", 8, tr.system("a third"))
	for _, name := range []string{"lab-x-link", "lab-0-link", "lab-011-link", "lab-+5-link", "lab-5-link.tmp", "lab--5-link"} {
		tr.check(os.Symlink("nowhere", filepath.Join(tr.dir, "profiles", name)))
	}

	gens, warnings, err := Scan(tr.profile("lab"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, warnings)
	}
	if diff := cmp.Diff([]int{10, 9}, numbersOf(gens)); diff != "" {
		t.Fatalf("generations (-want +got):\n%s", diff)
	}
	g := gens[0]
	if g.Current || !gens[1].Current {
		t.Errorf("current: 10 %v, 9 %v; the profile points at 9", g.Current, gens[1].Current)
	}
	if !g.Date.Equal(date) {
		t.Errorf("date %v, want the link's own, %v", g.Date, date)
	}
	if g.Label != "NixOS 26.11 (Linux 6.18)" || g.KernelVersion != "6.18" || g.System.System != "x86_64-linux" || g.Profile != "lab" {
		t.Errorf("generation %+v", g)
	}
	if data, err := os.ReadFile(g.Kernel); err != nil || string(data) != "kernel of "+g.Label {
		t.Errorf("kernel %q, %v", data, err)
	}
}

func touch(t *testing.T, link string, date time.Time) {
	t.Helper()
	if err := lutimes(link, date); err != nil {
		t.Fatal(err)
	}
}

// TestBadGenerations: one that can't be booted is left out and named, and the
// others stay.
func TestBadGenerations(t *testing.T) {
	outside := t.TempDir()
	for _, row := range []struct {
		name string
		bad  func(tr *tree) string // what the link of generation 2 points at
		want string
	}{
		{"dangling link", func(tr *tree) string { return tr.object("gone") }, "dangling link to"},
		{"empty toplevel", func(tr *tree) string {
			dir := tr.object("empty")
			tr.check(os.MkdirAll(dir, 0o755))
			return dir
		}, "finish copying the system"},
		{"kernel missing", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { tr.check(os.Remove(b.Kernel)) })
		}, "kernel: "},
		{"initrd missing", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { tr.check(os.Remove(b.Initrd)) })
		}, "initrd: "},
		{"init missing", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { tr.check(os.Remove(b.Init)) })
		}, "init: "},
		{"empty kernel after a power loss", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { tr.check(os.Truncate(b.Kernel, 0)) })
		}, "is empty"},
		{"kernel is a directory", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { b.Kernel = filepath.Dir(b.Kernel) })
		}, "no regular file"},
		{"kernel outside of the store", func(tr *tree) string {
			path := tr.write(filepath.Join(outside, "passwd"), "secret")
			return tr.system("x", func(b *Bootspec) { b.Kernel = path })
		}, "outside of what may be served"},
		{"kernel links out of the store", func(tr *tree) string {
			path := tr.write(filepath.Join(outside, "passwd"), "secret")
			return tr.system("x", func(b *Bootspec) {
				tr.check(os.Remove(b.Kernel))
				tr.check(os.Symlink(path, b.Kernel))
			})
		}, "outside of what may be served"},
		{"secrets", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { b.InitrdSecrets = "/nix/store/x/append" })
		}, "allow_secrets = true"},
		{"broken boot.json", func(tr *tree) string {
			dir := tr.system("x")
			tr.write(filepath.Join(dir, "boot.json"), `{"org.nixos.bootspec.v1": {`)
			return dir
		}, "boot.json is broken"},
		{"huge boot.json", func(tr *tree) string {
			dir := tr.system("x")
			tr.write(filepath.Join(dir, "boot.json"), strings.Repeat(" ", MaxBootspec+1)+"{}")
			return dir
		}, "boot.json"},
		{"control character", func(tr *tree) string {
			return tr.system("x", func(b *Bootspec) { b.KernelParams = []string{"a\nreboot"} })
		}, "control character"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := newTree(t)
			tr.link("lab", 1, tr.system("good"))
			link := tr.link("lab", 2, row.bad(tr))
			tr.point("lab", 1)
			gens, warnings, err := Scan(tr.profile("lab"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]int{1}, numbersOf(gens)); diff != "" {
				t.Errorf("generations (-want +got):\n%s", diff)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), row.want) || !strings.Contains(warnings[0].Error(), link) {
				t.Errorf("warnings %v, want %q and %s", warnings, row.want, link)
			}
		})
	}
}

func TestSecretsCanBeAllowed(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("x", func(b *Bootspec) { b.InitrdSecrets = "/nix/store/x/append" }))
	p := tr.profile("lab")
	p.AllowSecrets = true
	if gens, _, err := Scan(p); err != nil || len(gens) != 1 {
		t.Errorf("%d generations, %v", len(gens), err)
	}
}

func TestNothingToOffer(t *testing.T) {
	tr := newTree(t)
	tr.check(os.MkdirAll(filepath.Join(tr.dir, "profiles"), 0o755))
	for _, row := range []struct {
		prepare func()
		profile Profile
		want    string
	}{
		{func() {}, Profile{Name: "lab", Path: filepath.Join(tr.dir, "nowhere/lab")}, "correct the profile's path"},
		{func() {}, tr.profile("lab"), "nix-env --profile"},
		{func() { tr.link("lab", 1, tr.object("gone")) }, tr.profile("lab"), "none of its generations can be booted; the warnings"},
	} {
		row.prepare()
		if gens, _, err := Scan(row.profile); err == nil || len(gens) > 0 || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%d generations, error %v, want %q", len(gens), err, row.want)
		}
	}
}

func TestKeep(t *testing.T) {
	tr := newTree(t)
	for n := 1; n <= 6; n++ {
		tr.link("lab", n, tr.system(fmt.Sprint("system ", n)))
	}
	tr.link("lab", 7, tr.object("gone"))
	tr.point("lab", 2)
	p := tr.profile("lab")
	p.Keep = 3
	gens, _, err := Scan(p)
	if err != nil {
		t.Fatal(err)
	}
	// The broken one doesn't count, and the current one is always there.
	if diff := cmp.Diff([]int{6, 5, 4, 2}, numbersOf(gens)); diff != "" {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
	p.Pinned = []int{1, 99}
	if gens, _, err = Scan(p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{6, 5, 4, 2, 1}, numbersOf(gens)); diff != "" {
		t.Errorf("with 1 pinned (-want +got):\n%s", diff)
	}
}

func TestSpecialisations(t *testing.T) {
	tr := newTree(t)
	document := func(spec *Bootspec) json.RawMessage {
		data, err := json.Marshal(spec)
		tr.check(err)
		return data
	}
	toplevel := tr.system("main", func(b *Bootspec) {
		exam := tr.bootspec(tr.object("nixos-system-exam"), "exam label")
		exam.Specialisations = map[string]json.RawMessage{"nested": document(tr.bootspec(tr.object("nested"), "nested"))}
		gone := tr.bootspec(tr.object("nixos-system-gone"), "gone")
		tr.check(os.Remove(gone.Kernel))
		b.Specialisations = map[string]json.RawMessage{
			"quiet": document(tr.bootspec(tr.object("nixos-system-quiet"), "quiet label")),
			"exam":  document(exam),
			"gone":  document(gone),
			"../up": document(tr.bootspec(tr.object("nixos-system-up"), "up")),
			"null":  json.RawMessage("null"),
		}
	})
	tr.link("lab", 1, toplevel)
	gens, warnings, err := Scan(tr.profile("lab"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range gens[0].Specialisations {
		names = append(names, s.Name+": "+s.Label)
	}
	if diff := cmp.Diff([]string{"exam: exam label", "quiet: quiet label"}, names); diff != "" {
		t.Errorf("specialisations (-want +got):\n%s", diff)
	}
	if len(warnings) != 3 {
		t.Errorf("warnings %v, want three", warnings)
	}
}

// TestSynthesise is a system of before bootspec, and one with its preview form.
func TestSynthesise(t *testing.T) {
	for _, preview := range []string{"", `{"v1": {"label": "preview"}}`} {
		tr := newTree(t)
		toplevel := func(name string) string {
			dir := tr.object(name)
			for file, text := range map[string]string{
				"init": "#!", "kernel-params": "loglevel=4 quiet", "nixos-version": "22.05.1", "system": "x86_64-linux",
				"kernel-modules/lib/modules/5.15.2/modules.dep": "",
			} {
				tr.write(filepath.Join(dir, file), text)
			}
			tr.check(os.Symlink(tr.write(filepath.Join(tr.object("linux"), "bzImage"), "k"), filepath.Join(dir, "kernel")))
			tr.check(os.Symlink(tr.write(filepath.Join(tr.object("initrd"), "initrd"), "i"), filepath.Join(dir, "initrd")))
			if preview != "" {
				tr.write(filepath.Join(dir, "boot.json"), preview)
			}
			return dir
		}
		dir := toplevel("nixos-system-old")
		tr.check(os.MkdirAll(filepath.Join(dir, "specialisation"), 0o755))
		tr.check(os.Symlink(toplevel("nixos-system-exam"), filepath.Join(dir, "specialisation", "exam")))
		tr.link("lab", 1, dir)
		gens, warnings, err := Scan(tr.profile("lab"))
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%v, warnings %v", err, warnings)
		}
		g := gens[0]
		if g.Label != "NixOS 22.05.1 (Linux 5.15.2)" || g.Init != dir+"/init" || g.KernelVersion != "5.15.2" || g.System.System != "x86_64-linux" {
			t.Errorf("generation %+v", g)
		}
		if diff := cmp.Diff([]string{"loglevel=4", "quiet"}, g.KernelParams); diff != "" {
			t.Error(diff)
		}
		if len(g.Specialisations) != 1 || g.Specialisations[0].Name != "exam" {
			t.Errorf("specialisations %+v", g.Specialisations)
		}
	}
}

// TestServerWithoutNix: plain directories with copies of the files, whose
// bootspec names store paths that only the machines have.
func TestServerWithoutNix(t *testing.T) {
	tr := newTree(t)
	for n := 1; n <= 2; n++ {
		dir := filepath.Join(tr.dir, "profiles", fmt.Sprintf("lab-%d-link", n))
		tr.write(filepath.Join(dir, "kernel"), "k")
		tr.write(filepath.Join(dir, "initrd"), "i")
		const toplevel = "/nix/store/00000000000000000000000000000000-nixos-system-lab"
		tr.putSpec(dir, &Bootspec{
			System: "x86_64-linux", Label: "lab", Toplevel: toplevel, Init: toplevel + "/init",
			Kernel: "/nix/store/11111111111111111111111111111111-linux/bzImage",
			Initrd: "/nix/store/22222222222222222222222222222222-initrd/initrd",
		})
	}
	gens, warnings, err := Scan(tr.profile("lab"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, warnings)
	}
	g := gens[0]
	if g.Number != 2 || !g.Current {
		t.Errorf("generation %d, current %v; want the newest, 2", g.Number, g.Current)
	}
	if g.Kernel != filepath.Join(tr.dir, "profiles/lab-2-link/kernel") || !strings.HasPrefix(g.Init, "/nix/store/0000") {
		t.Errorf("kernel %s, init %s", g.Kernel, g.Init)
	}
}

func BenchmarkScan50(b *testing.B) {
	tr := newTree(b)
	for n := 1; n <= 50; n++ {
		tr.link("lab", n, tr.system(fmt.Sprint("system ", n)))
	}
	for b.Loop() {
		if gens, _, err := Scan(tr.profile("lab")); err != nil || len(gens) != 50 {
			b.Fatal(len(gens), err)
		}
	}
}
