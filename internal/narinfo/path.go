package narinfo

import (
	"fmt"
	"path"
	"strings"

	"github.com/nix-community/go-nix/pkg/storepath"
)

const (
	// HashLength is in characters, of a store path's hash: 160 bits in Nix's
	// base 32.
	HashLength = 32
	// maxName is in characters, of a store path's name, as Nix itself allows.
	maxName = 211
)

// CheckBase checks the last component of a store path, "HASH-NAME".
func CheckBase(base string) error {
	// The go-nix library tidies paths before it looks at them, so that a/../b
	// would pass for b.
	if len(base) < HashLength+2 || base[HashLength] != '-' || strings.Contains(base, "/") {
		return fmt.Errorf("%.300q is not HASH-NAME", base)
	}
	if len(base) > HashLength+1+maxName {
		return fmt.Errorf("the name of %.300q is too long", base)
	}
	if _, err := storepath.FromString(base); err != nil {
		return fmt.Errorf("%.300q: %w", base, err)
	}
	return nil
}

// BaseOf is the last component of a store path that lies directly in a store.
func BaseOf(storeDir, storePath string) (string, error) {
	dir, base := path.Split(storePath)
	if strings.TrimSuffix(dir, "/") != storeDir {
		return "", fmt.Errorf("%.300q is not in the store %s", storePath, storeDir)
	}
	return base, CheckBase(base)
}
