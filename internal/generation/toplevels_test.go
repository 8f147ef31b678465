package generation

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestToplevels(t *testing.T) {
	system := func(toplevel string) System { return System{Toplevel: toplevel} }
	c := &Catalog{}
	c.view.Store(&map[string][]Generation{})
	if got := c.Toplevels(); got != nil {
		t.Errorf("toplevels out of nothing: %q", got)
	}
	c.view.Store(&map[string][]Generation{
		"lab": {
			{Number: 3, System: system("lab3"), Specialisations: []Specialisation{{"exam", system("lab3exam")}}},
			{Number: 2, System: system("lab2")},
			{Number: 1, System: system("lab2")}, // published twice
		},
		"kiosk": {{Number: 7, System: system("kiosk7")}},
	})
	want := []string{"kiosk7", "lab3", "lab3exam", "lab2"}
	if d := cmp.Diff(want, c.Toplevels()); d != "" {
		t.Error(d)
	}
}
