//go:build boots

package integration

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ravenboot/integration/lab"
	"ravenboot/internal/batch"
)

// proxy stands between a machine and its server, once the kernel has started:
// it counts, slows down, and alters.
type proxy struct {
	URL  string
	nars atomic.Int64 // bytes of NARs and batches that have passed
	ends atomic.Int64 // bytes of NARs that came to their end
	rate atomic.Int64 // bytes a second; 0 is as fast as can be

	lock   sync.Mutex
	in     string
	change func([]byte) []byte
}

// proxy starts one in the server's namespace.
func (s *site) proxy() *proxy {
	s.t.Helper()
	var listener net.Listener
	check(s.t, s.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(lab.Address, "8081"))
		return err
	}))
	p := &proxy{URL: "http://" + listener.Addr().String()}
	back := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: lab.Address})
	back.Transport = s.Client().Transport
	back.ModifyResponse = p.pass
	back.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := &http.Server{Handler: back}
	go func() { _ = server.Serve(listener) }() // ends with Close
	s.t.Cleanup(func() { server.Close() })
	return p
}

// pace slows all downloads down, together.
func (p *proxy) pace(bytesPerSecond int64) { p.rate.Store(bytesPerSecond) }

// alter changes all that has the given text in its path, and batches, which may
// hold any of it; with nil it ends.
func (p *proxy) alter(in string, change func([]byte) []byte) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.in, p.change = in, change
}

func (p *proxy) pass(answer *http.Response) error {
	path := answer.Request.URL.Path
	isNAR, isBatch := strings.Contains(path, "/nar/"), strings.HasSuffix(path, "/"+batch.Path)
	if isNAR || isBatch || strings.HasSuffix(path, ".narinfo") {
		if err := p.altered(answer, path, isBatch); err != nil {
			return err
		}
	}
	if isNAR || isBatch {
		answer.Body = &counted{ReadCloser: answer.Body, p: p, isNAR: isNAR, left: answer.ContentLength}
	}
	return nil
}

func (p *proxy) altered(answer *http.Response, path string, isBatch bool) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.change == nil || !isBatch && !strings.Contains(path, p.in) {
		return nil
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	changed := p.change(text)
	answer.Body = io.NopCloser(bytes.NewReader(changed))
	answer.ContentLength = int64(len(changed))
	answer.Header.Set("Content-Length", strconv.Itoa(len(changed)))
	return nil
}

// counted is the content of a NAR or a batch on its way.
type counted struct {
	io.ReadCloser
	p     *proxy
	isNAR bool
	n     int64 // that have passed
	left  int64 // to come, below 0 where that isn't known
}

func (c *counted) Read(b []byte) (int, error) {
	if rate := c.p.rate.Load(); rate > 0 {
		b = b[:min(len(b), 32<<10)]
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(rate))
	}
	n, err := c.ReadCloser.Read(b)
	c.p.nars.Add(int64(n))
	c.n += int64(n)
	if c.left -= int64(n); c.left == 0 && c.isNAR {
		c.p.ends.Add(c.n)
		c.n = 0
	}
	return n, err
}
