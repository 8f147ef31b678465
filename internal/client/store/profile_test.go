package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// links are those of a directory, by name.
func links(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		if name.IsDir() {
			continue // per-user, which Nix makes
		}
		if all[name.Name()], err = os.Readlink(filepath.Join(dir, name.Name())); err != nil {
			t.Error(err)
		}
	}
	return all
}

const profiles = "nix/var/nix/profiles"

func setSystem(t testing.TB, root string, number int) {
	t.Helper()
	if err := At(root, storeDir).SetSystem(base(number)); err != nil {
		t.Fatal(err)
	}
}

// By turns, ravenboot and nix-env do what nix-env alone does beside them.
func TestSetSystemNumbersAsNixEnv(t *testing.T) {
	ours, theirs := newRoot(t), newRoot(t)
	for _, root := range []string{ours, theirs} {
		s := open(t, root)
		for n := range 8 {
			register(t, s, plant(t, s, n, "system"))
		}
		s.closeFor(t)
	}
	env := func(root string, argv ...string) {
		t.Helper()
		mustNix(t, root, append([]string{"nix-env", "-p", filepath.Join(root, profiles, "system")}, argv...)...)
	}
	for i, step := range []struct {
		set    int      // with SetSystem; nix-env beside it
		both   []string // with nix-env on both
		beside []string // if nix-env says it otherwise
	}{
		{set: 1},
		{set: 2},
		{set: 2},
		{both: []string{"--set", storeDir + "/" + base(3)}},
		{set: 3},
		{set: 4},
		{both: []string{"--delete-generations", "2"}},
		{set: 5},
		{set: 1, beside: []string{"--switch-generation", "1"}},
		{set: 6},
		{both: []string{"--rollback"}},
		{set: 6, beside: []string{"--switch-generation", "6"}},
		{both: []string{"--delete-generations", "old"}},
		{set: 7},
	} {
		switch {
		case step.both != nil:
			env(ours, step.both...)
			env(theirs, step.both...)
		case step.beside != nil:
			setSystem(t, ours, step.set)
			env(theirs, step.beside...)
		default:
			setSystem(t, ours, step.set)
			env(theirs, "--set", storeDir+"/"+base(step.set))
		}
		if diff := cmp.Diff(links(t, filepath.Join(theirs, profiles)), links(t, filepath.Join(ours, profiles))); diff != "" {
			t.Fatalf("step %d: -nix-env +ours\n%s", i+1, diff)
		}
	}
}

