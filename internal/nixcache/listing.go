package nixcache

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"ravenboot/internal/narinfo"
)

// suffixes are the compressions that narinfos may name, each with the end of
// its files' names. Clients know those that their Nix knows.
var suffixes = map[string]string{
	CompressionNone: "", CompressionZstd: ".zst", "xz": ".xz", "bzip2": ".bz2", "gzip": ".gz",
	"br": ".br", "lz4": ".lz4", "lzip": ".lzip",
}

// listing is a narinfo whose file this cache can hand on.
type listing struct{ narinfo.Info }

// parseListing reads the narinfo of the store path base, in a store.
func parseListing(text []byte, storeDir, base string) (*listing, error) {
	info, err := narinfo.Parse(text, storeDir, base)
	if err != nil {
		return nil, err
	}
	l := &listing{*info}
	return l, l.complete()
}

// complete fills in what may be left out, and compares what is there twice.
func (l *listing) complete() error {
	if _, ok := suffixes[l.Compression]; !ok {
		return fmt.Errorf("compression %q is not known", shorten(l.Compression))
	}
	if l.Compression != CompressionNone {
		return nil
	}
	if l.FileHash != nil && *l.FileHash != l.NarHash || l.FileSize != 0 && l.FileSize != l.NarSize {
		return errors.New("without compression, the hashes and sizes of file and NAR differ")
	}
	l.FileHash, l.FileSize = new(l.NarHash), l.NarSize
	return nil
}

// resource names the file for clients. It isn't the URL of the narinfo: that is
// whatever the other cache's program makes up, and two listings may share one.
func (l *listing) resource() resource {
	content := l.NarHash
	if l.FileHash != nil {
		content = *l.FileHash
	}
	return resource{kind: kindNAR, hash: l.Hash(), content: nixbase32.EncodeToString(content[:]), suffix: suffixes[l.Compression]}
}

// forClients is the listing with a URL of this cache, and its signature beside
// the others. Neither the URL nor what is said of the file is signed.
func (l *listing) forClients(storeDir string, key Key) ([]byte, error) {
	signed, err := key.secret.Sign(nil, l.Fingerprint(storeDir))
	if err != nil {
		return nil, err
	}
	mine := l.Info
	mine.URL = strings.TrimPrefix(l.resource().String(), "/")
	mine.Signatures = append(slices.Clone(l.Signatures), signed.String())
	return mine.Text(storeDir), nil
}

// parseCacheInfo gives the store of a cache, from its nix-cache-info.
func parseCacheInfo(text []byte) (storeDir string, err error) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "StoreDir:"); ok {
			storeDir = strings.TrimSpace(value)
		}
	}
	if err := narinfo.CheckWord(storeDir); err != nil || !path.IsAbs(storeDir) || path.Clean(storeDir) != storeDir {
		return "", fmt.Errorf("the nix-cache-info has no StoreDir, or one that is no directory: %q", shorten(storeDir))
	}
	return storeDir, nil
}
