// Package nartest makes store objects for tests of NARs.
//
// It knows files, directories and symlinks. It must not know NARs.
package nartest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Base is the name of a store object of a test.
const Base = "00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0"

// Node is a file, directory or symlink of a store object.
type Node struct {
	Path    string // "" is the object itself
	Content string // of a file, or what a symlink leads to
	Mode    fs.FileMode
}

// File is a regular file.
func File(path, content string) Node { return Node{path, content, 0o444} }

// Executable is a regular file with the right to be run.
func Executable(path, content string) Node { return Node{path, content, 0o555} }

// Dir is a directory.
func Dir(path string) Node { return Node{path, "", fs.ModeDir} }

// Link is a symlink.
func Link(path, to string) Node { return Node{path, to, fs.ModeSymlink} }

// Objects are store objects of every kind, by name.
var Objects = map[string][]Node{
	"file":       {File("", "hello")},
	"executable": {Executable("", "#!/bin/sh\n")},
	"empty file": {File("", "")},
	"eight":      {File("", "12345678")},
	"symlink":    {Link("", "/etc/passwd")},
	"directory":  {Dir("")},
	"tree": {
		Dir(""), Dir("bin"), Executable("bin/a", strings.Repeat("x", 100_000)),
		Executable("bin/b", ""), Dir("bin.d"), File("bin-", "7 bytes"),
		Dir("lib"), Dir("lib/deep"), Dir("lib/deep/deeper"),
		File("lib/deep/deeper/x", "yz"), Link("zz", "../../etc/passwd"),
	},
	// go-nix's own writer can't.
	"dotted names":   {Dir(""), File("..data", "x"), Dir("..."), File(".../y", "z")},
	"bytes in names": {Dir(""), File("\xff", "x"), File("a b", "x"), File("Z", "x"), File("é", "x")},
}

// Plant makes a store object DIR/BASE.
func Plant(t testing.TB, dir, base string, nodes ...Node) {
	t.Helper()
	for _, n := range nodes {
		path := filepath.Join(dir, base, n.Path)
		var err error
		switch {
		case n.Mode.IsDir():
			err = os.Mkdir(path, 0o755)
		case n.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.Content, path)
		default:
			err = os.WriteFile(path, []byte(n.Content), n.Mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
