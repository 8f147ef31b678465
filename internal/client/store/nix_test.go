package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ravenboot/internal/nar"
)

const storeDir = "/nix/store"

// newRoot is an empty disk.
func newRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		// t.TempDir can't remove what is in read-only directories, but as root.
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return root
}

func open(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root, storeDir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// close ends the use of a store before Nix looks at it.
func (s *Store) closeFor(t testing.TB) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// base is the name of a store path with a number.
func base(number int) string { return fmt.Sprintf("%032d-thing", number) }

// plant puts a store path in its place, which is a directory with a file.
func plant(t testing.TB, s *Store, number int, content string, references ...int) Path {
	t.Helper()
	p := Path{Base: base(number)}
	dir := filepath.Join(s.Temporary(), p.Base)
	file := filepath.Join(dir, "file")
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, []byte(content), 0o444), os.Chmod(dir, 0o555), s.Place(p.Base))
	if err != nil {
		t.Fatal(err)
	}
	archive := nar.NewReader(s.Dir(), p.Base, 0)
	defer archive.Close()
	digest := sha256.New()
	if p.NarSize, err = io.Copy(digest, struct{ io.Reader }{archive}); err != nil {
		t.Fatal(err)
	}
	p.NarHash = [32]byte(digest.Sum(nil))
	for _, r := range references {
		p.References = append(p.References, base(r))
	}
	return p
}

func register(t testing.TB, s *Store, paths ...Path) {
	t.Helper()
	if err := s.Register(t.Context(), paths); err != nil {
		t.Fatal(err)
	}
}

// nix runs one of Nix's commands on the store below a root.
func nix(root string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "NIX_REMOTE="+At(root, storeDir).URL(), "NIX_CONF_DIR="+root, "NIX_PATH=", "HOME="+root)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w (apt-get install nix-bin, if it is missing)\n%s", strings.Join(argv, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), err
}

func mustNix(t testing.TB, root string, argv ...string) string {
	t.Helper()
	out, err := nix(root, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// full are store paths as Nix names them.
func full(bases ...string) (all []string) {
	for _, b := range bases {
		all = append(all, storeDir+"/"+b)
	}
	return all
}

// sqlite asks SQLite's own program.
func sqlite(t testing.TB, root, query string) string {
	t.Helper()
	file := filepath.Join(root, "nix/var/nix/db/db.sqlite")
	out, err := exec.Command("sqlite3", file, query).CombinedOutput()
	if err != nil {
		t.Fatalf("%v (apt-get install sqlite3, if it is missing)\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}
