package nixcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// remote is another binary cache, over HTTP. All that it answers is bounded, in
// size and in time.
type remote struct {
	base   *url.URL
	client *http.Client
	idle   time.Duration // how long a body may bring nothing
	tries  int           // without progress
	pause  time.Duration // before the second; it grows
}

const (
	dialTime   = 10 * time.Second
	answerTime = 30 * time.Second
	idleTime   = 30 * time.Second
	// maxRedirects are those of a cache that keeps its NARs elsewhere.
	maxRedirects = 5
)

// errForGood marks what another try won't change.
var errForGood = errors.New("upstream's answer is of no use")

func newRemote(base string) (*remote, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the http or https address of a cache", base)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: answerTime,
		MaxIdleConnsPerHost: remoteLookups, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		// The files are compressed as their narinfos say, and in no other way.
		DisableCompression: true,
	}
	r := &remote{base: u, idle: idleTime, tries: 4, pause: time.Second}
	r.client = &http.Client{Transport: transport, CheckRedirect: r.checkRedirect}
	return r, nil
}

// checkRedirect lets caches send to where they keep their NARs, but not to what
// only this server can reach: that rarely has a certificate.
func (r *remote) checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", errForGood, maxRedirects)
	case next.URL.Scheme != "https" && (next.URL.Host != r.base.Host || via[0].URL.Scheme == "https"):
		return fmt.Errorf("%w: a redirect to %s, away from upstream and not over https", errForGood, next.URL.Redacted())
	}
	return nil
}

// resolve is the address of what a narinfo names. It must be beneath upstream's
// own, so that no narinfo can have this server ask others.
func (r *remote) resolve(name string) (*url.URL, error) {
	wanted := r.base.String() + "/" + name
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		wanted = name
	}
	u, err := url.Parse(wanted)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForGood, err)
	}
	if u.Scheme != r.base.Scheme || u.Host != r.base.Host || u.User != nil || u.Fragment != "" ||
		path.Clean(u.Path) != u.Path || !strings.HasPrefix(u.Path, r.base.Path+"/") {
		return nil, fmt.Errorf("%w: the URL %q leads out of upstream", errForGood, shorten(name))
	}
	return u, nil
}

// get asks for what a narinfo names. The body is cut off when it brings nothing
// for a while. An answer that isn't 200 or 206 is an error.
func (r *remote) get(ctx context.Context, name string, header http.Header) (*http.Response, error) {
	u, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("%w: %w", errForGood, err)
	}
	request.Header = header
	response, err := r.client.Do(request)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := &timedBody{ReadCloser: response.Body, ctx: ctx, cancel: cancel, idle: r.idle}
	body.timer = time.AfterFunc(r.idle, func() { cancel(errIdle) })
	response.Body = body
	if err := checkAnswer(response); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return response, nil
}

func checkAnswer(response *http.Response) error {
	status := response.StatusCode
	switch {
	case response.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("%w: a Content-Encoding that it wasn't asked for", errForGood)
	case status == http.StatusOK || status == http.StatusPartialContent:
		return nil
	case status == http.StatusNotFound || status == http.StatusForbidden: // S3 says 403 for what isn't there
		return fmt.Errorf("%w: %w: %s", errForGood, errNotThere, response.Status)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return fmt.Errorf("upstream answers %s", response.Status)
	}
	return fmt.Errorf("%w: %s", errForGood, response.Status)
}

var errNotThere = errors.New("it doesn't have that")

// small gets a short text whole.
func (r *remote) small(ctx context.Context, name string, most int64) ([]byte, error) {
	response, err := r.get(ctx, name, make(http.Header))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%w: %s is longer than %d bytes", errForGood, name, most)
	}
	return text, err
}

// errIdle is a time-out for isTimeout.
var errIdle error = idleError{}

type idleError struct{}

func (idleError) Error() string { return "upstream sent nothing for a while" }
func (idleError) Timeout() bool { return true }

// isTimeout tells an upstream that doesn't answer from one that does so wrongly.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// timedBody is a body with a time-out for each piece of it.
type timedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

func (b *timedBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