func TestSetSystemMarksTheRoot(t *testing.T) {
	root := newRoot(t)
	setSystem(t, root, 1) // an empty disk, as engine nix leaves it to Nix
	if got := links(t, filepath.Join(root, "nix/var/nix/gcroots")); got["profiles"] != "/nix/var/nix/profiles" {
		t.Errorf("gcroots: %v", got)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/NIXOS"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	setSystem(t, root, 2)
	if text, err := os.ReadFile(filepath.Join(root, "etc/NIXOS")); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestSetSystemOverWhatACutHasLeft(t *testing.T) {
	root := newRoot(t)
	setSystem(t, root, 1)
	dir := filepath.Join(root, profiles)
	err := errors.Join(os.Symlink("x", filepath.Join(dir, ".ravenboot-system")),
		os.Symlink("y", filepath.Join(dir, ".ravenboot-system-2-link")),
		os.Symlink("z", filepath.Join(dir, "system-x-link")))
	if err != nil {
		t.Fatal(err)
	}
	setSystem(t, root, 2)
	got := links(t, dir)
	delete(got, "system-x-link")
	want := map[string]string{
		"system": "system-2-link", "system-1-link": storeDir + "/" + base(1), "system-2-link": storeDir + "/" + base(2)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Whichever step fails, the machine goes on with the system that it had, and the
// next try does the rest.
func TestSetSystemStopsAtTheFirstError(t *testing.T) {
	for name, inTheWay := range map[string]string{
		"the generation": profiles + "/.ravenboot-system-2-link",
		"the root":       "nix/var/nix/gcroots/.ravenboot-profiles",
		"the mark":       "etc",
		"the profile":    profiles + "/.ravenboot-system",
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			setSystem(t, root, 1)
			// As after a cut, or on a disk that another program has laid out.
			err := errors.Join(os.Remove(filepath.Join(root, "nix/var/nix/gcroots/profiles")), os.RemoveAll(filepath.Join(root, "etc")))
			if err != nil {
				t.Fatal(err)
			}
			inTheWay := filepath.Join(root, inTheWay)
			if filepath.Base(inTheWay) == "etc" {
				err = os.WriteFile(inTheWay, nil, 0o600)
			} else {
				err = os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := At(root, storeDir).SetSystem(base(2)); err == nil || !strings.Contains(err.Error(), inTheWay) {
				t.Errorf("%v, want an error that names %s", err, inTheWay)
			}
			if err := os.RemoveAll(inTheWay); err != nil {
				t.Fatal(err)
			}
			got := links(t, filepath.Join(root, profiles))
			if got["system"] != "system-1-link" || got["system-1-link"] != storeDir+"/"+base(1) {
				t.Errorf("it left %v", got)
			}
			setSystem(t, root, 2)
			want := map[string]string{
				"system": "system-2-link", "system-1-link": storeDir + "/" + base(1), "system-2-link": storeDir + "/" + base(2)}
			if diff := cmp.Diff(want, links(t, filepath.Join(root, profiles))); diff != "" {
				t.Errorf("the next try: -want +got\n%s", diff)
			}
		})
	}
}

// Nix counts what a cut may leave of a replacement as no generation, and a link
// that only looks like generation 1 doesn't cost generation 1 its own.
func TestGenerationsAreThoseOfNix(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	for n := 1; n <= 2; n++ {
		register(t, s, plant(t, s, n, "system"))
		setSystem(t, root, n)
	}
	dir := filepath.Join(root, profiles)
	target := storeDir + "/" + base(2)
	if err := os.Symlink(target, filepath.Join(dir, ".ravenboot-system-3-link")); err != nil {
		t.Fatal(err)
	}
	out := mustNix(t, root, "nix-env", "-p", filepath.Join(dir, "system"), "--list-generations")
	if got := strings.Count(out, "\n") + 1; got != 2 || !strings.Contains(out, "(current)") {
		t.Errorf("Nix has the generations\n%s\nwant 1 and 2", out)
	}
	for _, name := range []string{"system-001-link", "system-+1-link"} {
		if err := os.Symlink("/elsewhere", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := s.Prune(t.Context(), base(1), nil, func(Room) bool { return false })
	if err != nil || !slices.Equal(gone, []int{2}) || !exists(filepath.Join(dir, "system-1-link")) {
		t.Errorf("generations %v are gone, %v, and the chosen one is %v; want 2 gone only", gone, err, links(t, dir))
	}
	s.closeFor(t)
}

// A disk with generations 1 to 3, of which each needs a path of its own and one
// that all share, is pruned.
func TestPrune(t *testing.T) {
	const (
		shared = 10
		own    = 20 // and its generation's number
		loose  = 30
		fresh  = 40 // in its place, and not yet valid
	)
	link := func(t *testing.T, root, target, name string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(target, name)); err != nil {
			t.Fatal(err)
		}
	}
	loosePath := storeDir + "/" + base(loose)
	rest := []int{1, 2, 3, shared, own + 1, own + 2, own + 3} // what the generations need
	for name, test := range map[string]struct {
		prepare  func(t *testing.T, root string)
		toplevel int
		keep     []int
		rounds   int // as often there isn't enough
		gone     []int
		left     []int
		current  string
	}{
		"enough": {toplevel: 4, left: rest, current: "system-3-link"},
		"one": {toplevel: 4, rounds: 1, gone: []int{1}, current: "system-3-link",
			left: []int{2, 3, shared, own + 2, own + 3}},
		"never enough":         {toplevel: 4, rounds: 9, gone: []int{1, 2, 3}, left: nil},
		"the chosen one stays": {toplevel: 1, rounds: 9, gone: []int{2, 3}, left: []int{1, shared, own + 1}},
		"what comes stays": {toplevel: 4, keep: []int{4, fresh, shared}, rounds: 9, gone: []int{1, 2, 3},
			left: []int{shared, fresh}},
		"and what it refers to": {toplevel: 4, keep: []int{3}, rounds: 9, gone: []int{1, 2, 3}, left: []int{3, shared, own + 3}},
		"a root": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) { link(t, root, loosePath, "nix/var/nix/gcroots/mine") }},
		"a root below": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) { link(t, root, loosePath+"/file", "nix/var/nix/gcroots/a/b/c") }},
		"a root by its name": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				if err := os.WriteFile(filepath.Join(root, "nix/var/nix/gcroots", base(loose)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}},
		"a user's profile": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				link(t, root, loosePath, profiles+"/per-user/root/profile-1-link")
			}},
		"an indirect root": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				link(t, root, "/home/me/result", "nix/var/nix/gcroots/auto/x")
				link(t, root, loosePath, "home/me/result")
			}},
		"an indirect root through links": {toplevel: 4, left: append([]int{loose}, rest...), current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				link(t, root, "/home/me/result", "nix/var/nix/gcroots/auto/x")
				link(t, root, "/data/home", "home")
				link(t, root, "../results/1", "data/home/me/result")
				link(t, root, loosePath, "data/home/results/1")
			}},
		"roots that lead nowhere": {toplevel: 4, left: rest, current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				link(t, root, "/run/current-system", "nix/var/nix/gcroots/current-system")
				link(t, root, "loop", "nix/var/nix/gcroots/loop")
				link(t, root, "../../../../../../../../etc/passwd", "nix/var/nix/gcroots/up")
				link(t, root, storeDir+"/../store-2/"+base(loose), "nix/var/nix/gcroots/other")
			}},
		"other things in the store": {toplevel: 4, left: rest, current: "system-3-link",
			prepare: func(t *testing.T, root string) {
				dir := filepath.Join(root, storeDir)
				err := errors.Join(os.WriteFile(filepath.Join(dir, base(1)+".lock"), nil, 0o600),
					os.MkdirAll(filepath.Join(dir, "tmp-1/deep"), 0o500), os.Mkdir(filepath.Join(dir, ".links"), 0o755))
				if err != nil {
					t.Fatal(err)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			s := open(t, root)
			register(t, s, plant(t, s, shared, "shared"), plant(t, s, loose, "loose", loose))
			for n := 1; n <= 3; n++ {
				register(t, s, plant(t, s, n, "system", shared, own+n), plant(t, s, own+n, "own"))
				setSystem(t, root, n)
			}
			plant(t, s, fresh, "fresh")
			if test.prepare != nil {
				test.prepare(t, root)
			}
			var keep []string
			for _, n := range test.keep {
				keep = append(keep, base(n))
			}
			asked := 0
			gone, err := s.Prune(t.Context(), base(test.toplevel), keep, func(Room) bool { asked++; return asked > test.rounds })
			if err != nil || !slices.Equal(gone, test.gone) {
				t.Errorf("generations %v are gone, %v, want %v", gone, err, test.gone)
			}
			s.closeFor(t)
			checkLeft(t, root, test.left)
			if got := links(t, filepath.Join(root, profiles))["system"]; got != test.current {
				t.Errorf("the profile leads to %q, want %q", got, test.current)
			}
			mustNix(t, root, "nix-store", "--verify", "--check-contents")
		})
	}
}

