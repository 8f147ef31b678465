package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the way from a garbage collector root to the store.
const maxLinks = 10

// Prune makes room: it removes what nothing refers to, and as long as enough
// doesn't hold, the oldest generation of the system and what only it referred
// to. What is in keep, and the generation of the toplevel, stay. It returns the
// numbers of the generations that are gone.
func (s *Store) Prune(ctx context.Context, toplevel string, keep []string, enough func(Room) bool) (gone []int, err error) {
	generations, err := s.generations()
	if err != nil {
		return nil, err
	}
	generations = slices.DeleteFunc(generations, func(g generation) bool { return g.base == toplevel })
	for {
		if err := s.collect(ctx, keep); err != nil {
			return gone, err
		}
		room, err := s.Room()
		if err != nil || enough(room) || len(generations) == 0 {
			return gone, err
		}
		oldest := generations[0]
		generations = generations[1:]
		if err := s.forget(oldest.number); err != nil {
			return gone, err
		}
		gone = append(gone, oldest.number)
	}
}

// forget removes the link of a generation, and the profile's own where it led
// there: the next SetSystem makes it anew.
func (s *Store) forget(number int) error {
	current := s.state("profiles", "system")
	if target, err := os.Readlink(current); err == nil && target == linkName(number) {
		if err := os.Remove(current); err != nil {
			return err
		}
	}
	return os.Remove(s.state("profiles", linkName(number)))
}

// collect removes every store path that neither a root nor keep needs.
func (s *Store) collect(ctx context.Context, keep []string) error {
	live := make(map[string]bool)
	for _, base := range keep {
		s.mark(base, live)
		live[base] = true // it may be in place, and not yet valid
	}
	for _, dir := range []string{"profiles", "gcroots"} {
		if err := s.markRoots(s.state(dir), live); err != nil {
			return err
		}
	}
	var dead []string
	for base := range s.valid {
		if !live[base] {
			dead = append(dead, base)
		}
	}
	if err := s.invalidate(ctx, dead); err != nil {
		return err
	}
	return s.sweep(live)
}

// markRoots follows the links below a directory to the store.
func (s *Store) markRoots(dir string, live map[string]bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			s.mark(s.leadsTo(path), live)
		case d.Type().IsRegular():
			s.mark(d.Name(), live) // a root by its name, which Nix takes as well
		}
		return nil
	})
}

// leadsTo follows a link, as the booted system would, to a store path; "" if it
// leads elsewhere, or to what isn't mounted yet.
func (s *Store) leadsTo(link string) string {
	link = strings.TrimPrefix(link, s.root)
	for range maxLinks {
		target, err := readlinkBelow(s.root, link)
		if err != nil {
			return ""
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		if inStore, ok := strings.CutPrefix(filepath.Clean(target), s.storeDir+"/"); ok {
			base, _, _ := strings.Cut(inStore, "/")
			return base
		}
		link = target
	}
	return ""
}

// readlinkBelow reads a link. The directories on the way to it may be links as
// well, which must not lead into the initrd.
func readlinkBelow(root, link string) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(dir, link, &how)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	return string(target[:max(n, 0)]), err
}

// sweep removes what isn't alive, names that are of no store path included.
func (s *Store) sweep(live map[string]bool) error {
	names, err := os.ReadDir(s.Dir())
	if err != nil {
		return err
	}
	for _, name := range names {
		base := name.Name()
		// .links is Nix's own, for equal files that share their content.
		if live[base] || base == unpackDir || base == ".links" {
			continue
		}
		if err := s.removeTree(s.Final(base)); err != nil {
			return err
		}
	}
	return s.sweepLinks()
}

// sweepLinks removes content that only .links still has, when the booted system
// shares equal files (auto-optimise-store): else nothing would become free.
func (s *Store) sweepLinks() error {
	dir := filepath.Join(s.Dir(), ".links")
	links, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, link := range links {
		info, infoErr := link.Info()
		if infoErr != nil {
			return infoErr
		}
		if linkCount(info) == 1 {
			err = errors.Join(err, os.Remove(filepath.Join(dir, link.Name())))
		}
	}
	return err
}

func linkCount(info fs.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(stat.Nlink)
}
