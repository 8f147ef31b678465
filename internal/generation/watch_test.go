package generation

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDirectoryFilledInPlace: the server sees mkdir first and the files later,
// with no event in the profile's own directory. The path leads through a link.
func TestDirectoryFilledInPlace(t *testing.T) {
	tr := newTree(t)
	tr.check(os.MkdirAll(filepath.Join(tr.dir, "profiles"), 0o755))
	tr.check(os.Symlink("profiles", filepath.Join(tr.dir, "alias")))
	c, err := NewCatalog([]Profile{{Name: "lab", Path: filepath.Join(tr.dir, "alias/lab")}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	c.poll = time.Hour // only events may show it
	run(t, c)
	dir := tr.directory(map[string]string{"kernel": "k"})
	tr.check(os.MkdirAll(filepath.Join(dir, "later"), 0o755))
	time.Sleep(3 * settleMax) // so that the unfinished one has been read
	tr.directory(map[string]string{"initrd": "i", "init": "#!", "kernel-params": "quiet"})
	until(t, "a directory that was filled in place", func() bool { return newest(c) == 1 })
}

// TestPollWithoutEvents: a closure arrives after its link, and no watched
// directory changes; so it is on NFS, too.
func TestPollWithoutEvents(t *testing.T) {
	tr := newTree(t)
	late := tr.object("late")
	tr.link("lab", 1, tr.system("one"))
	tr.link("lab", 2, late)
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	c.poll = 50 * time.Millisecond
	run(t, c)
	tr.putSpec(late, tr.bootspec(late, "late"))
	until(t, "a closure that came after its link", func() bool { return newest(c) == 2 })
}

// TestOneReadingForEachToplevel: a store path never changes, so its bootspec is
// not read again, and what is gone from the profile is forgotten.
func TestOneReadingForEachToplevel(t *testing.T) {
	tr := newTree(t)
	first := tr.system("one")
	tr.link("lab", 1, first)
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	tr.write(filepath.Join(first, "boot.json"), "not read any more")
	link := tr.link("lab", 2, tr.system("two"))
	for range 3 {
		c.refresh()
	}
	if got := numbersOf(c.Generations("lab")); len(got) != 2 {
		t.Errorf("generations %v, want 2 and 1: the first was read again", got)
	}
	tr.check(os.Remove(link))
	c.refresh()
	c.refresh()
	if n := len(c.store.last); n != 1 {
		t.Errorf("%d toplevels remembered, want 1", n)
	}
}

// TestRecovery: the log says when a profile can be read again, and a problem
// that comes back is told again.
func TestRecovery(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("one"))
	var log lockedBuffer
	c, err := NewCatalog([]Profile{tr.profile("lab")}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	profiles, away := filepath.Join(tr.dir, "profiles"), filepath.Join(tr.dir, "away")
	for range 2 {
		tr.check(os.Rename(profiles, away))
		c.refresh()
		c.refresh()
		tr.check(os.Rename(away, profiles))
		c.refresh()
		c.refresh()
	}
	if n := strings.Count(log.String(), "profile has a problem"); n != 2 {
		t.Errorf("%d problems logged, want 2:\n%s", n, log.String())
	}
	if n := strings.Count(log.String(), "profile read"); n != 3 {
		t.Errorf("read %d times, want 3:\n%s", n, log.String())
	}
}

// TestSetProfiles: a profile that moved has nothing of its former place, a
// setting takes effect, and bad profiles change nothing.
func TestSetProfiles(t *testing.T) {
	tr := newTree(t)
	secret := tr.system("one", func(b *Bootspec) { b.InitrdSecrets = "/nix/store/x/append" })
	tr.link("lab", 1, secret)
	p := tr.profile("lab")
	c, err := NewCatalog([]Profile{p}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if newest(c) != 0 {
		t.Error("secrets are on offer without leave")
	}
	p.AllowSecrets = true
	c.SetProfiles([]Profile{p})
	if newest(c) != 1 {
		t.Error("secrets are allowed, and not on offer")
	}
	c.SetProfiles([]Profile{{Name: "lab", Path: "relative"}})
	if newest(c) != 1 {
		t.Error("a bad profile replaced a good one")
	}
	p.AllowSecrets = false
	c.SetProfiles([]Profile{p})
	if newest(c) != 0 {
		t.Error("leave was withdrawn, and secrets are still on offer")
	}
	p.Path = filepath.Join(tr.dir, "profiles", "other")
	c.SetProfiles([]Profile{p})
	if newest(c) != 0 {
		t.Error("generations of the former path")
	}
}

// TestReadWhileChanging is for the race detector.
func TestReadWhileChanging(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("one"))
	second := tr.system("two")
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			link := tr.link("lab", 2, second)
			c.refresh()
			_ = os.Remove(link)
			c.SetProfiles([]Profile{tr.profile("lab")})
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
			if g, ok := c.Generation("lab", 1); !ok || g.Label != "one" {
				t.Fatal("generation 1 is away for a moment")
			}
		}
	}
}
