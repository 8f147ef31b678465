package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ravenboot/internal/report"
)

// listener is a server that takes reports.
type listener struct {
	*httptest.Server
	lock    sync.Mutex
	reports []report.Report
	headers []http.Header
}

// listen starts a listener that answers with answer once it has read a report;
// nil approves of all.
func listen(t *testing.T, answer http.HandlerFunc) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		one, err := report.Parse(text)
		if r.Method != http.MethodPost || r.URL.Path != "/report" || err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		l.lock.Lock()
		l.reports, l.headers = append(l.reports, one), append(l.headers, r.Header)
		l.lock.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(report.Reply{Approved: true})
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) settings() Settings { return Settings{URL: l.URL, Ticket: "the.ticket"} }

// texts are those of the reports so far.
func (l *listener) texts() (all []string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	for _, one := range l.reports {
		all = append(all, one.Text)
	}
	return all
}

func TestSend(t *testing.T) {
	l := listen(t, nil)
	r := NewReporter(l.settings(), func(line string) { t.Error(line) })
	defer r.Close()
	reply, err := r.Send(t.Context(), report.Report{Step: "layout", Outcome: report.OK, Text: strings.Repeat("ä", 20_000)})
	if err != nil || !reply.Approved {
		t.Fatalf("%+v, %v", reply, err)
	}
	if got := l.headers[0].Get("Authorization"); got != "Bearer the.ticket" {
		t.Errorf("Authorization: %s", got)
	}
	if got := l.headers[0].Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := l.reports[0].Text; !strings.HasSuffix(got, "...") || !strings.HasPrefix(got, "ää") {
		t.Errorf("a long text came as %d bytes", len(got))
	}
}

func TestSendErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		want    string
		refused bool
	}{
		"an old ticket": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the ticket is of a former boot", http.StatusUnauthorized)
		}, "/report: 401 Unauthorized: the ticket is of a former boot", true},
		"too many": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "slower, please", http.StatusTooManyRequests)
		}, "429 Too Many Requests: slower, please", false},
		"an older server": {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "404 Not Found", true},
		"a broken server": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502 Bad Gateway", false},
		"no JSON":         {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "invalid character", false},
		"a long answer": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append([]byte(`{"approved": true, "x": "`), make([]byte, 1<<20)...))
		}, "/report: ", false},
		"a long error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write(slices.Repeat([]byte("no "), 1<<20))
		}, "403 Forbidden: no no", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, test.answer)
			r := NewReporter(l.settings(), func(line string) { t.Error(line) })
			defer r.Close()
			reply, err := r.Send(t.Context(), report.Report{Step: "layout", Outcome: report.OK})
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrRefused) != test.refused || reply.Approved {
				t.Errorf("%+v, %v, want %q, refused %v", reply, err, test.want, test.refused)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestReportToNobody(t *testing.T) {
	for _, s := range []Settings{{}, {URL: "http://192.0.2.1"}, {Ticket: "x"}} {
		r := NewReporter(s, func(line string) { t.Error(line) })
		r.Tell(report.Report{Step: "closure", Outcome: report.OK})
		if _, err := r.Send(t.Context(), report.Report{Step: "closure", Outcome: report.OK}); !errors.Is(err, ErrNobody) {
			t.Errorf("%+v: %v", s, err)
		}
		r.Close()
	}
}

func TestTellIsDeliveredBeforeClose(t *testing.T) {
	l := listen(t, nil)
	r := NewReporter(l.settings(), func(line string) { t.Error(line) })
	r.Tell(report.Report{Step: "closure", Outcome: report.Failed, Text: "first"})
	r.Tell(report.Report{Step: "closure", Outcome: report.OK, Text: "last"})
	r.Close()
	r.Tell(report.Report{Step: "closure", Outcome: report.OK, Text: "too late"})
	r.Close()
	if got := l.texts(); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("delivered %q", got)
	}
}

// While a server is slow, what piles up must not cost the last word.
func TestTellKeepsTheLastWord(t *testing.T) {
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l := listen(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(blocked); <-release })
		fmt.Fprint(w, "{}")
	})
	r := NewReporter(l.settings(), func(line string) { t.Error(line) })
	r.Tell(report.Report{Step: "closure", Outcome: report.Running, Text: "0"})
	<-blocked
	for i := range 100 {
		r.Tell(report.Report{Step: "closure", Outcome: report.Running, Text: fmt.Sprint(i)})
	}
	if len(r.waiting) != 1 {
		t.Errorf("%d reports wait, want the newest", len(r.waiting))
	}
	for i := range 100 {
		r.Tell(report.Report{Step: "closure", Outcome: report.Failed, Text: fmt.Sprint(i)})
	}
	r.Tell(report.Report{Step: "closure", Outcome: report.OK, Text: "here"})
	close(release)
	r.Close()
	got := l.texts()
	if len(got) != 1+queued || got[len(got)-1] != "here" || got[len(got)-2] != "99" {
		t.Errorf("delivered %q", got)
	}
}

// said collects what a Reporter says.
type said struct {
	lock  sync.Mutex
	lines []string
}

func (s *said) say(line string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.lines = append(s.lines, line)
}

func TestServerIsAway(t *testing.T) {
	l := listen(t, nil)
	settings := l.settings()
	l.Close()
	var s said
	r := NewReporter(settings, s.say)
	for range 5 {
		r.Tell(report.Report{Step: "closure", Outcome: report.Failed, Text: "x"})
	}
	r.Close()
	if len(s.lines) != 1 || !strings.Contains(s.lines[0], "changes nothing here") || !strings.Contains(s.lines[0], "refused") {
		t.Errorf("said %q, want one line", s.lines)
	}
}

func TestSilentServerHoldsUpNothing(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	l := listen(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // before the listener's own
	var s said
	r := NewReporter(l.settings(), s.say)
	begun := time.Now()
	for range 2 * queued {
		r.Tell(report.Report{Step: "closure", Outcome: report.Failed, Text: "x"})
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("Tell took %v", took)
	}
	begun = time.Now()
	r.Close()
	if took := time.Since(begun); took < flushTime || took > flushTime+time.Second {
		t.Errorf("Close took %v, want %v", took, flushTime)
	}
	if len(s.lines) != 1 {
		t.Errorf("said %q, want one line", s.lines)
	}
}
