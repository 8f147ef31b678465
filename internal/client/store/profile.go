package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// generation is a numbered link of the system profile.
type generation struct {
	number int
	base   string // of the toplevel
}

// generations lists the links of the system profile, oldest first.
func (s *Store) generations() ([]generation, error) {
	links, err := filepath.Glob(s.state("profiles", "system-*-link"))
	if err != nil {
		return nil, err
	}
	var all []generation
	for _, link := range links {
		number, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(link), "system-"), "-link"))
		if err != nil || linkName(number) != filepath.Base(link) {
			continue // not one of Nix's
		}
		target, err := os.Readlink(link)
		if err != nil {
			return nil, err
		}
		all = append(all, generation{number, strings.TrimPrefix(target, s.storeDir+"/")})
	}
	slices.SortFunc(all, func(a, b generation) int { return a.number - b.number })
	return all, nil
}

func linkName(number int) string { return fmt.Sprintf("system-%d-link", number) }

// SetSystem makes a toplevel the current generation of the system profile, which
// keeps it from being garbage, and marks the root as that of a NixOS. A new
// toplevel gets the number that nix-env --set would give it. One that has a
// generation keeps its number, as with nix-env --switch-generation: machines go
// back and forth by the menu, and a link more for each boot helps nobody.
func (s *Store) SetSystem(toplevel string) error {
	generations, err := s.generations()
	if err != nil {
		return err
	}
	number := 1
	if n := len(generations); n > 0 {
		number = generations[n-1].number + 1
	}
	for _, g := range generations {
		if g.base == toplevel {
			number = g.number
		}
	}
	// Nix makes them when it needs them.
	for _, dir := range []string{s.state("profiles"), s.state("gcroots")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// The first error ends it, and a power cut may come between any two: what the
	// profile leads to is a whole system at every point, since its own link is last.
	if err := replaceLink(s.full(toplevel), s.state("profiles", linkName(number))); err != nil {
		return err
	}
	// Nix makes this link only together with the directory.
	if err := replaceLink(s.stateDir()+"/profiles", s.state("gcroots", "profiles")); err != nil {
		return err
	}
	if err := s.markNixOS(); err != nil {
		return err
	}
	return replaceLink(linkName(number), s.state("profiles", "system"))
}

func (s *Store) markNixOS() error {
	// switch_root's callers take a root without it for none.
	tag := filepath.Join(s.root, "etc/NIXOS")
	if exists(tag) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(tag), 0o755); err != nil {
		return err
	}
	return writeFile(tag, "")
}

// replaceLink makes a symlink, or lets one lead elsewhere, at one stroke.
func replaceLink(target, link string) error {
	if old, err := os.Readlink(link); err == nil && old == target {
		return nil
	}
	// Nix takes every name that begins as a generation's does for one.
	temporary := filepath.Join(filepath.Dir(link), ".ravenboot-"+filepath.Base(link))
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, link)
}
