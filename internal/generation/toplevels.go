package generation

import (
	"maps"
	"slices"
)

// Toplevels gives the store paths of all systems on offer, specialisations too:
// first the newest of every profile, then those before them. Each appears once.
func (c *Catalog) Toplevels() []string {
	view := *c.view.Load()
	profiles := slices.Sorted(maps.Keys(view))
	var toplevels []string
	seen := make(map[string]bool)
	add := func(toplevel string) {
		if !seen[toplevel] {
			seen[toplevel] = true
			toplevels = append(toplevels, toplevel)
		}
	}
	for age, more := 0, true; more; age++ {
		more = false
		for _, profile := range profiles {
			if age >= len(view[profile]) {
				continue
			}
			more = true
			g := &view[profile][age]
			add(g.Toplevel)
			for i := range g.Specialisations {
				add(g.Specialisations[i].Toplevel)
			}
		}
	}
	return toplevels
}
