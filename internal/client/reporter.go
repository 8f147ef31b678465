package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"ravenboot/internal/report"
)

const (
	// sendTime is how long one report may take.
	sendTime = 5 * time.Second
	// flushTime is how long a boot is held up at most for the last reports of a
	// step.
	flushTime = 3 * time.Second
	// queued is how many reports may wait. More come only from a step that fails
	// faster than a server that hardly answers.
	queued = 16
)

// Reporter tells the server how a machine gets on. The zero Reporter tells
// nobody.
type Reporter struct {
	url, ticket string
	http        *http.Client
	say         func(line string)

	lock    sync.Mutex
	waiting []report.Report
	closed  bool
	wake    chan struct{} // something waits
	done    chan struct{} // all that could be is delivered
	cancel  context.CancelFunc
	once    sync.Once // a server that doesn't take reports is said once
}

// ErrNobody is why a machine can't report.
var ErrNobody = errors.New("the kernel command line has no ravenboot.url and ravenboot.ticket, so there is nobody to report to")

// ErrRefused is in the error of a report that the server will not take, however
// often it is sent.
var ErrRefused = errors.New("the server refuses the report")

// NewReporter makes a Reporter. What can't be delivered is said once. The
// caller must Close it.
func NewReporter(s Settings, say func(line string)) *Reporter {
	if s.URL == "" || s.Ticket == "" {
		return &Reporter{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: sendTime}).DialContext, MaxIdleConnsPerHost: 1}
	r := &Reporter{
		url: s.URL + "/report", ticket: s.Ticket, http: &http.Client{Transport: transport, Timeout: sendTime}, say: say,
		wake: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel,
	}
	go r.deliver(ctx)
	return r
}

// Tell reports without waiting. How far a step is gives way to what is newer;
// of the others the oldest is lost if too many pile up, since the last word
// counts.
func (r *Reporter) Tell(one report.Report) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.http == nil || r.closed {
		return
	}
	if n := len(r.waiting); n > 0 && r.waiting[n-1].Outcome == report.Running && r.waiting[n-1].Step == one.Step {
		r.waiting = r.waiting[:n-1]
	} else if n == queued {
		r.waiting = r.waiting[1:]
	}
	r.waiting = append(r.waiting, one)
	select {
	case r.wake <- struct{}{}:
	default: // it has been told, and not yet looked
	}
}

func (r *Reporter) deliver(ctx context.Context) {
	defer close(r.done)
	for range r.wake {
		for one, ok := r.next(); ok; one, ok = r.next() {
			if _, err := r.Send(ctx, one); err != nil {
				r.once.Do(func() { r.say("the server does not take reports, which changes nothing here: " + err.Error()) })
			}
		}
	}
}

func (r *Reporter) next() (one report.Report, ok bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.waiting) == 0 {
		return one, false
	}
	one, r.waiting = r.waiting[0], r.waiting[1:]
	return one, true
}

// Close waits a moment until what was told is delivered. What is told later
// goes nowhere.
func (r *Reporter) Close() {
	r.lock.Lock()
	open := r.http != nil && !r.closed
	r.closed = true
	r.lock.Unlock()
	if !open {
		return
	}
	close(r.wake)
	select {
	case <-r.done:
	case <-time.After(flushTime):
	}
	r.cancel()
	<-r.done
	r.http.CloseIdleConnections()
}

// Send reports, and waits for the reply.
func (r *Reporter) Send(ctx context.Context, one report.Report) (report.Reply, error) {
	if r.http == nil {
		return report.Reply{}, ErrNobody
	}
	one.Text = report.Clip(one.Text)
	text, err := json.Marshal(one)
	if err != nil {
		return report.Reply{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(text))
	if err != nil {
		return report.Reply{}, err
	}
	request.Header.Set("Authorization", "Bearer "+r.ticket)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.http.Do(request)
	if err != nil {
		return report.Reply{}, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, report.MaxSize))
	if err != nil {
		return report.Reply{}, err
	}
	if response.StatusCode != http.StatusOK {
		return report.Reply{}, r.statusError(response, answer)
	}
	var reply report.Reply
	if err := json.Unmarshal(answer, &reply); err != nil {
		return report.Reply{}, fmt.Errorf("%s: %w", r.url, err)
	}
	return reply, nil
}

func (r *Reporter) statusError(response *http.Response, answer []byte) error {
	err := fmt.Errorf("%s: %s: %.300s", r.url, response.Status, strings.TrimSpace(string(answer)))
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return err
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}
