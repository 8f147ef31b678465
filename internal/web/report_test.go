package web

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ravenboot/internal/boot"
	"ravenboot/internal/machine"
	"ravenboot/internal/machines"
	"ravenboot/internal/report"
	"ravenboot/internal/ticket"
)

// desk is both sides of a server that takes reports.
type desk struct {
	t           *testing.T
	boot, admin http.Handler
	key         *ticket.Key
	log         bytes.Buffer
	observed    []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, key: ticket.NewKey()}
	log := slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	known, err := machines.New(nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	healthy := func() error { return nil }
	observe := func(step, outcome string) { d.observed = append(d.observed, step+" "+outcome) }
	hosts := boot.New(policy(), fakeGenerations{}, anyLoader{})
	d.boot = NewBootHandler(BootSide{
		Scripts: scripts(policy()), Files: fakeFiles{}, Healthy: healthy, Reports: NewReports(d.key, known, observe, log),
	})
	d.admin = NewAdminHandler(AdminSide{Metrics: http.NotFoundHandler(), Healthy: healthy, Machines: NewMachinesAPI(known, hosts, log)})
	return d
}

// report says something with a ticket, and returns the answer.
func (d *desk) report(mac machine.MAC, body string) (*http.Response, string) {
	return d.send(d.boot, "POST", "/report", body, "Authorization", "Bearer "+d.key.Mint(mac, time.Now()))
}

func (d *desk) send(h http.Handler, method, target, body string, header ...string) (*http.Response, string) {
	d.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.107:4000"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return w.Result(), string(text)
}

func (d *desk) expectLog(line ...string) {
	d.t.Helper()
	for l := range strings.Lines(d.log.String()) {
		all := true
		for _, part := range line {
			all = all && strings.Contains(l, part)
		}
		if all {
			return
		}
	}
	d.t.Errorf("no line of the log has %q:\n%s", line, &d.log)
}

const (
	refusedJSON = `{"step":"layout","outcome":"refused","refusal":"1f","text":"a foreign disk\nwith ext4"}`
	bootedJSON  = `{"step":"booted","outcome":"ok"}`
)

func TestReportsThatAreNotTaken(t *testing.T) {
	d := newDesk(t)
	good := "Bearer " + d.key.Mint(macA, time.Now())
	for _, row := range []struct {
		name, method, authorization, body string
		status                            int
		text                              string
		header, value                     string
	}{
		{"method", "GET", good, "", 405, "only POST", "Allow", "POST"},
		{"no ticket", "POST", "", bootedJSON, 401, "ravenboot.ticket=", "Www-Authenticate", "Bearer"},
		{"another scheme", "POST", "Basic YTpi", bootedJSON, 401, "Bearer TICKET", "Www-Authenticate", "Bearer"},
		{"forged", "POST", "Bearer " + ticket.NewKey().Mint(macA, time.Now()), bootedJSON, 401, "none of this server's; boot",
			"Www-Authenticate", `Bearer error="invalid_token"`},
		{"expired", "POST", "Bearer " + d.key.Mint(macA, time.Now().Add(-ticket.Life)), bootedJSON, 401, "has expired; boot",
			"Www-Authenticate", `Bearer error="invalid_token"`},
		{"no report", "POST", good, "booted", 400, "not a report", "", ""},
		{"half a report", "POST", good, `{"step":"booted"}`, 400, "outcome", "", ""},
		{"too long", "POST", good, strings.Repeat(" ", report.MaxSize) + bootedJSON, 413, "send less text", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, text := d.send(d.boot, row.method, "/report", row.body, "Authorization", row.authorization)
			if r.StatusCode != row.status || !strings.Contains(text, row.text) || !strings.HasSuffix(text, "\n") {
				t.Errorf("%d %q, want %d %q", r.StatusCode, text, row.status, row.text)
			}
			if row.header != "" && r.Header.Get(row.header) != row.value {
				t.Errorf("%s: %q, want %q", row.header, r.Header.Get(row.header), row.value)
			}
		})
	}
	if _, list := d.send(d.admin, "GET", "/api/v1/machines", ""); list != "[]\n" {
		t.Errorf("something was recorded: %s", list)
	}
	d.expectLog("level=WARN", `msg="report not taken"`, "machine=52:54:00:12:34:56", "outcome=413", "address=192.0.2.107")
}

