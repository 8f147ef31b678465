package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/narinfo"
)

// UpstreamDir is the name in the state directory of what came from upstream. It
// can be deleted while the server is stopped: it is fetched again.
const UpstreamDir = "nixcache"

const (
	remoteLookups   = 16 // narinfos at a time
	remoteDownloads = 16 // NARs at a time
	partial         = ".partial"
)

// Upstream is another binary cache.
type Upstream struct {
	URL string
	// PublicKeys are those of which one must have signed every path.
	PublicKeys []string
	// Keep is how many bytes of NARs are kept.
	Keep int64
}

// upstream passes on what another cache has. Narinfos are taken with one of its
// keys' signatures only, and kept as they came, so that closures are known after
// a restart without it; NARs are kept once they have been checked.
type upstream struct {
	remote  *remote
	keys    []signature.PublicKey
	key     Key
	log     *slog.Logger
	dir     string
	store   atomic.Value // string
	known   catalogue
	ctx     context.Context // of downloads; ends with Run
	stop    context.CancelFunc
	running sync.WaitGroup
	places  chan struct{} // of downloads
	down    outage
	silent  atomic.Pointer[error] // that upstream had since the last refresh

	mu        sync.Mutex
	kept      *kept
	downloads map[string]*download // by name
	checked   map[string]bool      // names of the files that this process has checked
	stale     map[string]bool      // bases whose NAR upstream has no longer
}

func newUpstream(c *Cache) (*upstream, error) {
	config := c.config.Upstream
	u := &upstream{
		key: c.key, log: c.log, dir: filepath.Join(c.config.StateDir, UpstreamDir),
		places:    make(chan struct{}, remoteDownloads),
		downloads: make(map[string]*download), checked: make(map[string]bool), stale: make(map[string]bool),
	}
	u.down.log = c.log
	u.known = catalogue{lookups: remoteLookups, learn: u.learn}
	if err := u.connect(config); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(u.dir, "narinfo"), 0o700); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	var err error
	if u.kept, err = openKept(filepath.Join(u.dir, "nar"), config.Keep); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	u.ctx, u.stop = context.WithCancel(context.Background())
	return u, nil
}

// connect takes the address and the keys. Nothing is asked yet.
func (u *upstream) connect(config *Upstream) (err error) {
	u.store.Store("")
	if u.remote, err = newRemote(config.URL); err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	for _, text := range config.PublicKeys {
		key, err := signature.ParsePublicKey(text)
		if err != nil {
			return fmt.Errorf("public key %q: %w", text, err)
		}
		u.keys = append(u.keys, key)
	}
	if len(u.keys) == 0 {
		return errors.New("upstream has no public keys, so that nothing of it could be trusted")
	}
	return nil
}

func (u *upstream) close() {
	u.mu.Lock() // no download begins any more once this is done
	u.stop()
	u.mu.Unlock()
	u.running.Wait()
}

func (u *upstream) storeDir() string { return u.store.Load().(string) }

func (u *upstream) changed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.stale) > 0
}

// refresh forgets the narinfos whose NARs upstream has no longer. A closure is
// never else asked for again: what a path holds doesn't change.
func (u *upstream) refresh() {
	u.silent.Store(nil)
	u.mu.Lock()
	stale := u.stale
	u.stale = make(map[string]bool)
	u.mu.Unlock()
	u.known.forget(func(o *object) bool {
		if stale[o.Base] {
			u.deleteNarinfo(o.Hash())
		}
		return stale[o.Base]
	})
}

func (u *upstream) closure(ctx context.Context, toplevel string) ([]*object, error) {
	store, err := u.findStore(ctx)
	var closure []*object
	if err == nil {
		var base string
		if base, err = narinfo.BaseOf(store, toplevel); err != nil {
			return nil, fmt.Errorf("%w, which upstream is a cache of", err)
		}
		closure, err = u.known.closure(ctx, base)
	}
	if err != nil {
		return nil, u.advise(err)
	}
	return closure, nil
}

func (u *upstream) advise(err error) error {
	return fmt.Errorf("%w; copy the system to %s, or look whether that runs and can be reached", err, u.remote.base)
}

