package generation

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxAliases bounds how many links lead from a configured path to the profile.
const maxAliases = 8

// links is where a profile's generation links lie.
type links struct {
	dir, name string // dir/name-N-link
	current   int    // the number that the profile points at, 0 if it points at none
}

func (l links) path(number int) string {
	return filepath.Join(l.dir, l.name+"-"+strconv.Itoa(number)+"-link")
}

// findLinks follows the profile's path to its generation links. The path may be
// a link to the profile, as ~/.nix-profile is. It may also be missing: on a
// server without Nix, generations are enough.
func findLinks(path string) links {
	path = filepath.Clean(path)
	for range maxAliases {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		if n, ok := parseNumber(filepath.Base(path), filepath.Base(target)); ok {
			return links{filepath.Dir(target), filepath.Base(path), n}
		}
		if info, err := os.Lstat(target); err != nil || info.Mode()&os.ModeSymlink == 0 {
			break
		}
		path = target
	}
	return links{dir: filepath.Dir(path), name: filepath.Base(path)}
}

// parseNumber takes the N out of NAME-N-link. It is strict, because profiles
// share a directory and names may end in numbers: "lab-2-link" is generation 2
// of lab, "lab-2-7-link" is generation 7 of lab-2.
func parseNumber(name, link string) (int, bool) {
	rest, ok := strings.CutPrefix(link, name+"-")
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, "-link")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	// The round trip refuses "+1", "01" and "-1", which would give two links
	// the same number.
	if err != nil || n < 1 || strconv.Itoa(n) != digits {
		return 0, false
	}
	return n, true
}
