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

	queue chan report.Report
	done  chan struct{}
	once  sync.Once // a server that can't be reached is said once
}

// ErrNobody is why a machine can't report.
var ErrNobody = errors.New("the kernel command line has no ravenboot.url and ravenboot.ticket, so there is nobody to report to")

// NewReporter makes a Reporter. What can't be delivered is said once.
func NewReporter(s Settings, say func(line string)) *Reporter {
	if s.URL == "" || s.Ticket == "" {
		return &Reporter{}
	}
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: sendTime}).DialContext, MaxIdleConnsPerHost: 1}
	r := &Reporter{
		url: s.URL + "/report", ticket: s.Ticket, http: &http.Client{Transport: transport, Timeout: sendTime}, say: say,
		queue: make(chan report.Report, queued), done: make(chan struct{}),
	}
	go r.deliver()
	return r
}

// Tell reports without waiting. Of what piles up, the newest is lost.
func (r *Reporter) Tell(one report.Report) {
	if r.queue == nil {
		return
	}
	select {
	case r.queue <- one:
	default:
	}
}

func (r *Reporter) deliver() {
	defer close(r.done)
	for one := range r.queue {
		if _, err := r.Send(context.Background(), one); err != nil {
			r.once.Do(func() { r.say("the server does not take reports, which changes nothing here: " + err.Error()) })
		}
	}
}

// Close waits a moment until what was told is delivered. Nothing can be told
// any more.
func (r *Reporter) Close() {
	if r.queue == nil {
		return
	}
	close(r.queue)
	select {
	case <-r.done:
	case <-time.After(flushTime):
	}
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
		return report.Reply{}, fmt.Errorf("%s: %s: %.300s", r.url, response.Status, strings.TrimSpace(string(answer)))
	}
	var reply report.Reply
	if err := json.Unmarshal(answer, &reply); err != nil {
		return report.Reply{}, fmt.Errorf("%s: %w", r.url, err)
	}
	return reply, nil
}
