package generation

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree builds profiles as a server has them, in a directory of the test's.
type tree struct {
	t     testing.TB
	dir   string
	store string // DIR/store, whose objects are HASH-NAME
	next  int
}

func newTree(t testing.TB) *tree {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &tree{t: t, dir: dir, store: filepath.Join(dir, "store")}
}

func (tr *tree) check(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) write(path, text string) string {
	tr.t.Helper()
	tr.check(os.MkdirAll(filepath.Dir(path), 0o755))
	tr.check(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// object is the path of a new store object.
func (tr *tree) object(name string) string {
	tr.next++
	return filepath.Join(tr.store, fmt.Sprintf("%032d-%s", tr.next, name))
}

// link points DIR/profiles/NAME-N-link at a target.
func (tr *tree) link(name string, number int, target string) string {
	path := filepath.Join(tr.dir, "profiles", fmt.Sprintf("%s-%d-link", name, number))
	tr.check(os.MkdirAll(filepath.Dir(path), 0o755))
	tr.check(os.Symlink(target, path))
	return path
}

// point makes the profile point at a generation, by a relative link as Nix does.
func (tr *tree) point(name string, number int) {
	path := filepath.Join(tr.dir, "profiles", name)
	tr.check(os.Symlink(fmt.Sprintf("%s-%d-link", name, number), path+".new"))
	tr.check(os.Rename(path+".new", path))
}

func (tr *tree) profile(name string) Profile {
	return Profile{Name: name, Path: filepath.Join(tr.dir, "profiles", name)}
}

// bootspec declares a system whose files lie in the store.
func (tr *tree) bootspec(toplevel, label string) *Bootspec {
	kernel := tr.write(filepath.Join(tr.object("linux"), "bzImage"), "kernel of "+label)
	initrd := tr.write(filepath.Join(tr.object("initrd"), "initrd"), "initrd of "+label)
	tr.write(filepath.Join(toplevel, "init"), "#!")
	return &Bootspec{
		System: "x86_64-linux", Label: label, Toplevel: toplevel, Init: toplevel + "/init",
		Kernel: kernel, Initrd: initrd, KernelParams: []string{"loglevel=4"},
	}
}

func (tr *tree) putSpec(dir string, spec *Bootspec) {
	tr.t.Helper()
	data, err := json.Marshal(spec)
	tr.check(err)
	tr.write(filepath.Join(dir, "boot.json"), string(data))
}

// system makes a toplevel with a bootspec, and returns its store path.
func (tr *tree) system(label string, change ...func(*Bootspec)) string {
	tr.t.Helper()
	toplevel := tr.object("nixos-system-" + strings.NewReplacer(" ", "-", "(", "", ")", "").Replace(label))
	spec := tr.bootspec(toplevel, label)
	for _, c := range change {
		c(spec)
	}
	tr.putSpec(toplevel, spec)
	return toplevel
}

var quiet = slog.New(slog.DiscardHandler)
