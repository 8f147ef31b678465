// Package narinfo reads and writes what a binary cache says of a store path,
// and says what of it is signed. Server and client must have these alike.
//
// It knows the text form of narinfos, and the names of store paths. It must not
// know HTTP, keys, stores, or which narinfos are believed: whoever reads one
// compares it with what was signed, and with what can be unpacked.
package narinfo

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
)

// Facts are what is known of a store path wherever its NAR is. Paths are without
// the store directory, "HASH-NAME".
type Facts struct {
	Base       string
	NarHash    [sha256.Size]byte
	NarSize    int64    // bytes of the NAR
	Deriver    string   // "" if it isn't known
	References []string // sorted, none twice; a path may refer to itself
}

// Info is what a narinfo says: the facts of a store path, and the file that its
// NAR is in. Only the facts are signed, and of them not the deriver.
type Info struct {
	Facts
	URL         string             // of the file, mostly relative to the cache
	Compression string             // of the file, as Nix calls it
	FileHash    *[sha256.Size]byte // nil if it isn't known
	FileSize    int64              // bytes of the file; 0 if it isn't known
	Signatures  []string           // NAME:BASE64, as they were found
	CA          string             // how the content makes the path; "" for most
}

// Hash is what the narinfo of a store path is asked for by.
func (f *Facts) Hash() string { return f.Base[:HashLength] }

// Fingerprint is what is signed of a store path. That of go-nix knows only of
// /nix/store.
func (f *Facts) Fingerprint(storeDir string) string {
	references := make([]string, len(f.References))
	for i, reference := range f.References {
		references[i] = storeDir + "/" + reference
	}
	return fmt.Sprintf("1;%s/%s;%s;%d;%s", storeDir, f.Base, FormatHash(f.NarHash), f.NarSize, strings.Join(references, ","))
}

// FormatHash writes a hash as narinfos have it.
func FormatHash(hash [sha256.Size]byte) string { return "sha256:" + nixbase32.EncodeToString(hash[:]) }
