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

const (
	// maxNarinfo bounds the text about a path, in bytes. One with a thousand
	// references has 60 kB.
	maxNarinfo = 1 << 20
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
	info, err := narinfo.Parse(text)
	if err != nil {
		return object{}, err
	}
	if info.StorePath != storeDir+"/"+base {
		return object{}, fmt.Errorf("the cache answers with %.300q", info.StorePath)
	}
	// What is signed has each reference once, in order, whatever the text has.
	slices.Sort(info.References)
	info.References = slices.Compact(info.References)
	signatures, err := trusted(&info, keys)
	if err != nil {
		return object{}, err
	}
	p := object{url: info.URL, compression: info.Compression, fileSize: info.FileSize}
	if info.Compression == "none" {
		p.fileSize = info.NarSize // and this is signed
	}
	p.Path = store.Path{
		Base: base, NarHash: info.NarHash, NarSize: info.NarSize, References: info.References,
		Deriver: info.Deriver, Signatures: signatures,
	}
	if isContentAddress(info.CA) {
		p.CA = info.CA
	}
	return p, nil
}

// trusted are the signatures by trusted keys. Others are not kept: nobody has
// checked them, and the store's database would have them for good.
func trusted(info *narinfo.Info, keys []signature.PublicKey) (good []string, err error) {
	fingerprint := narinfo.Fingerprint(info.StorePath, info.NarHash, info.NarSize, info.References)
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
	text, err := io.ReadAll(io.LimitReader(r, maxNarinfo+1))
	if err == nil && len(text) > maxNarinfo {
		err = fmt.Errorf("longer than %d bytes", maxNarinfo)
	}
	return text, err
}
