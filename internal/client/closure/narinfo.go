package closure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	gonarinfo "github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixhash"
	"github.com/nix-community/go-nix/pkg/storepath"

	"ravenboot/internal/client/store"
	"ravenboot/internal/narinfo"
)

const (
	// maxNarinfo bounds the text about a path, in bytes. One with a thousand
	// references has 60 kB.
	maxNarinfo = 4 << 20
	// maxNarSize bounds what is believed of a path, in bytes.
	maxNarSize = 1 << 40
	hashLength = 32
)

// object is a store path that a cache has.
type object struct {
	store.Path
	url         string // of the file, relative to the cache
	compression string
	fileSize    int64 // -1 if the cache doesn't say
}

// ErrUntrusted is in the error of a path that no trusted key has signed.
var ErrUntrusted = errors.New("no signature by a trusted key")

// parseNarinfo reads what a cache says of the path base, and believes it only if
// a trusted key has signed it.
func parseNarinfo(text []byte, storeDir, base string, keys []signature.PublicKey) (object, error) {
	info, err := gonarinfo.Parse(bytes.NewReader(text))
	if err != nil {
		return object{}, err
	}
	if info.StorePath != storeDir+"/"+base {
		return object{}, fmt.Errorf("the cache answers with %.300q", info.StorePath)
	}
	if info.NarHash == nil || info.NarHash.Algo() != nixhash.SHA256 || info.NarSize == 0 || info.NarSize > maxNarSize {
		return object{}, errors.New("it needs a NarHash of SHA-256 and a NarSize")
	}
	// What is signed has the references in order, whatever the order in the text.
	slices.Sort(info.References)
	fingerprint := narinfo.Fingerprint(info.StorePath, [32]byte(info.NarHash.Digest()), int64(info.NarSize), info.References)
	if !signature.VerifyFirst(fingerprint, info.Signatures, keys) {
		return object{}, untrusted(info.Signatures)
	}
	p := object{url: info.URL, compression: info.Compression, fileSize: -1}
	p.Path = store.Path{
		Base: base, NarHash: [32]byte(info.NarHash.Digest()), NarSize: int64(info.NarSize), CA: info.CA,
		References: slices.Compact(info.References),
	}
	if info.FileSize > 0 && info.FileSize <= maxNarSize {
		p.fileSize = int64(info.FileSize)
	}
	if info.Compression == "none" {
		p.fileSize = p.NarSize
	}
	if info.Deriver != "" && info.Deriver != "unknown-deriver" {
		p.Deriver = info.Deriver
	}
	for _, s := range info.Signatures {
		p.Signatures = append(p.Signatures, s.String())
	}
	return p, p.check()
}

// untrusted names who did sign, which tells a wrong key from a missing one.
func untrusted(signatures []signature.Signature) error {
	if len(signatures) == 0 {
		return fmt.Errorf("%w: it is not signed", ErrUntrusted)
	}
	var names []string
	for _, s := range signatures {
		names = append(names, s.Name)
	}
	return fmt.Errorf("%w: it is signed by %.300q only, or what it says was altered", ErrUntrusted, strings.Join(names, ", "))
}

// check looks at what becomes the name of a file.
func (p *object) check() error {
	for _, base := range append([]string{p.Base}, p.References...) {
		if _, err := storepath.FromString(base); err != nil {
			return fmt.Errorf("%.300q: %w", base, err)
		}
	}
	return nil
}

// readAll reads a short answer.
func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxNarinfo+1))
	if err == nil && len(text) > maxNarinfo {
		err = fmt.Errorf("longer than %d bytes", maxNarinfo)
	}
	return text, err
}
