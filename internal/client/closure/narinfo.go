package closure

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

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
	signatures := readSignatures(info.Signatures)
	if !trusted(info.Fingerprint(storeDir), signatures, keys) {
		return object{}, untrusted(signatures)
	}
	p := object{url: info.URL, compression: info.Compression, fileSize: fileSize(info)}
	p.Path = store.Path{
		Base: base, NarHash: info.NarHash, NarSize: info.NarSize, Deriver: info.Deriver, References: info.References, CA: info.CA,
	}
	for _, s := range signatures {
		p.Signatures = append(p.Signatures, s.String())
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

// readSignatures passes over those of a form that isn't known: another of them may
// be by a trusted key.
func readSignatures(texts []string) []signature.Signature {
	var signatures []signature.Signature
	for _, text := range texts {
		if s, err := signature.ParseSignature(text); err == nil {
			signatures = append(signatures, s)
		}
	}
	return signatures
}

// trusted tries each key on each signature. The VerifyFirst of go-nix looks at
// one signature of a key's name, which may be that of a key of before.
func trusted(fingerprint string, signatures []signature.Signature, keys []signature.PublicKey) bool {
	for _, key := range keys {
		for _, s := range signatures {
			if key.Verify(fingerprint, s) {
				return true
			}
		}
	}
	return false
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

// readAll reads a short answer.
func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, narinfo.MaxText+1))
	if err == nil && len(text) > narinfo.MaxText {
		err = fmt.Errorf("longer than %d bytes", narinfo.MaxText)
	}
	return text, err
}
