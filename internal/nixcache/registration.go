package nixcache

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"ravenboot/internal/narinfo"
)

// parseRegistration reads what `nix-store --dump-db` prints, which is the form
// that `nix-store --load-db` takes. One a line: path, SHA-256 of the NAR in
// hexadecimal, size of the NAR, deriver or nothing, number of references, each
// reference. It has been the same since Nix 2.0, unlike the JSON of `nix
// path-info`.
func parseRegistration(text io.Reader, storeDir string) ([]narinfo.Facts, error) {
	p := registrationParser{lines: bufio.NewScanner(text), storeDir: storeDir}
	var all []narinfo.Facts
	for p.lines.Scan() {
		p.line++
		f, err := p.one(p.lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
		all = append(all, f)
	}
	return all, p.lines.Err()
}

type registrationParser struct {
	lines    *bufio.Scanner
	line     int
	storeDir string
}

func (p *registrationParser) next() (string, error) {
	if !p.lines.Scan() {
		if err := p.lines.Err(); err != nil {
			return "", err
		}
		return "", io.ErrUnexpectedEOF
	}
	p.line++
	return p.lines.Text(), nil
}

func (p *registrationParser) one(path string) (f narinfo.Facts, err error) {
	if f.Base, err = narinfo.BaseOf(p.storeDir, path); err != nil {
		return f, err
	}
	if f.NarHash, f.NarSize, err = p.content(); err != nil {
		return f, err
	}
	deriver, err := p.next()
	if err != nil {
		return f, err
	}
	if deriver != "" {
		if f.Deriver, err = narinfo.BaseOf(p.storeDir, deriver); err != nil {
			return f, fmt.Errorf("deriver: %w", err)
		}
	}
	f.References, err = p.references()
	return f, err
}

func (p *registrationParser) content() (hash [32]byte, size int64, err error) {
	text, err := p.next()
	if err != nil {
		return hash, 0, err
	}
	if hash, err = parseHash(text); err != nil {
		return hash, 0, err
	}
	if text, err = p.next(); err != nil {
		return hash, 0, err
	}
	size, err = strconv.ParseInt(text, 10, 64)
	if err == nil && size <= 0 {
		// Nix stores 0 where it doesn't know; the protocol wants the number.
		err = fmt.Errorf("a NAR of %d bytes", size)
	}
	return hash, size, err
}

// parseHash reads a SHA-256 in hexadecimal.
func parseHash(text string) (hash [32]byte, err error) {
	digest, err := hex.DecodeString(strings.TrimPrefix(text, "sha256:"))
	if err != nil {
		return hash, fmt.Errorf("hash: %w", err)
	}
	if len(digest) != len(hash) {
		return hash, fmt.Errorf("a hash of %d bytes, not a SHA-256", len(digest))
	}
	return [32]byte(digest), nil
}

func (p *registrationParser) references() ([]string, error) {
	text, err := p.next()
	if err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 || count > narinfo.MaxReferences {
		return nil, fmt.Errorf("%q is no number of references", shorten(text))
	}
	var references []string
	for range count {
		path, err := p.next()
		if err != nil {
			return nil, err
		}
		base, err := narinfo.BaseOf(p.storeDir, path)
		if err != nil {
			return nil, fmt.Errorf("reference: %w", err)
		}
		references = append(references, base)
	}
	// Signatures are over sorted references.
	slices.Sort(references)
	return slices.Compact(references), nil
}
