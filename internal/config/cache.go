package config

import "strings"

// Cache is the Nix binary cache of the systems on offer, part of the service
// that HTTP configures.
type Cache struct {
	Enabled      bool
	Compression  string // CompressionNone or CompressionZstd
	Store        string // absolute, if the file's own path is
	KeyName      string // of the signing key; "" keeps the one that it has
	MaxTransfers int    // NARs at a time
}

// Values of Cache.Compression.
const (
	CompressionNone = "none"
	CompressionZstd = "zstd"
)

type rawCache struct {
	table
	Enabled      boolean `toml:"enabled"`
	Compression  text    `toml:"compression"`
	Store        text    `toml:"store"`
	KeyName      text    `toml:"key_name"`
	MaxTransfers number  `toml:"max_transfers"`
}

// defaultCache names no key. Nix keeps one key for each name, so that a machine
// that trusts two servers needs two names, and a key that was brought along is
// trusted under the name that it has.
var defaultCache = Cache{Compression: CompressionNone, Store: "/nix/store", MaxTransfers: 64}

func (p *parser) cache() {
	r, c := &p.raw.Cache, &p.cfg.Cache
	readFlag(&c.Enabled, r.Enabled)
	oneOf(p, &c.Compression, r.Compression, CompressionNone, CompressionZstd)
	if r.Store.set {
		c.Store = p.path(r.Store)
	}
	p.keyName(&c.KeyName, r.KeyName)
	p.number(&c.MaxTransfers, r.MaxTransfers, 1, 65535)
}

// maxKeyName is in bytes.
const maxKeyName = 200

// keyName reads what stands before the colon in `trusted-public-keys`, a list
// that is split at blanks.
func (p *parser) keyName(dst *string, t text) {
	switch {
	case len(t.value) > maxKeyName:
		p.wrong(t.place, "is %d bytes long; a key's name has at most %d", len(t.value), maxKeyName)
	case strings.ContainsFunc(t.value, func(r rune) bool { return r <= ' ' || r == ':' || r > '~' }):
		p.wrong(t.place, `%s has blanks, colons or letters beyond ASCII; write it as "lab.example.org-1"`, quoted(t.value))
	default:
		readText(dst, t)
	}
}
