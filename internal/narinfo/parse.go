package narinfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixhash"
	"github.com/nix-community/go-nix/pkg/storepath"
)

const (
	// maxSize bounds what is believed of a path or its file, in bytes.
	maxSize = 1 << 40
	// maxName is the longest name of a store path, in bytes (Nix's path.hh).
	maxName = 211
	// hashLength is the length of the hash in a store path.
	hashLength = 32
)

// Info is what a binary cache says of a store path. Paths but StorePath are
// given by their last component.
type Info struct {
	StorePath   string
	URL         string // of the file, relative to the cache
	Compression string
	FileSize    int64 // -1 if the cache doesn't say
	NarHash     [32]byte
	NarSize     int64
	References  []string
	Deriver     string // "" if it isn't known
	Signatures  []string
	CA          string
}

// Parse reads a narinfo. As in Nix, keys that it doesn't know say nothing; the
// parser of go-nix fails on them, and takes a megabyte for each text.
func Parse(text []byte) (Info, error) {
	info := Info{FileSize: -1}
	seen := make(map[string]bool)
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line == "\n" {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok || !strings.HasSuffix(line, "\n") {
			return Info{}, fmt.Errorf("line %d: %.100q is no whole line of a narinfo", number, line)
		}
		if seen[key] && key != "Sig" {
			return Info{}, fmt.Errorf("line %d: %.100q is there twice", number, key)
		}
		seen[key] = true
		if err := info.set(key, strings.TrimPrefix(value, " ")); err != nil {
			return Info{}, fmt.Errorf("line %d: %s: %w", number, key, err)
		}
	}
	return info, info.check(seen)
}

func (i *Info) set(key, value string) (err error) {
	switch key {
	case "StorePath":
		i.StorePath = value
	case "URL":
		i.URL = value
	case "Compression":
		i.Compression = value
	case "FileSize":
		i.FileSize, err = parseSize(value)
	case "NarSize":
		i.NarSize, err = parseSize(value)
	case "NarHash":
		i.NarHash, err = parseHash(value)
	case "References":
		i.References = strings.Fields(value)
	case "Deriver":
		if value != "unknown-deriver" {
			i.Deriver = value
		}
	case "Sig":
		i.Signatures = append(i.Signatures, value)
	case "CA":
		i.CA = value
	}
	return err
}

func (i *Info) check(seen map[string]bool) error {
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !seen[key] {
			return fmt.Errorf("%s is missing", key)
		}
	}
	if i.NarSize == 0 {
		return errors.New("NarSize is 0")
	}
	// These become names of files, and rows of a database that Nix reads.
	paths := append([]string{i.StorePath[strings.LastIndexByte(i.StorePath, '/')+1:]}, i.References...)
	if i.Deriver != "" {
		paths = append(paths, i.Deriver)
	}
	for _, base := range paths {
		if err := CheckBase(base); err != nil {
			return err
		}
	}
	return nil
}

func parseSize(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n > maxSize {
		return 0, fmt.Errorf("%.100q is no size of up to %d bytes", text, int64(maxSize))
	}
	return int64(n), nil
}

func parseHash(text string) (hash [32]byte, err error) {
	parsed, err := nixhash.ParseAny(text, nil)
	if err != nil || parsed.Algo() != nixhash.SHA256 {
		return hash, fmt.Errorf("%.100q is no SHA-256", text)
	}
	return [32]byte(parsed.Digest()), nil
}

// CheckBase says whether a text is the last component of a store path. go-nix
// alone would take "HASH-x/../HASH-y" for one.
func CheckBase(base string) error {
	_, err := storepath.FromString(base)
	if err != nil || strings.ContainsRune(base, '/') || len(base) > hashLength+1+maxName {
		return fmt.Errorf("%.300q is no store path HASH-NAME", base)
	}
	return nil
}
