package closure

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixhash"

	"ravenboot/internal/client/store"
	"ravenboot/internal/narinfo"
)

// maxNarSize bounds what is believed of a path, in bytes.
const maxNarSize = 1 << 40

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
	info, err := narinfo.Parse(text, storeDir, base)
	if err != nil {
		return object{}, err
	}
	if info.NarSize > maxNarSize {
		return object{}, fmt.Errorf("a NAR of %d bytes, which is more than the %d that are believed", info.NarSize, int64(maxNarSize))
	}
	signatures, err := trusted(info, storeDir, keys)
	if err != nil {
		return object{}, err
	}
	p := object{url: info.URL, compression: info.Compression, fileSize: fileSize(info)}
	p.Path = store.Path{
		Base: base, NarHash: info.NarHash, NarSize: info.NarSize, References: info.References,
		Deriver: info.Deriver, Signatures: signatures,
	}
	if isContentAddress(info.CA) {
		p.CA = info.CA
	}
	return p, nil
}

// fileSize is the size that a file must have, or -1. What is said of it isn't
// signed.
func fileSize(info *narinfo.Info) int64 {
	switch {
	case info.Compression == "none":
		return info.NarSize
	case info.FileSize == 0 || info.FileSize > maxNarSize:
		return -1
	}
	return info.FileSize
}

// trusted are the signatures by trusted keys. Others are not kept: nobody has
// checked them, and the store's database would have them for good.
func trusted(info *narinfo.Info, storeDir string, keys []signature.PublicKey) (good []string, err error) {
	fingerprint := info.Fingerprint(storeDir)
	var names []string
	for _, text := range info.Signatures {
		s, err := signature.ParseSignature(text)
		if err != nil {
			continue // of a form that is to come
		}
		names = append(names, s.Name)
		if slices.ContainsFunc(keys, func(key signature.PublicKey) bool { return key.Verify(fingerprint, s) }) {
			good = append(good, s.String())
		}
	}
	switch {
	case len(good) > 0:
		return good, nil
	case len(names) == 0:
		return nil, fmt.Errorf("%w: it is not signed", ErrUntrusted)
	}
	// Who did sign tells a wrong key from a missing one.
	return nil, fmt.Errorf("%w: it is signed by %.300q only, or what it says was altered", ErrUntrusted, strings.Join(names, ", "))
}

// isContentAddress tells whether Nix can read a CA. It isn't signed, and with
// one that Nix can't read the store's database would be of no use to it. A path
// does without.
func isContentAddress(text string) bool {
	kind, hash, _ := strings.Cut(text, ":")
	switch kind {
	case "text":
	case "fixed":
		hash = strings.TrimPrefix(hash, "r:")
	default:
		return false
	}
	algorithm, _, ok := strings.Cut(hash, ":")
	if !ok || kind == "text" && algorithm != "sha256" {
		return false
	}
	_, err := nixhash.ParseAny(hash, nil)
	return err == nil
}

// readAll reads a short answer.
func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, narinfo.MaxText+1))
	if err == nil && len(text) > narinfo.MaxText {
		err = fmt.Errorf("longer than %d bytes", narinfo.MaxText)
	}
	return text, err
}
