package nixcache

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

const (
	// maxNarinfo is in bytes. One with a thousand references takes 50 kB.
	maxNarinfo = 1 << 20
	// maxNarinfoText is in bytes, of a value that is only handed on.
	maxNarinfoText = 1000
	maxSignatures  = 100
)

// suffixes are the compressions that narinfos may name, each with the end of
// its files' names. Clients know those that their Nix knows.
var suffixes = map[string]string{
	CompressionNone: "", CompressionZstd: ".zst", "xz": ".xz", "bzip2": ".bz2", "gzip": ".gz",
	"br": ".br", "lz4": ".lz4", "lzip": ".lzip",
}

// listing is what a narinfo says: the facts of a store path, and the file that
// its NAR is in.
type listing struct {
	facts
	url         string
	compression string
	fileHash    *[32]byte // SHA-256 of the file; nil if it isn't known
	fileSize    int64     // bytes of the file; 0 if it isn't known
	signatures  []string  // NAME:BASE64
	ca          string    // how the content makes the path; "" for most
}

// parseListing reads the narinfo of the store path with a hash, in a store.
// Keys that it doesn't know are passed over: Nix gains some from time to time.
func parseListing(text []byte, storeDir, hash string) (*listing, error) {
	if len(text) > maxNarinfo {
		return nil, fmt.Errorf("the narinfo is longer than %d bytes", maxNarinfo)
	}
	l := &listing{}
	given := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY: VALUE", shorten(line))
		}
		if given[key] && key != "Sig" {
			return nil, fmt.Errorf("%s is there twice", shorten(key))
		}
		given[key] = true
		if err := l.set(storeDir, key, strings.TrimPrefix(value, " ")); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !given[key] {
			return nil, fmt.Errorf("%s is missing", key)
		}
	}
	if l.hash() != hash {
		return nil, fmt.Errorf("it is the narinfo of %s", l.base)
	}
	return l, l.complete()
}

func (l *listing) set(storeDir, key, value string) (err error) {
	switch key {
	case "StorePath":
		l.base, err = baseOf(storeDir, value)
	case "URL":
		l.url = value
		err = checkText(value)
	case "Compression":
		l.compression = value
	case "FileHash":
		l.fileHash = new([32]byte)
		*l.fileHash, err = parseNixHash(value)
	case "FileSize":
		l.fileSize, err = parseSize(value)
	case "NarHash":
		l.narHash, err = parseNixHash(value)
	case "NarSize":
		l.narSize, err = parseSize(value)
	case "References":
		l.references, err = parseReferences(value)
	case "Deriver":
		if value != "unknown-deriver" && value != "" {
			l.deriver, err = value, parseBase(value)
		}
	case "Sig":
		l.signatures = append(l.signatures, value)
		err = checkText(value)
		if len(l.signatures) > maxSignatures {
			err = fmt.Errorf("more than %d", maxSignatures)
		}
	case "CA":
		l.ca = value
		err = checkText(value)
	}
	return err
}

// complete fills in what may be left out, and compares what is there twice.
func (l *listing) complete() error {
	if l.compression == "" {
		l.compression = "bzip2" // as Nix takes it
	}
	if _, ok := suffixes[l.compression]; !ok {
		return fmt.Errorf("compression %q is not known", shorten(l.compression))
	}
	if l.compression != CompressionNone {
		return nil
	}
	if l.fileHash != nil && *l.fileHash != l.narHash || l.fileSize != 0 && l.fileSize != l.narSize {
		return errors.New("without compression, the hashes and sizes of file and NAR differ")
	}
	l.fileHash, l.fileSize = new(l.narHash), l.narSize
	return nil
}

// checkText refuses what is handed on and could be more than a word of a line.
func checkText(value string) error {
	if value == "" || len(value) > maxNarinfoText || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q is empty, too long, or has characters that don't belong there", shorten(value))
	}
	return nil
}

func parseSize(value string) (int64, error) {
	size, err := strconv.ParseInt(value, 10, 64)
	if err != nil || size <= 0 {
		return 0, fmt.Errorf("%q is no size", shorten(value))
	}
	return size, nil
}

// parseNixHash reads a SHA-256 in any of the forms that Nix writes.
func parseNixHash(value string) ([32]byte, error) {
	if len(value) > maxNarinfoText {
		return [32]byte{}, errors.New("too long for a hash")
	}
	hash, err := nixhash.ParseAny(value, nil)
	if err != nil {
		return [32]byte{}, err
	}
	if hash.Algo() != nixhash.SHA256 || len(hash.Digest()) != 32 {
		return [32]byte{}, fmt.Errorf("%q is no SHA-256", shorten(value))
	}
	return [32]byte(hash.Digest()), nil
}

func parseReferences(value string) ([]string, error) {
	references := strings.Fields(value)
	if len(references) > maxReferences {
		return nil, fmt.Errorf("more than %d", maxReferences)
	}
	for _, reference := range references {
		if err := parseBase(reference); err != nil {
			return nil, err
		}
	}
	// Signatures are over sorted references.
	slices.Sort(references)
	if references = slices.Compact(references); len(references) == 0 {
		return nil, nil
	}
	return references, nil
}

// text is the narinfo for clients.
func (l *listing) text(storeDir string) []byte {
	var text bytes.Buffer
	line := func(key, value string) { fmt.Fprintf(&text, "%s: %s\n", key, value) }
	line("StorePath", storeDir+"/"+l.base)
	line("URL", l.url)
	line("Compression", l.compression)
	if l.fileHash != nil {
		line("FileHash", hash32(*l.fileHash))
	}
	if l.fileSize != 0 {
		line("FileSize", strconv.FormatInt(l.fileSize, 10))
	}
	line("NarHash", hash32(l.narHash))
	line("NarSize", strconv.FormatInt(l.narSize, 10))
	line("References", strings.Join(l.references, " "))
	if l.deriver != "" {
		line("Deriver", l.deriver)
	}
	for _, signature := range l.signatures {
		line("Sig", signature)
	}
	if l.ca != "" {
		line("CA", l.ca)
	}
	return text.Bytes()
}

func hash32(hash [32]byte) string { return "sha256:" + nixbase32.EncodeToString(hash[:]) }

// resource names the file for clients. It isn't the URL of the narinfo: that is
// whatever the other cache's program makes up, and two listings may share one.
func (l *listing) resource() resource {
	content := l.narHash
	if l.fileHash != nil {
		content = *l.fileHash
	}
	return resource{kind: kindNAR, hash: l.hash(), content: nixbase32.EncodeToString(content[:]), suffix: suffixes[l.compression]}
}

// forClients is the listing with a URL of this cache, and its signature beside
// the others. Neither the URL nor what is said of the file is signed.
func (l *listing) forClients(storeDir string, key Key) ([]byte, error) {
	signed, err := key.secret.Sign(nil, l.fingerprint(storeDir))
	if err != nil {
		return nil, err
	}
	mine := *l
	mine.url = strings.TrimPrefix(l.resource().String(), "/")
	mine.signatures = append(slices.Clone(l.signatures), signed.String())
	return mine.text(storeDir), nil
}

// parseCacheInfo gives the store of a cache, from its nix-cache-info.
func parseCacheInfo(text []byte) (storeDir string, err error) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "StoreDir:"); ok {
			storeDir = strings.TrimSpace(value)
		}
	}
	if err := checkText(storeDir); err != nil || !path.IsAbs(storeDir) || path.Clean(storeDir) != storeDir {
		return "", fmt.Errorf("the nix-cache-info has no StoreDir, or one that is no directory: %q", shorten(storeDir))
	}
	return storeDir, nil
}
