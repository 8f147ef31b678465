package closure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	dialTime = 10 * time.Second
	// headerTime is longer than a busy server lets a request wait for its turn.
	headerTime = 90 * time.Second
	// stallTime is how long a download may stand still.
	stallTime = 30 * time.Second
	// maxPause is the longest pause before a request is made again.
	maxPause = 16 * time.Second
	// patience is how long requests for one file may fail before the download
	// fails as a whole: a server is restarted within that.
	patience = time.Minute
	// usualText is how long most narinfos are at the most, in bytes: that of a
	// thousand references.
	usualText = 64 << 10
	// longTexts is how many longer ones are read and parsed at a time, which takes
	// several times their length: a system has one or two, and a cache that means
	// ill would have dozens.
	longTexts = 4
)

// cache is a binary cache on the network.
type cache struct {
	base     *url.URL
	http     *http.Client
	patience time.Duration
	stall    time.Duration
	notice   func(string) // is told of a pause
	long     *semaphore.Weighted

	noticed   atomic.Int64 // when it was told last, in nanoseconds
	noBatches atomic.Bool  // the cache doesn't answer for many files at a time
}

// noticeEvery keeps a dozen downloads that have lost the same server from
// filling the screen.
const noticeEvery = 2 * time.Second

// pauses says that a request is made again after a pause.
func (c *cache) pauses(err error, wait time.Duration) {
	now := time.Now().UnixNano()
	if last := c.noticed.Load(); now-last > int64(noticeEvery) && c.noticed.CompareAndSwap(last, now) {
		c.notice(fmt.Sprintf("%v; trying again in %v", err, wait))
	}
}

func newCache(base string, parallel int, notice func(string)) (*cache, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/") + "/")
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the http URL of a binary cache", base)
	}
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
		// A path's hash is that of its bytes, so nothing on the way may repack it.
		DisableCompression:    true,
		MaxIdleConnsPerHost:   parallel,
		ResponseHeaderTimeout: headerTime,
		TLSHandshakeTimeout:   dialTime,
		ReadBufferSize:        64 << 10,
	}
	return &cache{base: u, http: &http.Client{Transport: transport}, patience: patience, stall: stallTime, notice: notice,
		long: semaphore.NewWeighted(longTexts)}, nil
}

// statusError is an answer other than the wanted one.
type statusError struct {
	url        string
	code       int
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s: %d %s", e.url, e.code, http.StatusText(e.code))
	if e.code == http.StatusNotFound {
		text += " (is this generation still on offer? the server's log says why not)"
	}
	return text
}

// errLost is in the error of a download whose connection broke.
var errLost = errors.New("connection lost")

// errChanged is what a cache answers with that has another file by now, or none
// that can be gone on with.
var errChanged = fmt.Errorf("%w, and the download can't be gone on with", errLost)

// passing tells whether an error may be gone when the request is made again.
func passing(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.code >= 500 || status.code == http.StatusTooManyRequests || status.code == http.StatusRequestTimeout
	}
	var request *url.Error
	return errors.As(err, &request) || errors.Is(err, errLost)
}

// get asks for a file from an offset on. An answer with an offset comes only if
// the file is still the one with the given ETag.
func (c *cache) get(ctx context.Context, relative string, offset int64, etag string) (*http.Response, error) {
	at, err := c.base.Parse(relative)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%.300q is not the http URL of a file", relative)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	want := http.StatusOK
	if offset > 0 {
		want = http.StatusPartialContent
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		request.Header.Set("If-Range", etag)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == want {
		return response, nil
	}
	if offset > 0 && response.StatusCode == http.StatusOK {
		_ = response.Body.Close()
		return nil, errChanged
	}
	// Reading the text keeps the connection.
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	_ = response.Body.Close()
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return nil, &statusError{at.String(), response.StatusCode, time.Duration(min(max(seconds, 0), 60)) * time.Second}
}

// text fetches a short file, and hands it to use.
func (c *cache) text(ctx context.Context, relative string, use func(text []byte) error) error {
	return c.insist(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, headerTime+stallTime)
		defer cancel()
		response, err := c.get(ctx, relative, 0, "")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := readAll(io.LimitReader(response.Body, usualText+1))
		if err == nil && len(text) > usualText {
			if err := c.long.Acquire(ctx, 1); err != nil {
				return err
			}
			defer c.long.Release(1)
			text, err = readAll(io.MultiReader(bytes.NewReader(text), response.Body))
		}
		if err != nil {
			return err
		}
		return use(text)
	})
}

// insist does something until it succeeds or has failed for too long.
func (c *cache) insist(ctx context.Context, do func(context.Context) error) error {
	r := c.newRetry()
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := r.pause(ctx, err); err != nil {
			return err
		}
	}
}

// retry is the growing pauses between requests that fail.
type retry struct {
	cache *cache
	since time.Time // of the first failure; what came before it was no failure
	next  time.Duration
}

const firstPause = 500 * time.Millisecond

func (c *cache) newRetry() *retry { return &retry{cache: c, next: firstPause} }

// reset forgets the failures, because something came.
func (r *retry) reset() { r.since, r.next = time.Time{}, firstPause }

// pause waits after an error, or gives it back if waiting doesn't help.
func (r *retry) pause(ctx context.Context, err error) error {
	if r.since.IsZero() {
		r.since = time.Now()
	}
	if !passing(err) || time.Since(r.since) > r.cache.patience {
		return err
	}
	wait := r.next
	var status *statusError
	if errors.As(err, &status) {
		wait = max(wait, status.retryAfter)
	}
	r.next = min(r.next*2, maxPause)
	r.cache.pauses(err, wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return err
	}
}