// checkLeft compares what is in the store, .links apart.
func checkLeft(t *testing.T, root string, want []int) {
	t.Helper()
	names, err := os.ReadDir(filepath.Join(root, storeDir))
	if err != nil {
		t.Fatal(err)
	}
	var got, bases []string
	for _, name := range names {
		if name.Name() != ".links" {
			got = append(got, name.Name())
		}
	}
	for _, n := range want {
		bases = append(bases, base(n))
	}
	slices.Sort(bases)
	if diff := cmp.Diff(bases, got); diff != "" {
		t.Errorf("in the store: -want +got\n%s", diff)
	}
}

// What the booted system's Nix has made one of (auto-optimise-store) becomes
// free only with the name that Nix keeps of it.
func TestPruneFreesWhatIsShared(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	content := strings.Repeat("the same ", 1000)
	register(t, s, plant(t, s, 1, content), plant(t, s, 2, content),
		plant(t, s, 3, content+"or not"), plant(t, s, 4, content+"or not"))
	setSystem(t, root, 1)
	s.closeFor(t)
	mustNix(t, root, "nix-store", "--optimise")
	shared := func() int {
		names, err := os.ReadDir(filepath.Join(root, storeDir, ".links"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if shared() != 2 {
		t.Fatalf("Nix shares %d files", shared())
	}
	s = open(t, root)
	if _, err := s.Prune(t.Context(), base(1), nil, func(Room) bool { return true }); err != nil {
		t.Fatal(err)
	}
	s.closeFor(t)
	if shared() != 1 {
		t.Errorf("%d files are kept in .links, want that of what is left", shared())
	}
	checkLeft(t, root, []int{1})
	mustNix(t, root, "nix-store", "--verify", "--check-contents")
	if out := mustNix(t, root, "nix-store", "--gc", "--print-dead"); out != "" {
		t.Errorf("Nix would remove more: %s", out)
	}
}

func TestPruneStops(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	register(t, s, plant(t, s, 1, "x"))
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	// Nothing may be removed that the database still has for valid.
	if _, err := s.Prune(t.Context(), base(2), nil, func(Room) bool { return false }); err == nil || !s.InPlace(base(1)) {
		t.Errorf("%v, and it is there: %v", err, s.InPlace(base(1)))
	}
}
