package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// download is a file that comes from another cache, and goes to every client that
// wants it while it comes. Its last byte is held back until the whole has been
// checked: a client has a right file or an incomplete one.
type download struct {
	listing  *listing
	name     string   // in the directory of what is kept
	file     *os.File // open for writing until the last user is gone
	reserved int64    // bytes, in the directory of what is kept
	here     bool     // nothing is to be fetched: it is a file of an earlier run, and only checked

	mu      sync.Mutex
	users   int           // of file
	news    chan struct{} // closed when one of the following changes
	arrived int64         // bytes in file
	whole   bool          // no more will arrive
	checked bool          // and it is what it should be
	err     error         // why it failed
}

// tell changes the state, and wakes who waits for that.
func (d *download) tell(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.news)
	d.news = make(chan struct{})
}

// use opens the file for another user, who must call leave.
func (d *download) use() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users++
}

func (d *download) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users--; d.users == 0 {
		// What is in the file was checked, and synced where it is kept.
		_ = d.file.Close()
	}
}

// progress is what those who read a download look at.
type progress struct {
	clients, checker int64 // up to where they may read
	ended            bool  // no more will arrive
	err              error
	news             chan struct{} // closed when something changes
}

func (d *download) progress() progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := progress{d.arrived, d.arrived, d.whole, d.err, d.news}
	if !d.checked && p.clients > 0 {
		p.clients--
	}
	return p
}

// wait waits until there is something for clients to read, or nothing will be.
func (d *download) wait(ctx context.Context) error {
	for {
		p := d.progress()
		if p.clients > 0 || p.err != nil {
			return p.err
		}
		select {
		case <-p.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follower reads a download from any place on, waiting for what is still to come.
type follower struct {
	ctx      context.Context
	download *download
	at       int64
	checks   bool // it is who checks, and sees the last byte, too
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		p := f.download.progress()
		limit := p.clients
		if f.checks {
			limit = p.checker
		}
		switch {
		case p.err != nil:
			return 0, p.err
		case f.at < limit:
			n, err := f.download.file.ReadAt(b[:min(int64(len(b)), limit-f.at)], f.at)
			f.at += int64(n)
			return n, err
		case p.ended && f.at >= p.checker:
			return 0, io.EOF
		}
		select {
		case <-p.news:
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
}

// Seek is io.Seeker's; the size is the one that the listing says.
func (f *follower) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.download.listing.FileSize
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// fetch gets what is missing of the file, trying again where it was cut off.
func (d *download) fetch(ctx context.Context, remote *remote) error {
	pause := remote.pause
	for try := 1; ; try++ {
		before := d.arrived // nobody else writes it
		err := d.get(ctx, remote)
		if err == nil || ctx.Err() != nil || errors.Is(err, errForGood) {
			return err
		}
		if d.arrived > before {
			try, pause = 1, remote.pause
		} else if try >= remote.tries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

// get makes one request for what is missing.
func (d *download) get(ctx context.Context, remote *remote) error {
	header := make(http.Header)
	if d.arrived > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.arrived))
	}
	response, err := remote.get(ctx, d.listing.URL, header)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := d.skip(response); err != nil {
		return err
	}
	return d.receive(response.Body)
}

// skip comes to where the answer has news.
func (d *download) skip(response *http.Response) error {
	switch {
	case response.StatusCode == http.StatusOK:
		// A server without ranges sends what is there already once more.
		_, err := io.CopyN(io.Discard, response.Body, d.arrived)
		return err
	case response.StatusCode == http.StatusPartialContent && d.arrived > 0:
		first, _, ok := strings.Cut(strings.TrimPrefix(response.Header.Get("Content-Range"), "bytes "), "-")
		if !ok || first != strconv.FormatInt(d.arrived, 10) {
			return fmt.Errorf("%w: asked for bytes from %d on, got %q", errForGood, d.arrived,
				shorten(response.Header.Get("Content-Range")))
		}
		return nil
	}
	return fmt.Errorf("%w: %s", errForGood, response.Status)
}

// receive writes what comes to the file.
func (d *download) receive(body io.Reader) error {
	most := d.listing.mostFile()
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		if d.arrived+int64(n) > most {
			return fmt.Errorf("%w: the file is longer than the %d bytes that it can have", errForGood, most)
		}
		if n > 0 {
			if _, err := d.file.WriteAt(buffer[:n], d.arrived); err != nil {
				return fmt.Errorf("%w: %w", errForGood, err)
			}
			d.tell(func() { d.arrived += int64(n) })
		}
		switch size := d.listing.FileSize; {
		case size != 0 && d.arrived == size:
			return nil
		case errors.Is(err, io.EOF) && size != 0:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// mostFile bounds a file whose size nobody knows: a compression that makes a NAR
// larger doesn't by much.
func (l *listing) mostFile() int64 {
	if l.FileSize != 0 {
		return l.FileSize
	}
	return l.NarSize + l.NarSize/8 + 1<<20
}
