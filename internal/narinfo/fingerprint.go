// Package narinfo has what server and client must have alike of what a binary
// cache says of a store path.
//
// It must not know HTTP, keys, or stores.
package narinfo

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
)

// Fingerprint is what is signed of a store path, given by its full name. Its
// references are the last components of store paths of the same store, sorted.
// The Fingerprint of go-nix knows only of /nix/store.
func Fingerprint(storePath string, narHash [sha256.Size]byte, narSize int64, references []string) string {
	storeDir := storePath[:strings.LastIndexByte(storePath, '/')+1]
	full := make([]string, len(references))
	for i, reference := range references {
		full[i] = storeDir + reference
	}
	return fmt.Sprintf("1;%s;sha256:%s;%d;%s", storePath, nixbase32.EncodeToString(narHash[:]), narSize, strings.Join(full, ","))
}
