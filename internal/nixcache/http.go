package nixcache

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// priority is what clients sort caches by, the lowest first: cache.nixos.org
// has 40, and is further away.
const priority = 30

// ServeHTTP answers a request of which the cache's own prefix has been cut off:
// /nix-cache-info, /HASH.narinfo, /nar/HASH-CONTENTHASH.nar, and the same with
// the end that tells the compression; and POST /batch for many of them at a time.
func (c *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	named, err := parseResource(r.URL.Path)
	t := c.newTransfer(w, r, string(named.kind))
	switch {
	case err != nil || c.off:
		t.kind = "unknown"
		t.fail(http.StatusNotFound, "not found")
	case !slices.Contains(named.kind.methods(), r.Method):
		allowed := strings.Join(named.kind.methods(), ", ")
		w.Header().Set("Allow", allowed)
		t.fail(http.StatusMethodNotAllowed, "only "+allowed)
	case named.kind == kindBatch:
		c.serveBatch(t)
	case named.kind == kindCacheInfo:
		c.serveCacheInfo(t)
	default:
		c.serveObject(t, named)
	}
	t.end()
	if t.cut {
		panic(http.ErrAbortHandler)
	}
}

func (k kind) methods() []string {
	if k == kindBatch {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodHead}
}

func (c *Cache) serveCacheInfo(t *transfer) {
	dir := c.source.storeDir()
	if dir == "" {
		c.noteMissing(t, c.view.Load().unknown)
		t.w.Header().Set("Retry-After", "2")
		t.fail(http.StatusServiceUnavailable, "the cache that is served here can't be read (yet)")
		return
	}
	t.text("text/x-nix-cache-info", fmt.Appendf(nil, "StoreDir: %s\nWantMassQuery: 1\nPriority: %d\n", dir, priority))
}

func (c *Cache) serveObject(t *transfer, named resource) {
	view := c.view.Load()
	o := view.objects[named.hash]
	if o == nil && c.expects(named.hash, view) {
		t.w.Header().Set("Retry-After", "1")
		t.fail(http.StatusServiceUnavailable, "the system's closure is being looked up, try again")
		return
	}
	if o == nil || named.kind == kindNAR && !o.has(named) {
		c.noteMissing(t, view.unknown)
		t.fail(http.StatusNotFound, "not in the closure of a system on offer")
		return
	}
	if named.kind == kindNAR {
		c.source.serve(t, o, named)
		return
	}
	text, err := o.narinfo()
	if err != nil {
		t.fault = err
		t.fail(http.StatusInternalServerError, "the narinfo could not be signed")
		return
	}
	t.text("text/x-nix-narinfo", text)
}

// expects reports whether a hash is that of a system on offer whose closure will
// be known in a moment: one that was published just now, or any at the start. A
// machine may have it from the menu already, and asks for it before all else.
func (c *Cache) expects(hash string, view *view) bool {
	return !view.failed[hash] && slices.ContainsFunc(c.offer.Toplevels(), func(toplevel string) bool {
		return hashOf(toplevel) == hash
	})
}

// noteMissing says so where a path may be missing only because its system is
// not known yet. Otherwise it is everyday: clients ask every cache that they
// have for every path.
func (c *Cache) noteMissing(t *transfer, unknown int) {
	if unknown == 0 {
		return
	}
	if ok, leftOut := c.quiet.Take(); ok {
		c.log.Warn("cache", "step", t.kind, "outcome", "refused", "file", t.r.URL.Path, "address", t.address(),
			"reason", "the closure of "+strconv.Itoa(unknown)+" systems on offer is not known (yet)", "more", leftOut)
	}
}

// text answers with a short text.
func (t *transfer) text(contentType string, text []byte) {
	header := t.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(text)))
	t.WriteHeader(http.StatusOK)
	if t.r.Method != http.MethodHead {
		// An error is in t.err.
		_, _ = t.Write(text)
	}
}

// fail answers with an error.
func (t *transfer) fail(status int, text string) {
	header := t.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(text)+1))
	t.WriteHeader(status)
	if t.r.Method != http.MethodHead {
		// An error is in t.err.
		_, _ = t.Write([]byte(text + "\n"))
	}
}
