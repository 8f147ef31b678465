package generation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// directory makes generation 1 of lab as a plain directory with these files.
func (tr *tree) directory(files map[string]string) string {
	tr.t.Helper()
	dir := filepath.Join(tr.dir, "profiles", "lab-1-link")
	for name, text := range files {
		tr.write(filepath.Join(dir, name), text)
	}
	return dir
}

// only scans lab, which must have one generation and these warnings.
func (tr *tree) only(warnings ...string) Generation {
	tr.t.Helper()
	gens, got, err := Scan(tr.profile("lab"))
	if err != nil || len(gens) != 1 {
		tr.t.Fatalf("%d generations, error %v, warnings %v", len(gens), err, got)
	}
	tr.wantWarnings(got, warnings...)
	return gens[0]
}

func (tr *tree) wantWarnings(got []error, want ...string) {
	tr.t.Helper()
	if len(got) != len(want) {
		tr.t.Fatalf("warnings %v, want %d", got, len(want))
	}
	for i := range want {
		if !strings.Contains(got[i].Error(), want[i]) {
			tr.t.Errorf("warning %q, want %q in it", got[i], want[i])
		}
	}
}

func TestDirectoryWithKernelParams(t *testing.T) {
	const toplevel = "/nix/store/00000000000000000000000000000000-nixos-system-lab"
	for _, row := range []struct {
		name, params, init string
		more               map[string]string
		want               []string
		warnings           []string
	}{
		{"init= says which system", "quiet init=" + toplevel + "/init loglevel=4", toplevel + "/init", nil,
			[]string{"quiet", "loglevel=4"}, nil},
		{"a copied toplevel", "quiet", "DIR/init", map[string]string{"init": "#!"}, []string{"quiet"}, nil},
		{"nothing says which system", "quiet\n", "DIR/init", nil, []string{"quiet"},
			[]string{"add a boot.json, or init= to kernel-params"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := newTree(t)
			dir := tr.directory(map[string]string{"kernel": "k", "initrd": "i", "kernel-params": row.params})
			tr.directory(row.more)
			g := tr.only(row.warnings...)
			init := strings.Replace(row.init, "DIR", dir, 1)
			if g.Init != init || g.Toplevel != filepath.Dir(init) {
				t.Errorf("toplevel %s, init %s; want init %s", g.Toplevel, g.Init, init)
			}
			if diff := cmp.Diff(row.want, g.KernelParams); diff != "" {
				t.Errorf("parameters (-want +got):\n%s", diff)
			}
			if g.Label != "NixOS" || g.System.System != "" {
				t.Errorf("label %q, system %q from nothing", g.Label, g.System.System)
			}
		})
	}
}

// TestDirectoryStaysInside: what kernel and initrd lead to is sent to
// everybody, so it is only what lies in the generation, beside it, or in a store.
func TestDirectoryStaysInside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(outside, []byte("root:secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		kernel func(tr *tree, path string)
		want   string // "" if it is offered
	}{
		{"beside it", func(tr *tree, path string) {
			tr.write(filepath.Join(tr.dir, "profiles/kernels/6.18"), "k")
			tr.check(os.Symlink("../kernels/6.18", path))
		}, ""},
		{"outside", func(tr *tree, path string) { tr.check(os.Symlink(outside, path)) }, "outside of what may be served"},
		{"dangling", func(tr *tree, path string) { tr.check(os.Symlink("/nix/store/none", path)) }, "cp --dereference"},
		{"a loop", func(tr *tree, path string) { tr.check(os.Symlink("kernel", path)) }, "can't follow"},
		{"missing, and the bootspec's is outside", func(*tree, string) {}, "outside of what may be served"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := newTree(t)
			dir := tr.directory(nil)
			tr.putSpec(dir, &Bootspec{System: "x86_64-linux", Label: "x", Toplevel: "/t", Init: "/t/init", Kernel: outside})
			row.kernel(tr, filepath.Join(dir, "kernel"))
			if row.want == "" {
				tr.only()
				return
			}
			gens, warnings, err := Scan(tr.profile("lab"))
			if err == nil || len(gens) > 0 {
				t.Errorf("%d generations, error %v", len(gens), err)
			}
			tr.wantWarnings(warnings, row.want)
		})
	}
}

