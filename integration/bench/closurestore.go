package main

import (
	"bufio"
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

// closureSize is what a system to download consists of.
type closureSize struct {
	paths, files int
	bytes        int64
}

// closureExpression makes a toplevel of paths that this program writes, since a
// shell would need a process for each file.
const closureExpression = `
{ self, paths, files, bytes, own, salt }:
let
  path = n: derivation {
    name = "package-${toString n}";
    system = "x86_64-linux";
    builder = self;
    args = [ "make-path" (toString n) (if n < own then salt else "") (toString files) (toString bytes) ];
  };
in
derivation {
  name = "nixos-system-bench";
  system = "x86_64-linux";
  builder = self;
  args = [ "make-toplevel" ];
  all = builtins.genList path (paths - 1);
}
`

// nixStore is a Nix store of the bench's own.
type nixStore struct {
	dir  string
	self string
}

// run runs one of Nix's commands on the store.
func (s *nixStore) run(argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.environment()...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", argv[0], err, said.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (s *nixStore) store() string { return filepath.Join(s.dir, "store") }

func (s *nixStore) environment() []string {
	return []string{
		"NIX_STORE_DIR=" + s.store(), "NIX_STATE_DIR=" + filepath.Join(s.dir, "var/nix"), "NIX_LOG_DIR=" + filepath.Join(s.dir, "log"),
		"NIX_CONF_DIR=" + filepath.Join(s.dir, "etc"), "NIX_REMOTE=", "NIX_PATH=", "HOME=" + s.dir,
	}
}

// build makes a system, of which so many paths are its own: those with another
// salt have others.
func (s *nixStore) build(size closureSize, own int, salt string) (toplevel string, err error) {
	file, err := write(s.dir, "closure.nix", closureExpression)
	if err != nil {
		return "", err
	}
	return s.run("nix-build", "--no-out-link", file, "--option", "sandbox", "false", "--option", "build-users-group", "",
		"--option", "substitute", "false", "--argstr", "self", s.self, "--arg", "paths", strconv.Itoa(size.paths),
		"--arg", "files", strconv.Itoa(size.files/size.paths), "--arg", "bytes", strconv.FormatInt(size.bytes/int64(size.paths), 10),
		"--arg", "own", strconv.Itoa(own), "--argstr", "salt", salt)
}

// remove deletes the store, whose directories are read-only.
func (s *nixStore) remove() error {
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(s.dir))
}

// makePath N SALT FILES BYTES is the builder of a path: it has FILES files and
// BYTES bytes on average, some paths a hundred times as many as others, of
// content that compresses to about a half.
func makePath(args []string) error {
	if len(args) != 4 {
		return errors.New("make-path N SALT FILES BYTES")
	}
	n, _ := strconv.Atoi(args[0])
	files, _ := strconv.Atoi(args[2])
	size, _ := strconv.ParseFloat(args[3], 64)
	random := rand.New(rand.NewPCG(uint64(n), uint64(len(args[1]))))
	for _, c := range args[1] {
		random = rand.New(rand.NewPCG(random.Uint64(), uint64(c)))
	}
	// exp(N(-s²/2, s)) has the mean 1.
	const spread = 1.5
	weight := math.Exp(spread*random.NormFloat64() - spread*spread/2)
	files = max(1, int(float64(files)*weight))
	each := size * weight / float64(files)
	out := os.Getenv("out")
	for i := range files {
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Join(out, strconv.Itoa(i/100)), 0o755); err != nil {
				return err
			}
		}
		length := int(each * math.Exp(random.NormFloat64()-0.5))
		if err := writeNoise(filepath.Join(out, strconv.Itoa(i/100), strconv.Itoa(i)), length, random); err != nil {
			return err
		}
	}
	return nil
}

func writeNoise(name string, length int, random *rand.Rand) error {
	text := make([]byte, length)
	for i := range text {
		text[i] = 'a' + byte(random.Uint32()&15)
	}
	return os.WriteFile(name, text, 0o644)
}

// makeToplevel is the builder of a toplevel that refers to all paths.
func makeToplevel([]string) error {
	out := os.Getenv("out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"contents": os.Getenv("all"), "init": "#!/bin/sh\n", "activate": "#!/bin/sh\n", "kernel": "kernel", "initrd": "initrd",
		"nixos-version": "26.05.1", "system": "x86_64-linux", "kernel-params": "",
	} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// measured is how large a closure has come out.
func (s *nixStore) measured(toplevel string) (size closureSize, err error) {
	paths, err := s.run("nix-store", "-qR", toplevel)
	if err != nil {
		return size, err
	}
	for path := range strings.FieldsSeq(paths) {
		size.paths++
		err = errors.Join(err, filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				size.files++
			}
			return err
		}))
	}
	sizes, sizeErr := s.run(append([]string{"nix-store", "-q", "--size"}, strings.Fields(paths)...)...)
	lines := bufio.NewScanner(strings.NewReader(sizes))
	for lines.Scan() {
		n, parseErr := strconv.ParseInt(lines.Text(), 10, 64)
		size.bytes += n
		err = errors.Join(err, parseErr)
	}
	return size, errors.Join(err, sizeErr)
}