// TestLowerCaseBearer: schemes have no case (RFC 9110 section 11.1).
func TestLowerCaseBearer(t *testing.T) {
	d := newDesk(t)
	if r, text := d.send(d.boot, "POST", "/report", bootedJSON, "Authorization", "bearer "+d.key.Mint(macA, time.Now())); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}

func TestReportTooOften(t *testing.T) {
	d := newDesk(t)
	var r *http.Response
	var text string
	for range 100 {
		if r, text = d.report(macA, bootedJSON); r.StatusCode != 200 {
			break
		}
	}
	if r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" || !strings.Contains(text, "too often; it may again in") {
		t.Errorf("%d %q, Retry-After %q", r.StatusCode, text, r.Header.Get("Retry-After"))
	}
	if r, _ := d.report(macB, bootedJSON); r.StatusCode != 200 {
		t.Errorf("another machine: %d", r.StatusCode)
	}
}

// TestApproval is the whole exchange: refused, approved, done.
func TestApproval(t *testing.T) {
	d := newDesk(t)
	say := func(body, want string) {
		t.Helper()
		if r, text := d.report(macA, body); r.StatusCode != 200 || text != want+"\n" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %q, want %s", body, r.StatusCode, text, want)
		}
	}
	const no, yes = `{"approved":false}`, `{"approved":true}`
	say(refusedJSON, no)
	r, text := d.send(d.admin, "POST", "/api/v1/machines/lab-07/approve", "")
	var approved Machine
	if err := json.Unmarshal([]byte(text), &approved); err != nil || r.StatusCode != 200 || approved.Name != "lab-07" || approved.Approval == nil {
		t.Fatalf("%d %s, %v", r.StatusCode, text, err)
	}
	say(refusedJSON, yes)
	say(`{"step":"layout","outcome":"refused","refusal":"2e"}`, no)
	say(refusedJSON, no)
	d.expectLog("level=WARN", "msg=report", "machine=52:54:00:12:34:56", "step=layout", "outcome=refused", `reason="a foreign disk"`,
		"address=192.0.2.107", "approved=false")
	d.expectLog("level=INFO", "msg=approved", "machine=52:54:00:12:34:56", "refusal=1f", "address=192.0.2.107")
	d.expectLog("level=DEBUG", "outcome=refused", "approved=true")
	say(`{"step":"layout","outcome":"ok"}`, no)
	d.expectLog("level=INFO", "msg=report", "outcome=ok")
}

func TestReportsAreCounted(t *testing.T) {
	d := newDesk(t)
	for _, body := range []string{
		refusedJSON, bootedJSON, `{"step":"exam.setup","outcome":"failed"}`,
		`{"step":"closure","outcome":"running","progress":{"paths":1,"pathsTotal":2}}`,
	} {
		d.report(macA, body)
	}
	if diff := cmp.Diff([]string{"layout refused", "booted ok", "other failed", "closure running"}, d.observed); diff != "" {
		t.Error(diff)
	}
}