// TestDirectorySpecialisation: one has its own copy of the kernel, the other
// shares the generation's, as most do.
func TestDirectorySpecialisation(t *testing.T) {
	tr := newTree(t)
	spec := func(name, kernel string) *Bootspec {
		top := "/nix/store/00000000000000000000000000000000-" + name
		return &Bootspec{System: "x86_64-linux", Label: name, Toplevel: top, Init: top + "/init", Kernel: kernel}
	}
	document := func(spec *Bootspec) json.RawMessage {
		data, err := json.Marshal(spec)
		tr.check(err)
		return data
	}
	const shared, own = "/nix/store/1-linux/bzImage", "/nix/store/2-linux-rt/bzImage"
	main := spec("main", shared)
	main.Specialisations = map[string]json.RawMessage{
		"exam": document(spec("exam", shared)),
		"gone": document(spec("gone", "/nix/store/3-gone/bzImage")),
		"rt":   document(spec("rt", own)),
	}
	dir := tr.directory(map[string]string{"kernel": "k", "specialisation/rt/kernel": "k2"})
	tr.putSpec(dir, main)
	g := tr.only(`specialisation "gone" left out`)
	got := make(map[string]string)
	for _, s := range g.Specialisations {
		got[s.Name] = s.Kernel
	}
	want := map[string]string{"exam": dir + "/kernel", "rt": dir + "/specialisation/rt/kernel"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kernels (-want +got):\n%s", diff)
	}
}

// TestCopiedStore: a closure that was copied to another directory still names
// the store of the machines.
func TestCopiedStore(t *testing.T) {
	tr := newTree(t)
	toplevel := tr.system("x", func(b *Bootspec) {
		for _, path := range []*string{&b.Toplevel, &b.Init, &b.Kernel, &b.Initrd} {
			*path = strings.Replace(*path, tr.store, "/elsewhere/store", 1)
		}
	})
	tr.link("lab", 1, toplevel)
	g := tr.only()
	if !strings.HasPrefix(g.Kernel, tr.store+"/") || !strings.HasPrefix(g.Initrd, tr.store+"/") {
		t.Errorf("kernel %s, initrd %s; want this server's", g.Kernel, g.Initrd)
	}
	if want := "/elsewhere/store/" + filepath.Base(toplevel); g.Toplevel != want || g.Init != want+"/init" {
		t.Errorf("toplevel %s, init %s; want the machine's, %s", g.Toplevel, g.Init, want)
	}
}

// TestAlias: the configured path leads to the profile by another link and
// through a directory that is a link, as ~/.nix-profile may.
func TestAlias(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("one"))
	tr.link("lab", 2, tr.system("two"))
	tr.point("lab", 1)
	tr.check(os.Symlink("profiles", filepath.Join(tr.dir, "alias")))
	tr.check(os.Symlink("alias/lab", filepath.Join(tr.dir, "my-profile")))
	gens, warnings, err := Scan(Profile{Name: "x", Path: filepath.Join(tr.dir, "my-profile")})
	if err != nil || len(warnings) > 0 || len(gens) != 2 || !gens[1].Current {
		t.Errorf("%+v, warnings %v, %v", gens, warnings, err)
	}
}

func TestProfilesInOneDirectory(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 2, tr.system("of lab"))
	tr.link("lab-2", 7, tr.system("of lab-2"))
	tr.link("lab-2-7", 1, tr.system("of lab-2-7"))
	for name, want := range map[string]int{"lab": 2, "lab-2": 7, "lab-2-7": 1} {
		gens, warnings, err := Scan(tr.profile(name))
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v, warnings %v", name, err, warnings)
		}
		if diff := cmp.Diff([]int{want}, numbersOf(gens)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPointsNowhere: the generation that the profile points at was deleted by hand.
func TestPointsNowhere(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 3, tr.system("three"))
	tr.point("lab", 4)
	if g := tr.only("points at generation 4, which isn't there"); g.Current {
		t.Error("generation 3 is current, and the profile points at 4")
	}
}

// TestLargeInitrd: it is offered, and warned about once though two
// generations share it. The file has no blocks, only a size.
func TestLargeInitrd(t *testing.T) {
	tr := newTree(t)
	large := tr.write(filepath.Join(tr.object("initrd"), "initrd"), "i")
	tr.check(os.Truncate(large, maxInitrd+1))
	for n := 1; n <= 2; n++ {
		tr.link("lab", n, tr.system(fmt.Sprint("system ", n), func(b *Bootspec) { b.Initrd = large }))
	}
	gens, warnings, err := Scan(tr.profile("lab"))
	if err != nil || len(gens) != 2 {
		t.Fatalf("%d generations, %v", len(gens), err)
	}
	tr.wantWarnings(warnings, large+": 1024 MiB: larger than 1 GiB")
}

// TestSynthesisedSecrets: the script that appends secrets is there in every
// system of before bootspec; it ends early where there are none.
func TestSynthesisedSecrets(t *testing.T) {
	for script, want := range map[string][]string{
		"#!/bin/sh\nif x; then\n  exit 0\nfi\nexit 0\n\nexport PATH=x\n": nil,
		"#!/bin/sh\nif x; then\n  exit 0\nfi\n\nexport PATH=x\n":         {"allow_secrets = true"},
	} {
		tr := newTree(t)
		tr.directory(map[string]string{"kernel": "k", "init": "#!", "kernel-params": "", "append-initrd-secrets": script})
		gens, warnings, _ := Scan(tr.profile("lab"))
		if offered := want == nil; offered != (len(gens) == 1) {
			t.Errorf("%q: %d generations", script, len(gens))
		}
		tr.wantWarnings(warnings, want...)
	}
}
