package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// benchInitrd compares what an initrd needs for the download with what it needs
// for Nix: Debian's, with every library that it loads.
func benchInitrd(b *bench) error {
	nix, err := exec.LookPath("nix")
	if err != nil {
		return err
	}
	withNix, err := loaded(nix)
	if err != nil {
		return err
	}
	sets := []struct {
		name  string
		files []string
	}{
		{"ravenboot-client", []string{b.client}},
		{"Nix and its libraries", withNix},
		{"Nix and its libraries, without glibc's", slices.DeleteFunc(slices.Clone(withNix), isGlibc)},
		// The engine nix needs both.
		{"Nix, its libraries and ravenboot-client", append(slices.Clone(withNix), b.client)},
	}
	packers := [][]string{{"cat"}, {"gzip", "-1"}, {"zstd", "-3", "-c"}, {"zstd", "-19", "-c"}}
	fmt.Printf("\n**In the initrd, MB**\n\n| files |")
	for _, packer := range packers {
		fmt.Printf(" %s |", strings.Join(packer, " "))
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(packers)))
	for _, set := range sets {
		archive, err := b.archive(set.files)
		if err != nil {
			return err
		}
		fmt.Printf("| %s |", set.name)
		for _, packer := range packers {
			size, err := packedSize(archive, packer)
			if err != nil {
				return err
			}
			fmt.Printf(" %.1f |", float64(size)/1e6)
		}
		fmt.Println()
	}
	return nil
}

// loaded is a program and the libraries that it loads.
func loaded(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	files := []string{program}
	for line := range strings.Lines(string(out)) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				files = append(files, field)
			}
		}
	}
	return files, nil
}

// isGlibc tells what a systemd initrd holds anyway.
func isGlibc(file string) bool {
	name, _, _ := strings.Cut(filepath.Base(file), ".so")
	return slices.Contains([]string{"libc", "libm", "libdl", "libpthread", "librt", "libresolv", "ld-linux-x86-64"}, name)
}

// archive makes an initrd of files.
func (b *bench) archive(files []string) (string, error) {
	dir := b.subdir()
	root := filepath.Join(dir, "root")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if _, err := write(root, file, string(content)); err != nil {
			return "", err
		}
	}
	archive := filepath.Join(dir, "initrd")
	cmd := exec.Command("sh", "-c", "find . | sort | cpio -o -H newc --quiet > "+archive)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cpio: %w: %s", err, out)
	}
	return archive, nil
}

func packedSize(file string, packer []string) (int64, error) {
	in, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	cmd := exec.Command(packer[0], packer[1:]...)
	cmd.Stdin = in
	var size counter
	cmd.Stdout = &size
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(packer, " "), err)
	}
	return int64(size), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