// findStore asks which store upstream is a cache of, and remembers it.
func (u *upstream) findStore(ctx context.Context) (string, error) {
	if store := u.storeDir(); store != "" {
		return store, nil
	}
	text, _, err := readSmall(u.dir, "nix-cache-info", maxCacheInfo)
	if store, bad := parseCacheInfo(text); err == nil && bad == nil {
		u.store.Store(store)
		return store, nil
	}
	if text, err = u.ask(ctx, "nix-cache-info", maxCacheInfo); err != nil {
		return "", err
	}
	store, err := parseCacheInfo(text)
	if err != nil {
		return "", err
	}
	u.store.Store(store)
	return store, u.remember("nix-cache-info", text)
}

// ask gets a short text from upstream, unless that has just failed to answer: the
// systems that need nothing of it are not to wait for others.
func (u *upstream) ask(ctx context.Context, name string, most int64) ([]byte, error) {
	if silent := u.silent.Load(); silent != nil {
		return nil, *silent
	}
	text, err := u.remote.small(ctx, name, most)
	if err != nil && !errors.Is(err, errForGood) && ctx.Err() == nil {
		u.silent.Store(&err)
	}
	return text, err
}

// remember writes a file that can be had again: it needn't survive a power cut.
func (u *upstream) remember(name string, text []byte) error {
	temporary, err := os.CreateTemp(u.dir, "new.*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), filepath.Join(u.dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

func narinfoFile(hash string) string { return "narinfo/" + hash + ".narinfo" }

func (u *upstream) deleteNarinfo(hash string) {
	if err := os.Remove(filepath.Join(u.dir, narinfoFile(hash))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.log.Warn("cache", "step", "forget", "outcome", "failed", "reason", err)
	}
}

// learn takes the narinfo of a store path, from here or from upstream.
func (u *upstream) learn(ctx context.Context, base string) (*object, error) {
	hash := base[:hashLength]
	text, _, err := readSmall(u.dir, narinfoFile(hash), narinfo.MaxText)
	if err == nil {
		// One that can't be believed, such as with keys of before, is asked anew.
		if l, err := u.believe(text, base); err == nil {
			return u.object(l), nil
		}
	}
	if text, err = u.ask(ctx, hash+".narinfo", narinfo.MaxText); err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	l, err := u.believe(text, base)
	if err != nil {
		return nil, fmt.Errorf("upstream's narinfo of %s: %w", base, err)
	}
	return u.object(l), u.remember(narinfoFile(hash), text)
}

// believe reads the narinfo of a path that one of the keys has signed.
func (u *upstream) believe(text []byte, base string) (*listing, error) {
	l, err := parseListing(text, u.storeDir(), base)
	if err != nil {
		return nil, err
	}
	if err := l.checkable(); err != nil {
		return nil, err
	}
	if _, err := u.remote.resolve(l.URL); err != nil {
		return nil, err
	}
	if !u.trusts(l) {
		return nil, errors.New("none of [cache] public_keys has signed it; sign it there with nix store sign, or add its key")
	}
	return l, nil
}

// trusts tells whether one of the keys has made one of the signatures. Each key is
// tried: while a cache changes its key, two may have one name, and go-nix's
// VerifyFirst ends at the first of that name, whether it fits or not.
func (u *upstream) trusts(l *listing) bool {
	fingerprint := l.Fingerprint(u.storeDir())
	return slices.ContainsFunc(l.Signatures, func(text string) bool {
		signed, err := signature.ParseSignature(text)
		return err == nil && slices.ContainsFunc(u.keys, func(key signature.PublicKey) bool { return key.Verify(fingerprint, signed) })
	})
}

func (u *upstream) object(l *listing) *object {
	o := &object{Facts: l.Facts, listed: l}
	o.narinfo = sync.OnceValues(func() ([]byte, error) { return l.forClients(u.storeDir(), u.key) })
	return o
}

// keep forgets the narinfos of systems that are no longer on offer.
func (u *upstream) keep(objects map[string]*object, complete bool) error {
	if !complete {
		return nil
	}
	u.known.forget(func(o *object) bool {
		gone := objects[o.Hash()] == nil
		if gone {
			u.deleteNarinfo(o.Hash())
		}
		return gone
	})
	return nil
}

func (u *upstream) serve(t *transfer, o *object, named resource) {
	f, d, err := u.open(o.listed, t.r.Method == http.MethodGet)
	switch {
	case err != nil:
		t.fault = err
		t.fail(http.StatusInternalServerError, "this server can't keep what it would fetch")
	case f != nil:
		t.packed(named, func() (*os.File, error) { return f, nil })
	case d != nil:
		defer d.leave()
		u.follow(t, d, named)
	default:
		t.announce(o.listed, named)
	}
}

// announce answers HEAD for what isn't here yet.
func (t *transfer) announce(l *listing, named resource) {
	t.describe(named)
	if l.FileSize != 0 {
		t.w.Header().Set("Accept-Ranges", "bytes")
		t.w.Header().Set("Content-Length", fmt.Sprint(l.FileSize))
	}
	t.WriteHeader(http.StatusOK)
}

// openKept opens a NAR's file that is here, and gives nil for others.
func (u *upstream) openKept(l *listing) *os.File {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.openChecked(l, filepath.Base(l.resource().String()))
}

// openChecked passes over what an earlier run has kept: a disk can lose bytes,
// and every machine would refuse them for as long as they were kept.
func (u *upstream) openChecked(l *listing, name string) *os.File {
	if !u.checked[name] {
		return nil
	}
	return u.kept.open(name, l.FileSize)
}

// open gives a file that is kept, or a download of it: the one that is under way,
// or a new one if it is wanted.
func (u *upstream) open(l *listing, wanted bool) (*os.File, *download, error) {
	name := filepath.Base(l.resource().String())
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.downloads[name]; d != nil {
		d.use()
		return nil, d, nil
	}
	if f := u.openChecked(l, name); f != nil || !wanted {
		return f, nil, nil
	}
	d, err := u.begin(l, name)
	return nil, d, err
}

// takeBack makes a download of a file that an earlier run has kept, of which
// nothing is missing but the check.
func (u *upstream) takeBack(l *listing, name string) bool {
	f := u.kept.open(name, l.FileSize)
	if f == nil {
		return false
	}
	_ = f.Close() // which was only opened for reading
	u.kept.take(name)
	return os.Rename(u.kept.path(name), u.kept.path(name+partial)) == nil
}

// begin starts a download, with two users: itself and who asked. What a former
// one has left is gone on with.
func (u *upstream) begin(l *listing, name string) (*download, error) {
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	here := u.takeBack(l, name)
	u.kept.take(name + partial)
	f, err := os.OpenFile(u.kept.path(name+partial), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	arrived := info.Size()
	if l.FileSize != 0 && arrived == l.FileSize {
		here = true // the server was stopped before it was checked
	}
	if !here && arrived >= l.FileSize {
		arrived = 0 // of a length that nobody knows, or none that it can have
	}
	d := &download{listing: l, name: name, file: f, news: make(chan struct{}), users: 2, arrived: arrived, here: here}
	if d.reserved, err = u.kept.reserve(l.mostFile()); err == nil {
		err = f.Truncate(arrived)
	}
	if err != nil {
		u.kept.release(d.reserved)
		return nil, errors.Join(err, f.Close())
	}
	u.downloads[name] = d
	u.running.Go(func() { u.run(d) })
	return d, nil
}

// run fetches, checks and keeps a file.
func (u *upstream) run(d *download) {
	defer d.leave()
	err := u.fetch(d)
	d.tell(func() { d.checked, d.err = err == nil, err })
	u.note(d, err)
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.downloads, d.name)
	u.kept.release(d.reserved)
	if err == nil {
		u.checked[d.name] = true
		err = u.keepFile(d)
	} else {
		err = u.keepPartial(d, err)
	}
	if err != nil {
		u.log.Warn("cache", "step", "keep", "outcome", "failed", "file", d.name, "reason", err,
			"hint", "it is fetched again when it is wanted again")
	}
}

// note says what is wrong with upstream, or with the own disk.
func (u *upstream) note(d *download, err error) {
	switch {
	case !d.here:
		u.down.note(u.remote, d.listing, err)
	case err != nil && !errors.Is(err, context.Canceled):
		u.log.Warn("cache", "step", "keep", "outcome", "damaged", "path", d.listing.Base, "file", d.name, "reason", err,
			"hint", "it is fetched again; look after this server's own disk")
	}
}

func (u *upstream) fetch(d *download) error {
	checked := make(chan error, 1)
	check := func() { checked <- d.listing.verify(&follower{ctx: u.ctx, download: d, checks: true}) }
	if d.here {
		d.tell(func() { d.whole = true })
		check()
		return <-checked
	}
	select {
	case u.places <- struct{}{}:
		defer func() { <-u.places }()
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
	go check()
	err := d.fetch(u.ctx, u.remote)
	d.tell(func() { d.whole, d.err = err == nil, err })
	if found := <-checked; err == nil {
		return found
	}
	return err
}

func (u *upstream) keepFile(d *download) error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(u.kept.path(d.name+partial), u.kept.path(d.name)); err != nil {
		return err
	}
	return u.kept.add(d.name, d.arrived)
}

// keepPartial keeps what came before the connection was lost. What is wrong goes,
// and what upstream has no longer is asked for anew.
func (u *upstream) keepPartial(d *download, failure error) error {
	if errors.Is(failure, errNotThere) {
		u.stale[d.listing.Base] = true
	}
	if d.here && errors.Is(failure, context.Canceled) {
		return errors.Join(os.Rename(u.kept.path(d.name+partial), u.kept.path(d.name)), u.kept.add(d.name, d.arrived))
	}
	if d.here || errors.Is(failure, errMismatch) || errors.Is(failure, errForGood) || d.arrived == 0 || d.listing.FileSize == 0 {
		return os.Remove(u.kept.path(d.name + partial))
	}
	return u.kept.add(d.name+partial, d.arrived)
}

// follow sends a download while it comes.
func (u *upstream) follow(t *transfer, d *download, named resource) {
	if t.r.Method == http.MethodHead {
		t.announce(d.listing, named)
		return
	}
	if !t.cache.enter(t) {
		return
	}
	defer t.cache.leave()
	switch err := d.wait(t.r.Context()); {
	case err == nil:
	case t.r.Context().Err() != nil:
		t.err = err
		return
	case isTimeout(err):
		t.fail(http.StatusGatewayTimeout, "upstream doesn't answer")
		return
	default:
		t.fail(http.StatusBadGateway, "upstream doesn't have it, or not as it should be")
		return
	}
	t.describe(named)
	f := &follower{ctx: t.r.Context(), download: d}
	if d.listing.FileSize != 0 {
		http.ServeContent(t, t.r, "", time.Time{}, f)
	} else {
		t.WriteHeader(http.StatusOK)
		_, err := t.ReadFrom(f)
		t.cut = err != nil
	}
	t.told = true // once, for all who wait
}

// outage logs upstream's faults: the first, and when there are none any more.
type outage struct {
	log    *slog.Logger
	mu     sync.Mutex
	reason string
}

func (o *outage) note(remote *remote, l *listing, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled): // this server stops
	case errors.Is(err, errMismatch):
		o.log.Error("cache", "step", "upstream", "outcome", "refused", "path", l.Base, "reason", err,
			"hint", "its file there is damaged or was replaced; copy the path there again")
	case err != nil && o.reason == "":
		o.reason = err.Error()
		hint := "look whether " + remote.base.String() + " runs and can be reached from here"
		if file := new(fs.PathError); errors.As(err, &file) {
			hint = "look after this server's own disk, or lower [cache] keep"
		}
		o.log.Error("cache", "step", "upstream", "outcome", "failed", "path", l.Base, "reason", err,
			"hint", hint+"; further failures are not logged")
	case err == nil && o.reason != "":
		o.log.Info("cache", "step", "upstream", "outcome", "recovered", "reason", o.reason)
		o.reason = ""
	}
}
