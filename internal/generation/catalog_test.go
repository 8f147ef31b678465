package generation

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// until waits for a condition that the watch is to bring about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func run(t *testing.T, c *Catalog) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func newest(c *Catalog) int {
	if gens := c.Generations("lab"); len(gens) > 0 {
		return gens[0].Number
	}
	return 0
}

func TestCatalogFollowsTheProfile(t *testing.T) {
	tr := newTree(t)
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if newest(c) != 0 {
		t.Fatal("generations out of nothing")
	}
	// Only events may show what follows.
	c.poll = time.Hour
	run(t, c)

	tr.link("lab", 1, tr.system("one"))
	tr.point("lab", 1)
	until(t, "a profile that was not there yet", func() bool { return newest(c) == 1 })
	tr.link("lab", 2, tr.system("two"))
	tr.point("lab", 2)
	until(t, "a new generation", func() bool { return newest(c) == 2 })
	tr.point("lab", 1)
	until(t, "a rollback", func() bool { g, ok := c.Generation("lab", 1); return ok && g.Current })
	tr.check(os.Remove(filepath.Join(tr.dir, "profiles/lab-2-link")))
	until(t, "a generation deleted", func() bool { return newest(c) == 1 })
	if _, ok := c.Generation("lab", 2); ok {
		t.Error("a deleted generation is on offer")
	}

	tr.link("other", 5, tr.system("five"))
	c.SetProfiles([]Profile{tr.profile("lab"), tr.profile("other")})
	if got := numbersOf(c.Generations("other")); !cmp.Equal(got, []int{5}) {
		t.Errorf("a profile of a new configuration: %v", got)
	}
}

// TestCatalogKeepsWhatItHad: a store that isn't mounted for a while must not
// empty the menus, and is logged once.
func TestCatalogKeepsWhatItHad(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("one"))
	var log lockedBuffer
	c, err := NewCatalog([]Profile{tr.profile("lab")}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	tr.check(os.Rename(filepath.Join(tr.dir, "profiles"), filepath.Join(tr.dir, "away")))
	for range 3 {
		c.refresh()
	}
	if newest(c) != 1 {
		t.Error("the generations are gone with the directory")
	}
	if n := strings.Count(log.String(), "profile has a problem"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

func TestCatalogRefusesProfiles(t *testing.T) {
	for _, profiles := range [][]Profile{
		{{Path: "/x"}}, {{Name: "a", Path: "relative"}}, {{Name: "a", Path: "/a"}, {Name: "a", Path: "/b"}}, {{Name: "a", Path: "/a", Keep: -1}},
	} {
		if _, err := NewCatalog(profiles, quiet); err == nil {
			t.Errorf("%+v: no error", profiles)
		}
	}
}

// TestUnchangedIsTheSameSlice: callers tell by it that what they derived holds.
func TestUnchangedIsTheSameSlice(t *testing.T) {
	tr := newTree(t)
	tr.link("lab", 1, tr.system("one"))
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	before := c.Generations("lab")
	c.refresh()
	if after := c.Generations("lab"); &before[0] != &after[0] {
		t.Error("another slice, and nothing has changed")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func BenchmarkGenerations(b *testing.B) {
	tr := newTree(b)
	tr.link("lab", 1, tr.system("one"))
	c, err := NewCatalog([]Profile{tr.profile("lab")}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(c.Generations("lab")) != 1 {
			b.Fatal("no generation")
		}
	}
}
