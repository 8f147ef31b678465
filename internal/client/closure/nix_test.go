package closure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nixStore is a Nix store of its own, on the server's side of a test.
type nixStore struct{ dir string }

func newNixStore(t testing.TB) *nixStore {
	t.Helper()
	dir, err := os.MkdirTemp("", "rb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeStore(t, dir) })
	return &nixStore{dir}
}

// removeStore deletes a store, whose directories are read-only.
func removeStore(t testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		t.Error(err)
	}
}

// nix runs one of Nix's commands on a store: the server's, or with a root that
// of a machine.
func (s *nixStore) nix(root string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(),
		"NIX_STORE_DIR="+filepath.Join(s.dir, "store"), "NIX_STATE_DIR="+filepath.Join(s.dir, "var/nix"),
		"NIX_LOG_DIR="+filepath.Join(s.dir, "log"), "NIX_CONF_DIR="+filepath.Join(s.dir, "etc"),
		"NIX_REMOTE=", "NIX_PATH=", "HOME="+s.dir)
	if root != "" {
		store := "local?root=" + root + "&store=" + filepath.Join(s.dir, "store") +
			"&state=" + filepath.Join(root, s.dir, "var/nix") + "&real=" + filepath.Join(root, s.dir, "store")
		cmd.Env = append(cmd.Env, "NIX_REMOTE="+store)
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w (apt-get install nix-bin, if it is missing)\n%s", strings.Join(argv, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (s *nixStore) run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := s.nix("", argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// system is the expression of a toplevel in miniature and its packages, of which
// each refers to the one before and the last ones are large.
const system = `
{ salt, packages, own, many ? 0 }:
let
  run = name: environment: script: derivation (environment // {
    inherit name;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-euc" ("PATH=/usr/bin:/bin; mkdir $out; cd $out;" + script) ];
  });
  package = n: run "package-${toString n}" { before = if n > 0 then package (n - 1) else ""; } ''
    mkdir bin
    echo "package ${toString n} after $before" > readme
    printf '#!/bin/sh\n' > bin/run; chmod +x bin/run
    : > empty
    ln -s bin/run link; ln -s "$out/readme" self
    seq ${toString (n * 3000)} > numbers
  '';
in
run "nixos-system-lab" { all = builtins.genList package packages; inherit salt own many; } ''
  printf '%s\n' $all > packages
  [ -z "$own" ] || head -c "$own" /dev/urandom > own
  [ "$many" = 0 ] || { mkdir many; cd many; seq "$many" | split -l 1 -a 4; cd ..; }
  printf '%s' "$salt" > salt
  printf '#!/bin/sh\n' > init; chmod +x init
''
`

// build makes a toplevel of so many packages, with something of its own of so
// many bytes, and more arguments.
func (s *nixStore) build(t testing.TB, salt string, packages, own int, more ...string) string {
	t.Helper()
	file := filepath.Join(s.dir, "system.nix")
	if err := os.WriteFile(file, []byte(system), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.run(t, append([]string{"nix-build", "--no-out-link", file,
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false",
		"--argstr", "salt", salt, "--arg", "packages", fmt.Sprint(packages), "--argstr", "own", fmt.Sprint(own)}, more...)...)
}

func (s *nixStore) closure(t testing.TB, toplevel string) []string {
	t.Helper()
	return strings.Fields(s.run(t, "nix-store", "-qR", toplevel))
}

// key makes a signing key, and returns its file and its public half.
func (s *nixStore) key(t testing.TB, name string) (file, public string) {
	t.Helper()
	file = filepath.Join(s.dir, name+".key")
	s.run(t, "nix-store", "--generate-binary-cache-key", name, file, file+".pub")
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return file, string(text)
}

// copyTo makes a binary cache of a toplevel's closure.
func (s *nixStore) copyTo(t testing.TB, dir, toplevel, options string) {
	t.Helper()
	s.run(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--to", "file://"+dir+"?"+options, toplevel)
}

// verify asks Nix whether a machine's store is whole and has the toplevel.
func (s *nixStore) verify(t testing.TB, root, toplevel string) {
	t.Helper()
	if out, err := s.nix(root, "nix-store", "--verify", "--check-contents"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.nix(root, "nix-store", "--check-validity", toplevel); err != nil {
		t.Error(err)
	}
}
