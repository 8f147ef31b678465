package nixcache

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"ravenboot/internal/logging"
)

// The compressions of NARs. Uncompressed ones have a length and ranges, so that
// a download can go on where it was cut off; zstd costs the server a core per
// 300 MB/s or so (BenchmarkNAR), and saves the network about a half.
const (
	CompressionNone = "none"
	CompressionZstd = "zstd"
)

// Offer tells which systems are on offer.
type Offer interface {
	// Toplevels gives the store paths of all systems on offer, those first that
	// are wanted first. It is asked every second and for what is missing, and must
	// not block.
	Toplevels() []string
}

// Config says what a Cache is to be. It serves from the store of this machine,
// unless Dir or Upstream is given.
type Config struct {
	// StoreDir is the store's directory; "" takes /nix/store.
	StoreDir string
	// Dir is a binary cache that `nix copy --to file://DIR` has made. What it says
	// is believed, and signed: whoever may write there decides what machines run.
	Dir string
	// Upstream is a cache that is passed on.
	Upstream *Upstream
	// StateDir is where the key and what is known of store paths are kept.
	StateDir string
	// Compression of the NARs that clients are sent to; "" takes none.
	Compression string
	// KeyName is the signing key's name; "" keeps the one that it was made with.
	KeyName string
	// NixStore is the path of nix-store; "" looks for it.
	NixStore string
	// NixEnv is added to nix-store's environment, such as NIX_STATE_DIR=... for
	// a store whose database is elsewhere.
	NixEnv []string
	// MaxTransfers is how many NARs are sent at a time; 0 takes 64. Others wait
	// for a while, and are then told to come again.
	MaxTransfers int
	// Observe, if not nil, is told of every answer: with the protocol "http", a
	// kind ("cache-info", "narinfo", "nar", "batch"), what came of it, and how many
	// bytes of content were sent. Files in a batch count as if they had come alone.
	Observe func(protocol, kind, result string, bytes int64)
}

func (c *Config) complete() error {
	if c.StoreDir == "" {
		c.StoreDir = "/nix/store"
	}
	c.StoreDir = filepath.Clean(c.StoreDir)
	if c.Compression == "" {
		c.Compression = CompressionNone
	}
	if c.MaxTransfers == 0 {
		c.MaxTransfers = defaultTransfers
	}
	if c.Observe == nil {
		c.Observe = func(string, string, string, int64) {}
	}
	switch {
	case !filepath.IsAbs(c.StoreDir):
		return fmt.Errorf("the store %q is not an absolute path", c.StoreDir)
	case c.Compression != CompressionNone && c.Compression != CompressionZstd:
		return fmt.Errorf("compression %q is neither %q nor %q", c.Compression, CompressionNone, CompressionZstd)
	case c.Dir != "" && c.Upstream != nil:
		return errors.New("both a directory and an upstream are given")
	case c.MaxTransfers < 0:
		return fmt.Errorf("%d transfers at a time", c.MaxTransfers)
	}
	return nil
}

// Cache serves the closures of the systems on offer. It is safe for concurrent
// use.
type Cache struct {
	config Config
	offer  Offer
	log    *slog.Logger
	store  store
	source source
	key    Key
	off    bool // there is no nix-store

	view  atomic.Pointer[view]
	slots chan struct{}
	quiet logging.Limit // of lines about paths that aren't there

	poll, retryMin, retryMax time.Duration
	queueTime, stretchTime   time.Duration
}

// view is what is served at the moment. It is never changed once stored.
type view struct {
	objects map[string]*object // by the hash of their store path
	unknown int                // toplevels whose closure isn't known (yet)
	// failed are the toplevels whose closure can't be given, by the hash of their
	// store path.
	failed map[string]bool
}

// New makes a Cache that serves nothing until it Runs. It makes the signing key
// where there is none. Where it is to serve from the store of this machine, and
// there is no nix-store, the cache is off, and answers everything with 404.
func New(config Config, offer Offer, log *slog.Logger) (*Cache, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c := &Cache{
		config: config, offer: offer, log: log,
		slots: make(chan struct{}, config.MaxTransfers),
		poll:  time.Second, retryMin: 2 * time.Second, retryMax: time.Minute,
		quiet:     logging.Limit{Burst: 1, PerSecond: 1},
		queueTime: defaultQueueTime, stretchTime: defaultStretchTime,
	}
	c.view.Store(&view{unknown: len(offer.Toplevels())})
	if err := c.openSource(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cache) openSource() (err error) {
	if c.config.Dir == "" && c.config.Upstream == nil {
		tool, err := findTool(c.config.NixStore)
		if err != nil {
			c.off = true
			c.log.Warn("cache", "step", "start", "outcome", "off", "reason", err,
				"hint", "machines can't fetch systems from here; install Nix, put nix-store into the service's PATH, or turn the cache off")
			return nil
		}
		dir := c.config.StoreDir
		c.store = store{dir: dir, tool: tool, env: append([]string{"NIX_STORE_DIR=" + dir}, c.config.NixEnv...)}
	}
	if c.key, err = OpenKey(c.config.StateDir, c.config.KeyName); err != nil {
		return err
	}
	switch {
	case c.config.Dir != "":
		c.source = newReadyDir(c.config.Dir, c.key)
	case c.config.Upstream != nil:
		c.source, err = newUpstream(c)
	default:
		c.source = c.newStoreSource()
	}
	return err
}

// PublicKey is what machines must trust, as `trusted-public-keys` takes it; ""
// while the cache is off.
func (c *Cache) PublicKey() string {
	if c.off {
		return ""
	}
	return c.key.Public()
}
