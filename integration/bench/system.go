package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// system is a made-up NixOS system: so many store paths, in a tree as deep as
// those of real systems are, with so many files and bytes in all. One of texts
// has a file of 4 kB as each path, which Nix itself makes: 2,000 builders would
// take minutes.
type system struct {
	name         string
	paths, files int
	bytes        int64 // of content
	texts        bool
}

// The system that the figures are about, and one whose paths are all small.
var (
	wholeSystem = system{"lab", 300, 68_000, 1_050_000_000, false}
	smallSystem = system{"small", 2_000, 2_000, 4_000, true}
)

// tenth is a smaller one of the same kind.
func (s system) tenth() system {
	return system{s.name, s.paths / 10, s.files / 10, s.bytes / 10, s.texts}
}

// expression is the system in the language of Nix. Path n refers to three more,
// and path 0 is the toplevel. Generation g differs from the one before in the
// path changed+g and in those on the way to it, which are five together.
const expression = `
{ name, generation, paths, files, bytes, texts, builder }:
let
  changed = if paths > 60 then 40 else 4;
  below = n: map node (builtins.filter (m: m < paths) [ (3 * n + 1) (3 * n + 2) (3 * n + 3) ]);
  digits = n: builtins.genList (i: builtins.hashString "sha256" "${toString n} ${toString i}") 60;
  node = n: if texts && n > 0 then builtins.toFile "${name}-${toString n}" (toString (below n ++ digits n)) else derivation {
    name = if n == 0 then "nixos-system-${name}" else "${name}-${toString n}";
    system = "x86_64-linux";
    inherit builder;
    args = [ "make-path" (toString n) (toString paths) (toString files) (toString bytes)
      (toString (if n > changed && n <= changed + generation then n else 0)) ];
    needs = below n;
  };
in node 0
`

// nixStore is a Nix store of the run's own.
type nixStore struct{ dir string }

func (s *nixStore) store() string { return filepath.Join(s.dir, "store") }

// env is what makes Nix use this store.
func (s *nixStore) env() []string {
	return []string{
		"NIX_STORE_DIR=" + s.store(), "NIX_STATE_DIR=" + filepath.Join(s.dir, "var/nix"),
		"NIX_LOG_DIR=" + filepath.Join(s.dir, "log"), "NIX_CONF_DIR=" + filepath.Join(s.dir, "etc"),
		"NIX_REMOTE=", "NIX_PATH=",
	}
}

func (s *nixStore) run(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), s.env()...), "HOME="+s.dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes a generation of a system, and returns its toplevel.
func (b *bench) build(store *nixStore, s system, generation int) (string, error) {
	file, err := write(store.dir, "system.nix", expression)
	if err != nil {
		return "", err
	}
	return store.run("nix-build", "--no-out-link", file, "-j2",
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false",
		"--argstr", "name", s.name, "--argstr", "builder", b.self, "--arg", "generation", strconv.Itoa(generation),
		"--arg", "texts", strconv.FormatBool(s.texts), "--arg", "paths", strconv.Itoa(s.paths), "--arg", "files", strconv.Itoa(s.files), "--arg", "bytes", fmt.Sprint(s.bytes))
}

// publish makes a toplevel a profile's generation.
func publish(dir, toplevel string, number int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Symlink(toplevel, filepath.Join(dir, fmt.Sprintf("lab-%d-link", number)))
}

// makePath N PATHS FILES BYTES SALT is the builder of the system's path N: the
// same files each time.
func makePath(args []string) error {
	var numbers [5]int
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	n, paths, files, total, salt := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	out := os.Getenv("out")
	share := shares(paths)[n]
	m := maker{dir: out, random: rand.New(rand.NewPCG(uint64(n), uint64(salt)))}
	if err := m.files(max(1, int(share*float64(files))), int(share*float64(total))); err != nil {
		return err
	}
	if err := m.write("references", []byte(os.Getenv("needs"))); err != nil || n > 0 {
		return err
	}
	return m.toplevel()
}

// shares is how large each path is beside the others: a few are very large, and
// most are small, as in real systems. The large ones are anywhere in the tree.
func shares(paths int) []float64 {
	all := make([]float64, paths)
	sum := 0.0
	for i, rank := range rand.New(rand.NewPCG(1, 2)).Perm(paths) {
		all[i] = 1 / math.Pow(float64(rank+1), 0.8)
		sum += all[i]
	}
	for i := range all {
		all[i] /= sum
	}
	return all
}

// maker makes the files of a path.
type maker struct {
	dir    string
	random *rand.Rand
}

// files makes so many of so many bytes together, 40 in a directory. Half of
// them have less than a fifth of the mean.
func (m *maker) files(n, total int) error {
	weights := make([]float64, n)
	sum := 0.0
	for i := range weights {
		weights[i] = math.Exp(1.8 * m.random.NormFloat64())
		sum += weights[i]
	}
	for i, weight := range weights {
		name := fmt.Sprintf("share/d%d/file-%d", i/40, i)
		if err := m.write(name, m.content(int(weight/sum*float64(total)))); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) write(name string, content []byte) error {
	name = filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

var words = strings.Fields("the of store and network boot machine server with kernel module static int return if " +
	"else struct generation 0x0000 ffff .text .data lib/ /usr/share include define void const char unsigned")

// content is as compressible as a system is: two parts of words to one of what
// can't be guessed.
func (m *maker) content(size int) []byte {
	text := make([]byte, 0, size+1024)
	for len(text) < size {
		for range 60 {
			text = append(text, words[m.random.IntN(len(words))]...)
			text = append(text, ' ')
		}
		for range 24 {
			n := m.random.Uint64()
			for range 8 {
				text = append(text, byte(n))
				n >>= 8
			}
		}
	}
	return text[:size]
}

// toplevel makes what a server and a machine look for in one.
func (m *maker) toplevel() error {
	for _, name := range []string{"init", "kernel", "initrd"} {
		if err := m.write(name, []byte("#!/bin/sh\n")); err != nil {
			return err
		}
	}
	return m.write("boot.json", fmt.Appendf(nil, `{"org.nixos.bootspec.v1": {"system": "x86_64-linux", "label": "NixOS bench",
 "kernelParams": [], "init": "%[1]s/init", "toplevel": "%[1]s", "kernel": "%[1]s/kernel", "initrd": "%[1]s/initrd"}}`, m.dir))
}

// removeStore deletes a store, whose directories can't be written.
func removeStore(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}
