package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tenGenerations are those that differ in ownPaths store paths each.
const tenGenerations = 10

// sizes prints what ravenboot takes of a server's disk and of the network beside
// an image of the whole system for each generation.
func (c *closureBench) sizes(systems []system) error {
	images, err := c.images(systems)
	if err != nil {
		return err
	}
	first, err := diskUse(systems[0].paths)
	if err != nil {
		return err
	}
	var union []string
	for _, s := range systems {
		union = append(union, s.paths...)
	}
	all, err := diskUse(union)
	if err != nil {
		return err
	}
	var imageSum int64
	for _, size := range images {
		imageSum += size
	}
	rows := [][3]float64{
		{float64(first), float64(first), float64(images[0])},
		{float64(all), float64(all), float64(imageSum)},
		{0, 0, float64(images[0])},
		{0, 0, float64(images[1])},
		{0, 0, float64(images[1])},
	}
	for i, compression := range compressions {
		carried, err := c.boots(compression, systems[:2])
		if err != nil {
			return err
		}
		for boot, bytes := range carried {
			rows[2+boot][i] = bytes
		}
	}
	fmt.Printf("\n**%d generations that differ in %d paths each, MB**\n\n", len(systems), ownPaths)
	fmt.Println("| | ravenboot, none | ravenboot, zstd | squashfs |\n|---|---|---|---|")
	for i, name := range []string{
		"server's disk, one generation", fmt.Sprintf("server's disk, %d generations", len(systems)),
		"network, first boot", "network, updated boot", "network, unchanged boot",
	} {
		fmt.Printf("| %s | %.1f | %.1f | %.1f |\n", name, rows[i][0]/1e6, rows[i][1]/1e6, rows[i][2]/1e6)
	}
	return nil
}

// boots has ravenboot-client bring the first system to a disk, then the second,
// then the second once more, and returns how many bytes each took.
func (c *closureBench) boots(compression string, systems []system) (carried [3]float64, err error) {
	w, err := c.wire()
	if err != nil {
		return carried, err
	}
	defer w.carrier.stop()
	server, err := c.serveClosures(compression, w, systems...)
	if err != nil {
		return carried, err
	}
	defer server.stop()
	root := c.subdir()
	defer os.RemoveAll(root)
	for i, s := range []system{systems[0], systems[1], systems[1]} {
		one, err := w.counting(func() (sample, error) {
			argv := engines[0].argv(c.bench, c.scratch, server.url, server.key, root, s.toplevel)
			return c.fetch(w.atMachine(argv...), c.subdir(), root, false)
		})
		if err != nil {
			return carried, err
		}
		if err := c.check("boots, "+compression, root, s); err != nil {
			return carried, err
		}
		carried[i] = one.carried
	}
	return carried, nil
}

// images are the sizes of squashfs images of systems, each of which is removed
// before the next is made.
func (c *closureBench) images(systems []system) (sizes []int64, err error) {
	image := filepath.Join(c.subdir(), "root.squashfs")
	for _, s := range systems {
		argv := append([]string{}, s.paths...)
		argv = append(argv, image, "-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress", "-noappend")
		if out, err := exec.CommandContext(c.ctx, "mksquashfs", argv...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("mksquashfs: %w\n%s", err, out)
		}
		info, err := os.Stat(image)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, info.Size())
		if err := os.Remove(image); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// diskUse is what the blocks of these trees take, each file counted once.
func diskUse(trees []string) (sum int64, err error) {
	seen := map[uint64]bool{}
	for _, tree := range trees {
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if stat := info.Sys().(*syscall.Stat_t); !seen[stat.Ino] {
				seen[stat.Ino] = true
				sum += stat.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// initrds prints what the client adds to an initrd, and what Nix would add.
func (c *closureBench) initrds() error {
	nix, err := exec.LookPath("nix")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(c.ctx, "ldd", nix).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", nix, err)
	}
	files := []string{nix}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	fmt.Print("\n**In an initrd, MB**\n\n| | files | unpacked | gzip -1 |\n|---|---|---|---|\n")
	for _, row := range []struct {
		name  string
		files []string
	}{{"ravenboot-client", []string{c.client}}, {"Nix and its libraries", files}} {
		plain, packed, err := c.gzipped(row.files)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %.1f | %.1f |\n", row.name, len(row.files), float64(plain)/1e6, float64(packed)/1e6)
	}
	return nil
}

// gzipped is the size of files, one after the other, before and after gzip -1.
func (c *closureBench) gzipped(files []string) (plain, packed int64, err error) {
	var all bytes.Buffer
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			return 0, 0, err
		}
		all.Write(content)
	}
	plain = int64(all.Len())
	cmd := exec.CommandContext(c.ctx, "gzip", "-1")
	cmd.Stdin = &all
	out, err := cmd.Output()
	return plain, int64(len(out)), err
}

// generationsOf builds systems of a size that differ in ownPaths store paths
// each.
func (c *closureBench) generationsOf(size systemSize, count int) (systems []system, err error) {
	for n := 1; n <= count; n++ {
		s, err := c.buildSystem(c.scratch, size, strconv.Itoa(n))
		if err != nil {
			return nil, err
		}
		systems = append(systems, s)
	}
	return systems, nil
}
