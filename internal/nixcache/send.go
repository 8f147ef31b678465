package nixcache

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"ravenboot/internal/nar"
)

// serve sends a NAR when it is its turn.
func (s *storeSource) serve(t *transfer, o *object, named resource) {
	if t.r.Method == http.MethodGet {
		if !t.cache.enter(t) {
			return
		}
		defer t.cache.leave()
	}
	content := nar.NewReader(s.dir, o.Base, o.NarSize)
	defer content.Close()
	if err := content.Open(); err != nil {
		t.fault = err
		t.fail(http.StatusNotFound, "no longer in the store")
		return
	}
	t.w.Header().Set("Content-Type", "application/x-nix-nar")
	if named.suffix != "" {
		t.compressed(content)
		return
	}
	t.w.Header().Set("ETag", named.tag())
	t.plain(content)
}

// enter waits for a place among the transfers, for a while.
func (c *Cache) enter(t *transfer) bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	patience := time.NewTimer(c.queueTime)
	defer patience.Stop()
	select {
	case c.slots <- struct{}{}:
		return true
	case <-t.r.Context().Done():
		t.err = t.r.Context().Err()
	case <-patience.C:
		// The times differ, so that those who were sent away don't come back
		// together.
		t.w.Header().Set("Retry-After", strconv.Itoa(2+rand.IntN(6)))
		t.fail(http.StatusServiceUnavailable, "busy, try again")
	}
	return false
}

// leave gives the place to another.
func (c *Cache) leave() { <-c.slots }

// plain sends a NAR as it is, as the request's method, range and conditions ask.
func (t *transfer) plain(content *nar.Reader) {
	// RFC 9110 14.2 lets a server pass over a request for several ranges: each
	// of them would walk through the store object once more.
	if strings.Contains(t.r.Header.Get("Range"), ",") {
		t.r.Header.Del("Range")
	}
	http.ServeContent(t, t.r, "", time.Time{}, content)
	if t.status == http.StatusOK && t.r.Method == http.MethodGet && t.err == nil && t.fault == nil {
		t.fault = checkEnd(content)
	}
}

// checkEnd compares the NAR with the size that was promised, once it has been
// read up to there. net/http cuts the connection where it was too short.
func checkEnd(content *nar.Reader) error {
	whole, err := content.AtEnd()
	if whole || err != nil {
		return err
	}
	return fmt.Errorf("%s is not of the size that the store's database says; run: nix-store --verify --check-contents --repair",
		content.Name())
}

// window is how far back zstd looks, in bytes. It sets the memory of an encoder,
// and of every client's decoder.
const window = 1 << 20

var encoders = sync.Pool{New: func() any {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are wrong, which any test shows
	}
	return encoder
}}

func getEncoder() *zstd.Encoder { return encoders.Get().(*zstd.Encoder) }

func putEncoder(e *zstd.Encoder) { encoders.Put(e) }

// compressed sends a NAR with zstd. Nobody knows how long it will be, so it goes
// out in HTTP chunks; one that can't be completed is cut off without the last.
func (t *transfer) compressed(content *nar.Reader) {
	t.WriteHeader(http.StatusOK)
	if t.r.Method == http.MethodHead {
		return
	}
	encoder := getEncoder()
	defer putEncoder(encoder)
	encoder.Reset(t)
	defer encoder.Reset(nil)
	_, err := encoder.ReadFrom(content)
	if err == nil {
		err = encoder.Close()
	}
	if err == nil {
		err = checkEnd(content)
	}
	if err != nil && t.err == nil {
		t.fault = err
	}
	t.cut = err != nil
}
