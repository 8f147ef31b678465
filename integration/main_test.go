//go:build boots

package integration

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(func() int { return run(m) })) }

func run(m *testing.M) int {
	status := m.Run()
	if store.Store != nil {
		if err := store.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	return status
}

// store is the Nix store of this run. All tests build in it, so that a
// generation that two of them publish is made once.
var store struct {
	*fixture.Store
	sync.Once
}

func nixStore(t testing.TB) *fixture.Store {
	t.Helper()
	store.Do(func() {
		for _, tool := range []string{"nix-build", "nix-env", "modprobe", "busybox"} {
			lab.Tool(t, tool)
		}
		dir, err := os.MkdirTemp("", "nix")
		check(t, err)
		store.Store, err = fixture.NewStore(dir)
		check(t, err)
	})
	if store.Store == nil {
		t.Fatal("no Nix store: the first test that needed it says why")
	}
	return store.Store
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
