package assets

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"ravenboot/internal/machine"
)

// largeFile is the size in bytes from which a file counts against the limit of
// transfers: scripts and loaders must get through a boot storm.
const largeFile = 2 << 20

// A download must make progress: stretch bytes in defaultStretchTime, or it is
// cut off. That is 17 kB/s, a third of what each of 256 machines gets of a
// network of 100 Mbit/s, and frees the place of a machine that was switched off.
const (
	stretch            = 1 << 20
	defaultStretchTime = time.Minute
)

// download is a request and what became of it. As a ResponseWriter it keeps
// the ReadFrom of net/http in reach, and with it sendfile(2), while it moves the
// deadline along.
type download struct {
	files  *Files
	w      http.ResponseWriter
	r      *http.Request
	kind   string // for logs and metrics
	mac    machine.MAC
	begun  time.Time
	status int
	bytes  int64
	err    error
}

func (f *Files) newDownload(w http.ResponseWriter, r *http.Request, kind string) *download {
	return &download{files: f, w: w, r: r, kind: kind, begun: time.Now()}
}

// validators sets ETag, and Last-Modified where the time says something: in the
// Nix store every file is of 1970.
func (d *download) validators(tag string, modified time.Time) {
	header := d.w.Header()
	header.Set("ETag", tag)
	if modified.Unix() > 1 {
		header.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	header.Set("Content-Type", "application/octet-stream")
}

// serve sends content as the request's method, ranges and conditions ask.
func (d *download) serve(content io.ReadSeeker) {
	// Several ranges at once would be sent as multipart, copied through memory.
	// No boot program asks for them, and RFC 9110 14.2 lets a server ignore them.
	if strings.Contains(d.r.Header.Get("Range"), ",") {
		d.r.Header.Del("Range")
	}
	modified, _ := http.ParseTime(d.w.Header().Get("Last-Modified"))
	http.ServeContent(d, d.r, "", modified, content)
	d.finish()
}

// fail answers with an error, of exact length like everything: HttpBootDxe goes
// in circles without one (edk2 PR#997).
func (d *download) fail(status int, text string) {
	header := d.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(text)+1))
	d.WriteHeader(status)
	if d.r.Method != http.MethodHead {
		// An error is in d.err.
		_, _ = io.WriteString(d, text+"\n")
	}
	d.finish()
}

// finish lets what is still in the server's buffer out under the deadline, and
// takes the deadline off, since the connection goes on to the next request.
func (d *download) finish() {
	control := http.NewResponseController(d.w)
	if err := control.Flush(); err != nil && d.err == nil && !errors.Is(err, http.ErrNotSupported) {
		d.err = err
	}
	// A connection that takes no deadline is one that has ended.
	_ = control.SetWriteDeadline(time.Time{})
}

// Header is http.ResponseWriter's.
func (d *download) Header() http.Header { return d.w.Header() }

// WriteHeader is http.ResponseWriter's.
func (d *download) WriteHeader(status int) {
	d.status = status
	d.extend()
	d.w.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (d *download) Write(p []byte) (int, error) {
	d.extend()
	n, err := d.w.Write(p)
	d.bytes += int64(n)
	d.err = errors.Join(d.err, err)
	return n, err
}

// ReadFrom sends a file in stretches, each with its own deadline. io.CopyN hands
// a file on to net/http's ReadFrom, which has the kernel send it.
func (d *download) ReadFrom(from io.Reader) (total int64, err error) {
	limit, source := int64(-1), from
	if limited, ok := from.(*io.LimitedReader); ok {
		limit, source = limited.N, limited.R // what ServeContent passes
	}
	for limit != 0 && err == nil {
		step := int64(stretch)
		if limit > 0 {
			step = min(step, limit)
		}
		d.extend()
		var n int64
		n, err = io.CopyN(d.w, source, step)
		total += n
		if limit > 0 {
			limit -= n
		}
	}
	d.bytes += total
	if errors.Is(err, io.EOF) {
		err = nil
	}
	d.err = errors.Join(d.err, err)
	return total, err
}

// extend gives the next stretch its time.
func (d *download) extend() {
	if err := http.NewResponseController(d.w).SetWriteDeadline(time.Now().Add(d.files.stretchTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		d.err = errors.Join(d.err, err)
	}
}

// file serves a file, within the limit on transfers if it is a large one.
func (f *Files) file(d *download, path string, open opener) {
	file, info, err := open(path)
	if err != nil {
		f.notFound(d, err.Error())
		return
	}
	defer file.Close()
	if info.Size() >= largeFile && d.r.Method == http.MethodGet {
		select {
		case f.slots <- struct{}{}:
			defer func() { <-f.slots }()
		default:
			f.busy(d)
			return
		}
	}
	d.validators(fileETag(info), info.ModTime())
	d.serve(file)
	f.noteEnd(d)
}

// busy asks the machine to come again: iPXE waits as long as Retry-After says
// and repeats the request (its httpcore.c), the script does not see it. The
// times differ, so that those who were sent away don't come back together.
func (f *Files) busy(d *download) {
	d.w.Header().Set("Retry-After", strconv.Itoa(2+rand.IntN(6)))
	d.fail(http.StatusServiceUnavailable, "busy, try again")
	f.note(d, "busy", "as many large transfers as [http] max_transfers allows are under way")
}

// noteEnd logs how a download went.
func (f *Files) noteEnd(d *download) {
	switch {
	case errors.Is(d.err, os.ErrDeadlineExceeded):
		f.note(d, "stalled", "the machine took less than "+strconv.Itoa(stretch)+" bytes in "+f.stretchTime.String())
	case d.err != nil:
		f.note(d, "aborted", d.err.Error())
	case d.status == http.StatusNotModified:
		f.note(d, "not modified", "")
	case d.status >= 400:
		f.note(d, "refused", http.StatusText(d.status))
	case d.r.Method == http.MethodHead:
		f.note(d, "probe", "it asked for the size only")
	default:
		f.note(d, "sent", "")
	}
}

// note logs and counts a download, one line for each.
func (f *Files) note(d *download, outcome, reason string) {
	f.config.Observe("http", d.kind, outcome, d.bytes)
	level := slog.LevelInfo
	switch outcome {
	case "sent", "not modified":
	case "probe":
		level = slog.LevelDebug
	default:
		level = slog.LevelWarn
	}
	// Not the request's context: that has ended where the machine hung up.
	ctx := context.Background()
	if !f.log.Enabled(ctx, level) {
		return
	}
	from, _ := netip.ParseAddrPort(d.r.RemoteAddr)
	f.log.LogAttrs(ctx, level, "http",
		slog.String("machine", macName(d.mac)),
		slog.String("step", d.kind),
		slog.String("outcome", outcome),
		slog.String("reason", reason),
		slog.String("file", d.r.URL.Path),
		slog.String("address", from.Addr().Unmap().String()),
		slog.Int64("bytes", d.bytes),
		slog.Duration("duration", time.Since(d.begun)))
}
