package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// fillPath is the builder of closure.nix: it writes the store path that its
// environment describes.
func fillPath([]string) error {
	out := os.Getenv("out")
	if contents := os.Getenv("contentsPath"); contents != "" {
		return fillToplevel(out, contents)
	}
	var numbers [3]int
	for i, name := range []string{"files", "bytes", "seed"} {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		numbers[i] = n
	}
	generation, _ := strconv.Atoi(os.Getenv("generation")) // "" where all generations share it
	if _, err := write(out, "references", os.Getenv("before")); err != nil {
		return err
	}
	return fillPackage(out, numbers[0], numbers[1], rand.New(rand.NewPCG(uint64(numbers[2]), uint64(generation))))
}

// fillToplevel writes what ravenboot and its client look for in a generation.
func fillToplevel(out, contents string) error {
	list, err := os.ReadFile(contents)
	if err != nil {
		return err
	}
	generation := os.Getenv("generation")
	bootspec, err := json.Marshal(map[string]any{"org.nixos.bootspec.v1": map[string]any{
		"toplevel": out, "system": "x86_64-linux", "init": out + "/init", "kernel": out + "/kernel", "initrd": out + "/initrd",
		"kernelParams": []string{}, "label": "Bench " + generation,
	}})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"contents": string(list), "boot.json": string(bootspec), "nixos-version": generation, "system": "x86_64-linux",
		"kernel": "kernel", "initrd": "initrd", "kernel-params": "", "init": "#!/bin/sh\n", "prepare-root": "#!/bin/sh\n",
	} {
		if _, err := write(out, name, text); err != nil {
			return err
		}
	}
	return nil
}

// fillPackage writes so many files, of which most are small and a few large,
// as in any package.
func fillPackage(out string, files, bytes int, r *rand.Rand) error {
	weights, sum := make([]float64, files), 0.0
	for i := range weights {
		weights[i] = math.Exp(6 * r.Float64())
		sum += weights[i]
	}
	content := newContent(r)
	for i, weight := range weights {
		dir := filepath.Join(out, "share", strconv.Itoa(i/20))
		if i%20 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		mode := os.FileMode(0o644)
		if i%16 == 0 {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), content.next(int(float64(bytes)*weight/sum)), mode); err != nil {
			return err
		}
		if i%25 == 0 {
			if err := os.Symlink(fmt.Sprintf("file-%d", i), filepath.Join(dir, fmt.Sprintf("link-%d", i))); err != nil {
				return err
			}
		}
	}
	return nil
}

// content makes bytes that compress to a little less than half, like programs.
type content struct {
	random *rand.Rand
	words  [64][32]byte // what repeats
	buffer []byte
}

func newContent(r *rand.Rand) *content {
	c := &content{random: r}
	for i := range c.words {
		c.fill(c.words[i][:])
	}
	return c
}

func (c *content) fill(word []byte) {
	for i := 0; i < len(word); i += 8 {
		binary.LittleEndian.PutUint64(word[i:], c.random.Uint64())
	}
}

// next is valid until it is called again.
func (c *content) next(size int) []byte {
	c.buffer = c.buffer[:0]
	for len(c.buffer) < size {
		word := c.words[c.random.IntN(len(c.words))]
		if c.random.IntN(5) < 2 {
			c.fill(word[:])
		}
		c.buffer = append(c.buffer, word[:]...)
	}
	return c.buffer[:size]
}
