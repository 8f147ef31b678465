package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// generationsKept is how many the comparison with whole images is about.
const generationsKept = 10

// benchSquashfs compares a store and its cache with one image of the whole
// system for each generation: what ten generations, of which each differs from
// the one before in five paths, take on the server's disk, and what an update
// sends.
func benchSquashfs(b *bench) error {
	if err := b.prepareClient(); err != nil {
		return err
	}
	s := wholeSystem
	if b.quick {
		s = s.tenth()
	}
	store := &nixStore{b.subdir()}
	var toplevels []string
	var images []int64
	for generation := range generationsKept {
		toplevel, err := b.build(store, s, generation)
		if err != nil {
			return err
		}
		image, err := b.image(store, toplevel)
		if err != nil {
			return err
		}
		toplevels, images = append(toplevels, toplevel), append(images, image)
	}
	kept, err := diskUsage(store.dir)
	if err != nil {
		return err
	}
	var all int64
	for _, image := range images {
		all += image
	}
	first, update, again, err := b.updates(store, s, toplevels)
	if err != nil {
		return err
	}
	changed, err := store.changed(toplevels[0], toplevels[1])
	if err != nil {
		return err
	}
	mega := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
	fmt.Printf("\n**%d generations of %d paths; each differs from the one before in %d. MB**\n\n", generationsKept, s.paths, changed)
	fmt.Printf("| | server's disk | sent for the first boot | for an update | for an unchanged boot |\n|---|---|---|---|---|\n")
	for i, compression := range compressions {
		fmt.Printf("| ravenboot, %s | %s | %s | %s | %s |\n", compression, mega(kept), mega(first[i]), mega(update[i]), mega(again[i]))
	}
	last := mega(images[generationsKept-1])
	fmt.Printf("| squashfs of the whole system, zstd | %s | %s | %s | %s, or 0 if the machine keeps it |\n", mega(all), mega(images[0]), last, last)
	return nil
}

// image is the size of a squashfs of a toplevel's closure. The level is a low one,
// for the sake of time: at mksquashfs's own, 15, it is a little smaller.
func (b *bench) image(store *nixStore, toplevel string) (int64, error) {
	members, err := store.run("nix-store", "-qR", toplevel)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(b.subdir(), "image")
	defer os.Remove(file)
	argv := append(strings.Fields(members), file, "-comp", "zstd", "-Xcompression-level", "3", "-no-progress", "-quiet", "-no-strip")
	if out, err := exec.CommandContext(b.ctx, "mksquashfs", argv...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("mksquashfs: %w\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// diskUsage is what a directory takes on the disk.
func diskUsage(dir string) (total int64, err error) {
	unix.Sync()
	out, err := exec.Command("du", "-s", "--block-size=1", dir).Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &total)
	}
	return total, err
}

// changed counts the paths that a toplevel has and another has not.
func (s *nixStore) changed(from, to string) (n int, err error) {
	old, err := s.run("nix-store", "-qR", from)
	if err != nil {
		return 0, err
	}
	members, err := s.run("nix-store", "-qR", to)
	if err != nil {
		return 0, err
	}
	had := make(map[string]bool)
	for _, path := range strings.Fields(old) {
		had[path] = true
	}
	for _, path := range strings.Fields(members) {
		if !had[path] {
			n++
		}
	}
	return n, nil
}

// updates counts the bytes on the cable: for a first boot, for the update to the
// second generation, and for the same once more; each by compression.
func (b *bench) updates(store *nixStore, s system, toplevels []string) (first, update, again []int64, err error) {
	l, err := b.link()
	if err != nil {
		return nil, nil, nil, err
	}
	defer l.carrier.stop()
	memory, err := b.tmpfs()
	if err != nil {
		return nil, nil, nil, err
	}
	for _, compression := range compressions {
		root := filepath.Join(memory.dir, compression)
		if err := os.Mkdir(root, 0o755); err != nil {
			return nil, nil, nil, err
		}
		for _, boot := range []struct {
			toplevel string
			to       *[]int64
		}{{toplevels[0], &first}, {toplevels[1], &update}, {toplevels[1], &again}} {
			n, err := b.sent(store, s, boot.toplevel, compression, root, l)
			if err != nil {
				return nil, nil, nil, err
			}
			*boot.to = append(*boot.to, n)
		}
		if err := removeStore(root); err != nil {
			return nil, nil, nil, err
		}
	}
	return first, update, again, nil
}

// sent is how many bytes a download brings over the cable.
func (b *bench) sent(store *nixStore, s system, toplevel, compression, root string, l *link) (int64, error) {
	o, err := b.supply(store, s, toplevel, l)
	if err != nil {
		return 0, err
	}
	defer o.stop()
	before, err := l.received()
	if err != nil {
		return 0, err
	}
	if _, err = b.fetchTo(o, engines[0], compression, root); err != nil {
		return 0, err
	}
	after, err := l.received()
	return after - before, err
}
