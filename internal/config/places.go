package config

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links Linux follows (path_resolution(7)).
const maxLinks = 40

// placesOnTheWay are the symbolic links that lead to a file, and the file
// itself, or the first of them that is missing. NixOS swaps /etc/static, far
// above the file, and leaves /etc/ravenboot.toml as it is.
func placesOnTheWay(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var places []string
	at, rest := "/", parts(path)
	for len(rest) > 0 && len(places) <= maxLinks {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return append(places, next)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		places = append(places, next)
		target, err := os.Readlink(next)
		if err != nil {
			return places
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(parts(target), rest...)
	}
	return append(places, at)
}

func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