func TestMachinesAPI(t *testing.T) {
	d := newDesk(t)
	stranger := machine.MAC{2, 0, 0, 0, 0, 1}
	d.report(stranger, bootedJSON)
	d.report(macA, refusedJSON)
	r, text := d.send(d.admin, "GET", "/api/v1/machines", "")
	var got []Machine
	if err := json.Unmarshal([]byte(text), &got); err != nil || r.StatusCode != 200 || len(got) != 2 {
		t.Fatalf("%d %s, %v", r.StatusCode, text, err)
	}
	if got[0].Name != "lab-07" || got[0].Machine != macA || got[0].Refusal != "1f" || got[1].Name != "" || got[1].Machine != stranger {
		t.Errorf("%s", text)
	}
	for _, row := range []struct {
		name, method, target string
		header               []string
		status               int
		text                 string
	}{
		{"MAC in another spelling", "POST", "/api/v1/machines/5254.0012.3456/approve", nil, 200, `"approval":{"step":"layout","refusal":"1f"`},
		{"again", "POST", "/api/v1/machines/lab-07/approve", nil, 200, `"approval"`},
		{"the server's own page", "POST", "/api/v1/machines/lab-07/approve", []string{"Sec-Fetch-Site", "same-origin"}, 200, `"approval"`},
		{"a page of another server", "POST", "/api/v1/machines/lab-07/approve", []string{"Sec-Fetch-Site", "cross-site"}, 403, `{"error":"a page of another server`},
		{"of another server, in an older browser", "POST", "/api/v1/machines/lab-07/approve", []string{"Origin", "http://evil.example"}, 403, `{"error":"`},
		{"nothing to approve", "POST", "/api/v1/machines/02:00:00:00:00:01/approve", nil, 409, `{"error":"02:00:00:00:00:01: it asks for nothing; its last word`},
		{"unknown", "POST", "/api/v1/machines/lab-08/approve", nil, 404, `{"error":"lab-08: no machine of this name`},
		{"approving by a link", "GET", "/api/v1/machines/lab-07/approve", nil, 405, `{"error":"use POST here"}`},
		{"list by POST", "POST", "/api/v1/machines", nil, 405, `{"error":"use GET, HEAD here"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, text := d.send(d.admin, row.method, row.target, "", row.header...)
			if r.StatusCode != row.status || !strings.Contains(text, row.text) || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %q, want %d %q", r.StatusCode, text, row.status, row.text)
			}
		})
	}
}

// TestTheBootSideApprovesNothing: machines reach it, and the admin side's routes
// aren't there.
func TestTheBootSideApprovesNothing(t *testing.T) {
	d := newDesk(t)
	d.report(macA, refusedJSON)
	for _, target := range []string{"/api/v1/machines", "/api/v1/machines/lab-07/approve"} {
		if r, _ := d.send(d.boot, "POST", target, ""); r.StatusCode != 404 {
			t.Errorf("%s: %d", target, r.StatusCode)
		}
	}
}

// TestMachineWithTwoNICs: under its name it is the one that spoke last.
func TestMachineWithTwoNICs(t *testing.T) {
	p := policy()
	p.Hosts[0].MACs = append(p.Hosts[0].MACs, macC)
	known, err := machines.New(nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	api := NewMachinesAPI(known, boot.New(p, fakeGenerations{}, anyLoader{}), quiet)
	now := time.Now()
	for i, mac := range []machine.MAC{macA, macC, macB} {
		said := report.Report{Step: report.Booted, Outcome: report.OK}
		if _, err := known.Record(t.Context(), mac, said, fromA, now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for wanted, want := range map[string]machine.MAC{"lab-07": macC, macA.String(): macA, "bad": macB} {
		if got, err := api.find(wanted); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", wanted, got, err, want)
		}
	}
}

var (
	macC  = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x58}
	fromA = netip.MustParseAddr("192.0.2.107")
)

// FuzzReport: whatever is sent without a ticket is refused, and whatever is sent
// with one gets a whole answer.
func FuzzReport(f *testing.F) {
	f.Add("Bearer x", refusedJSON, false)
	f.Add("", bootedJSON, true)
	known, err := machines.New(nil, quiet)
	if err != nil {
		f.Fatal(err)
	}
	key := ticket.NewKey()
	h := NewReports(key, known, func(string, string) {}, quiet)
	f.Fuzz(func(t *testing.T, authorization, body string, own bool) {
		if own {
			authorization = "Bearer " + key.Mint(macA, time.Now())
		}
		r := httptest.NewRequest("POST", "/report", strings.NewReader(body))
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if own == (w.Code == http.StatusUnauthorized) || w.Code >= 500 || !strings.HasSuffix(w.Body.String(), "\n") {
			t.Errorf("%q %q: %d %q", authorization, body, w.Code, w.Body)
		}
	})
}
