package config

import (
	"encoding/base64"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// Cache is the Nix binary cache of the systems on offer, part of the service
// that HTTP configures. They come from Store, unless Dir or Upstream says
// otherwise.
type Cache struct {
	Enabled      bool
	Compression  string // CompressionNone or CompressionZstd
	Store        string // absolute, if the file's own path is
	Dir          string // of a binary cache; absolute like Store, or ""
	Upstream     string // URL of a binary cache, without a slash at its end, or ""
	PublicKeys   []string
	Keep         int64  // bytes of what came from Upstream
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
	Dir          text    `toml:"dir"`
	Upstream     text    `toml:"upstream"`
	PublicKeys   texts   `toml:"public_keys"`
	Keep         text    `toml:"keep"`
	KeyName      text    `toml:"key_name"`
	MaxTransfers number  `toml:"max_transfers"`
}

// defaultCache names no key. Nix keeps one key for each name, so that a machine
// that trusts two servers needs two names, and a key that was brought along is
// trusted under the name that it has.
var defaultCache = Cache{Compression: CompressionNone, Store: "/nix/store", Keep: 20 << 30, MaxTransfers: 64}

func (p *parser) cache() {
	r, c := &p.raw.Cache, &p.cfg.Cache
	readFlag(&c.Enabled, r.Enabled)
	oneOf(p, &c.Compression, r.Compression, CompressionNone, CompressionZstd)
	if r.Store.set {
		c.Store = p.path(r.Store)
	}
	if r.Dir.set {
		c.Dir = p.path(r.Dir)
	}
	if r.Upstream.set {
		c.Upstream = p.cacheURL(r.Upstream)
	}
	for _, key := range r.PublicKeys.items {
		p.publicKey(key)
		c.PublicKeys = append(c.PublicKeys, key.value)
	}
	p.size(&c.Keep, r.Keep, 100<<20)
	p.cacheSource(r)
	p.keyName(&c.KeyName, r.KeyName)
	p.number(&c.MaxTransfers, r.MaxTransfers, 1, 65535)
}

// cacheSource refuses keys that would mean nothing beside each other.
func (p *parser) cacheSource(r *rawCache) {
	var first place
	for _, source := range []struct {
		place
		set bool
	}{{r.Store.place, r.Store.set}, {r.Dir.place, r.Dir.set}, {r.Upstream.place, r.Upstream.set}} {
		if source.set && first.key != "" {
			p.wrong(source.place, "%s is given too, in line %d; keep one of store, dir and upstream", first.key, first.line)
		} else if source.set {
			first = source.place
		}
	}
	if r.Compression.set && (r.Dir.set || r.Upstream.set) {
		p.wrong(r.Compression.place, "is for systems from store; those from dir or upstream are sent as they are there; remove it")
	}
	switch {
	case r.Upstream.set && len(r.PublicKeys.items) == 0:
		p.missing(r.PublicKeys.place,
			"name the keys that upstream signs with, as in `trusted-public-keys`: nothing else tells its systems from others'")
	case !r.Upstream.set && r.PublicKeys.set:
		p.wrong(r.PublicKeys.place, "is for upstream only; remove it, or write upstream")
	case !r.Upstream.set && r.Keep.set:
		p.wrong(r.Keep.place, "is for upstream only; remove it, or write upstream")
	}
}

// cacheURL reads the address of a binary cache. One with a password is refused:
// the file is no place for it, and log lines have the URL.
func (p *parser) cacheURL(t text) string {
	u, err := url.Parse(t.value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		p.wrong(t.place, `%s is no address of a cache; write it as "http://cache.lab:5000" or "https://cache.lab/nix"`, quoted(t.value))
	case u.User != nil:
		p.wrong(t.place, "has a name or a password in it, which upstream isn't asked with; remove it")
	default:
		return strings.TrimRight(u.String(), "/")
	}
	return ""
}

// publicKey checks a key in the form of `trusted-public-keys`.
func (p *parser) publicKey(t text) {
	name, data, _ := strings.Cut(t.value, ":")
	key, err := base64.StdEncoding.DecodeString(data)
	if name == "" || err != nil || len(key) != 32 {
		p.wrong(t.place, `%s is no public key; write it as "NAME:BASE64", as nix-store --generate-binary-cache-key made it`, quoted(t.value))
		return
	}
	var same string
	p.keyName(&same, text{place: t.place, value: name, set: true})
}

// size reads a number of bytes with a unit, of 1024 to the next.
func (p *parser) size(dst *int64, t text, least int64) {
	if !t.set {
		return
	}
	units := map[string]int64{"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
	digits := strings.TrimRight(t.value, "MGT")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, ok := units[t.value[len(digits):]]
	switch {
	case err != nil || !ok || n < 0 || n > math.MaxInt64/unit:
		p.wrong(t.place, `%s is no size; write it as "500M", "20G" or "1T"`, quoted(t.value))
	case n*unit < least:
		p.wrong(t.place, `%s is too small; write at least "%dM"`, quoted(t.value), least>>20)
	default:
		*dst = n * unit
	}
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
