package closure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// download reads a file of a cache. Where the cache allows it, it goes on after
// a lost connection from where it was.
type download struct {
	ctx   context.Context
	cache *cache
	path  *object

	response *http.Response
	cancel   context.CancelCauseFunc
	stall    *time.Timer
	at       int64
	etag     string // "" if the file can't be gone on with
	retry    *retry
	lost     error // why nothing more came, if it was the connection
}

// open asks for a path's file.
func (c *cache) open(ctx context.Context, p *object) (*download, error) {
	d := &download{ctx: ctx, cache: c, path: p, retry: c.newRetry()}
	return d, c.insist(ctx, func(context.Context) error { return d.connect() })
}

func (d *download) connect() error {
	ctx, cancel := context.WithCancelCause(d.ctx)
	response, err := d.cache.get(ctx, d.path.url, d.at, d.etag)
	if err != nil {
		cancel(nil)
		return err
	}
	d.response, d.cancel = response, cancel
	d.stall = time.AfterFunc(d.cache.stall, func() { cancel(fmt.Errorf("nothing came for %v", d.cache.stall)) })
	if d.at == 0 && response.Header.Get("Accept-Ranges") == "bytes" {
		d.etag = response.Header.Get("ETag")
	}
	return nil
}

// Read is io.Reader's.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.lost != nil {
			return 0, d.lost
		}
		// It must not run while the disk is what is waited for.
		d.stall.Reset(d.cache.stall)
		n, err := d.response.Body.Read(p)
		d.stall.Stop()
		d.at += int64(n)
		if d.path.fileSize >= 0 && d.at > d.path.fileSize {
			return 0, fmt.Errorf("%w: the file is longer than %d bytes", ErrAltered, d.path.fileSize)
		}
		if n > 0 {
			d.retry.reset()
			return n, nil
		}
		if errors.Is(err, io.EOF) && (d.path.fileSize < 0 || d.at == d.path.fileSize) {
			return 0, io.EOF
		}
		if err == nil {
			continue
		}
		if err := d.again(err); err != nil {
			return 0, err
		}
	}
}

// again connects anew after an error.
func (d *download) again(cause error) error {
	if stalled := context.Cause(d.response.Request.Context()); stalled != nil {
		cause = stalled
	}
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	d.lost = fmt.Errorf("%s: after %d bytes: %w: %w", d.response.Request.URL, d.at, errLost, cause)
	d.Close()
	if d.etag == "" || d.ctx.Err() != nil {
		return d.lost
	}
	for d.lost != nil {
		if err := d.retry.pause(d.ctx, d.lost); err != nil {
			return err
		}
		if d.lost = d.connect(); errors.Is(d.lost, errChanged) {
			return d.lost
		}
	}
	return nil
}

// Close ends the download.
func (d *download) Close() {
	if d.cancel == nil {
		return
	}
	d.stall.Stop()
	d.cancel(nil)
	_ = d.response.Body.Close()
	d.cancel = nil
}
