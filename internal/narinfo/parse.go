package narinfo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixhash"
)

const (
	// MaxText bounds a narinfo, in bytes. A reference takes some 50, and the
	// environment of a large desktop has a few thousand. A client reads dozens of
	// narinfos at a time.
	MaxText = 1 << 20
	// MaxReferences bounds what is believed of a store path.
	MaxReferences = 20_000
	// maxWord is in bytes, of a value that is only handed on.
	maxWord       = 1000
	maxSignatures = 100
)

// Parse reads the narinfo of the store path base, in a store. Keys that it
// doesn't know are passed over, as Nix does, which gains some from time to time.
func Parse(text []byte, storeDir, base string) (*Info, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("the narinfo is longer than %d bytes", MaxText)
	}
	i := &Info{}
	given := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			return nil, fmt.Errorf("%.300q is not KEY: VALUE", line)
		}
		read, known := keys[key]
		if !known {
			continue
		}
		if given[key] && key != "Sig" {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		given[key] = true
		// A copy, or a few words of it would keep the whole text in memory.
		if err := read(i, storeDir, strings.Clone(strings.TrimPrefix(value, " "))); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !given[key] {
			return nil, fmt.Errorf("%s is missing", key)
		}
	}
	if i.Base != base {
		return nil, fmt.Errorf("it is the narinfo of %s", i.Base)
	}
	if i.Compression == "" {
		i.Compression = "bzip2" // as Nix takes it
	}
	return i, nil
}

// keys are those that narinfos are known to have, each with what reads its value.
var keys = map[string]func(i *Info, storeDir, value string) error{
	"StorePath": func(i *Info, storeDir, value string) (err error) {
		i.Base, err = BaseOf(storeDir, value)
		return err
	},
	"URL": func(i *Info, _, value string) error {
		i.URL = value
		return CheckWord(value)
	},
	"Compression": func(i *Info, _, value string) error {
		i.Compression = value
		if value == "" {
			return nil
		}
		return CheckWord(value)
	},
	"FileHash": func(i *Info, _, value string) error {
		hash, err := parseHash(value)
		i.FileHash = &hash
		return err
	},
	"FileSize": func(i *Info, _, value string) (err error) {
		i.FileSize, err = parseSize(value)
		return err
	},
	"NarHash": func(i *Info, _, value string) (err error) {
		i.NarHash, err = parseHash(value)
		return err
	},
	"NarSize": func(i *Info, _, value string) (err error) {
		if i.NarSize, err = parseSize(value); err == nil && i.NarSize == 0 {
			err = errors.New("no NAR is empty")
		}
		return err
	},
	"References": func(i *Info, _, value string) (err error) {
		i.References, err = parseReferences(value)
		return err
	},
	"Deriver": func(i *Info, _, value string) error {
		if value == "unknown-deriver" || value == "" {
			return nil
		}
		i.Deriver = value
		return CheckBase(value)
	},
	"Sig": func(i *Info, _, value string) error {
		if len(i.Signatures) == maxSignatures {
			return fmt.Errorf("more than %d", maxSignatures)
		}
		i.Signatures = append(i.Signatures, value)
		return CheckWord(value)
	},
	"CA": func(i *Info, _, value string) error {
		i.CA = value
		return CheckWord(value)
	},
}

// CheckWord refuses what is handed on and could be more than a word of a line.
func CheckWord(value string) error {
	if value == "" || len(value) > maxWord || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%.300q is empty, too long, or has characters that don't belong there", value)
	}
	return nil
}

// parseSize reads a number of bytes. 0 is what Nix has where it doesn't know.
func parseSize(value string) (int64, error) {
	size, err := strconv.ParseInt(value, 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("%.300q is no size", value)
	}
	return size, nil
}

// parseHash reads a SHA-256 in any of the forms that Nix writes.
func parseHash(value string) (hash [sha256.Size]byte, err error) {
	if len(value) > maxWord {
		return hash, errors.New("too long for a hash")
	}
	parsed, err := nixhash.ParseAny(value, nil)
	if err != nil {
		return hash, err
	}
	if parsed.Algo() != nixhash.SHA256 || len(parsed.Digest()) != len(hash) {
		return hash, fmt.Errorf("%.300q is no SHA-256", value)
	}
	return [sha256.Size]byte(parsed.Digest()), nil
}

func parseReferences(value string) ([]string, error) {
	references := strings.Fields(value)
	if len(references) > MaxReferences {
		return nil, fmt.Errorf("more than %d", MaxReferences)
	}
	for _, reference := range references {
		if err := CheckBase(reference); err != nil {
			return nil, err
		}
	}
	// Signatures are over sorted references, none twice.
	slices.Sort(references)
	if references = slices.Compact(references); len(references) == 0 {
		return nil, nil
	}
	return references, nil
}
