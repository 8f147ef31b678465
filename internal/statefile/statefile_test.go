package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// holds fails the test unless a directory has one file, for its owner alone.
func holds(t *testing.T, file, want string) {
	t.Helper()
	got, err := ReadSecret(file, 100, "")
	if err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", file, got, err, want)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: more than the file is left", left, err)
	}
}

func TestFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "key")
	if _, err := ReadSecret(file, 100, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading nothing: %v", err)
	}
	for _, content := range []string{"first", "second"} {
		if err := Create(file, []byte(content)); err != nil {
			t.Fatal(err)
		}
		holds(t, file, "first")
	}
	if err := Replace(file, []byte("third")); err != nil {
		t.Fatal(err)
	}
	holds(t, file, "third")
	if got, err := ReadSecret(file, 2, ""); err != nil || string(got) != "th" {
		t.Errorf("two bytes at most: %q, %v", got, err)
	}
}

func TestFilesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	below, occupied := filepath.Join(file, "key"), filepath.Join(dir, "directory")
	if err := os.MkdirAll(filepath.Join(occupied, "content"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := ReadSecret(file, 100, "delete it")
	for want, err := range map[string]error{
		"can be read by others (-rw-r-----): delete it": err,
		"set state_dir to a directory":                  Create(below, nil),
		"not a directory":                               Replace(below, nil),
		"file exists":                                   Replace(occupied, nil),
	} {
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v, %v: a temporary file is left", left, err)
	}
}
