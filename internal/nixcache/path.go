package nixcache

import (
	"errors"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"ravenboot/internal/batch"
	"ravenboot/internal/narinfo"
)

const (
	hashLength    = narinfo.HashLength
	narHashLength = 52 // characters of a SHA-256 in Nix's base 32
)

// resource is what a request's path names.
type resource struct {
	kind    kind
	hash    string // of a store path
	content string // the hash of a NAR, or of the file that it is in
	suffix  string // that tells the compression of a NAR
}

type kind string

const (
	kindCacheInfo kind = "cache-info"
	kindNarinfo   kind = "narinfo"
	kindNAR       kind = "nar"
	kindBatch     kind = "batch"
)

var errNoResource = errors.New("no name of a binary cache")

// parseResource reads a request's path, without the prefix of the cache. A
// NAR's name carries the hashes of its store path and of its content, so that
// whoever kept a narinfo too long gets a 404 and not another NAR.
func parseResource(path string) (resource, error) {
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return resource{}, errNoResource
	}
	switch path {
	case "nix-cache-info":
		return resource{kind: kindCacheInfo}, nil
	case batch.Path:
		return resource{kind: kindBatch}, nil
	}
	if hash, ok := strings.CutSuffix(path, ".narinfo"); ok && isBase32(hash, hashLength) {
		return resource{kind: kindNarinfo, hash: hash}, nil
	}
	if name, ok := strings.CutPrefix(path, "nar/"); ok {
		return parseNAR(name)
	}
	return resource{}, errNoResource
}

func parseNAR(name string) (resource, error) {
	name, suffix, ok := strings.Cut(name, ".nar")
	hash, content, _ := strings.Cut(name, "-")
	if !ok || !isSuffix(suffix) || !isBase32(hash, hashLength) || !isBase32(content, narHashLength) {
		return resource{}, errNoResource
	}
	return resource{kind: kindNAR, hash: hash, content: content, suffix: suffix}, nil
}

// String is the path that parseResource reads.
func (r resource) String() string {
	switch r.kind {
	case kindCacheInfo:
		return "/nix-cache-info"
	case kindBatch:
		return "/" + batch.Path
	case kindNarinfo:
		return "/" + r.hash + ".narinfo"
	}
	return "/nar/" + r.hash + "-" + r.content + ".nar" + r.suffix
}

// tag is a validator (RFC 9110 8.8.3) of what the name stands for.
func (r resource) tag() string { return `"` + r.content + `"` }

func isSuffix(s string) bool {
	for _, suffix := range suffixes {
		if s == suffix {
			return true
		}
	}
	return false
}

func isBase32(s string, length int) bool {
	return len(s) == length && nixbase32.ValidateString(s) == nil
}

// shorten keeps what others wrote from filling a log line.
func shorten(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
