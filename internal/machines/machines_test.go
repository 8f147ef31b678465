package machines

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ravenboot/internal/machine"
	"ravenboot/internal/report"
	"ravenboot/internal/state"
)

var (
	macA    = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	macB    = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}
	from    = netip.MustParseAddr("192.0.2.107")
	noon    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	discard = slog.New(slog.DiscardHandler)

	running = report.Report{Step: report.Closure, Outcome: report.Running, Progress: &report.Progress{Paths: 3, PathsTotal: 9}}
	refused = report.Report{Step: report.Layout, Outcome: report.Refused, Refusal: "1f", Text: "a foreign disk"}
	another = report.Report{Step: report.Layout, Outcome: report.Refused, Refusal: "2e", Text: "another disk"}
	done    = report.Report{Step: report.Layout, Outcome: report.OK}
	failed  = report.Report{Step: report.Layout, Outcome: report.Failed, Text: "no disk"}
	booted  = report.Report{Step: report.Booted, Outcome: report.OK}
)

func inMemory(t *testing.T) *Machines { return with(t, nil) }

func with(t *testing.T, store Store) *Machines {
	t.Helper()
	m, err := New(store, discard)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openState(t *testing.T, dir string) *state.State {
	t.Helper()
	s, err := state.Open(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(t *testing.T, m *Machines, mac machine.MAC, r report.Report, now time.Time) Answer {
	t.Helper()
	answer, err := m.Record(t.Context(), mac, r, from, now)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func approve(t *testing.T, m *Machines, now time.Time) {
	t.Helper()
	if _, err := m.Approve(t.Context(), macA, now); err != nil {
		t.Fatal(err)
	}
}

func word(mac machine.MAC, r report.Report, at time.Time) Word {
	return Word{Machine: mac, Time: at, Address: from, Report: r}
}

var sameWord = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func expect(t *testing.T, m *Machines, now time.Time, want ...Word) {
	t.Helper()
	if diff := cmp.Diff(want, m.List(now), sameWord); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
}

func TestLastWordCounts(t *testing.T) {
	m := inMemory(t)
	record(t, m, macB, booted, noon)
	record(t, m, macA, running, noon)
	record(t, m, macA, failed, noon.Add(time.Second))
	expect(t, m, noon, word(macA, failed, noon.Add(time.Second)), word(macB, booted, noon))
}

func TestNews(t *testing.T) {
	later := running
	later.Progress, later.Text = &report.Progress{Paths: 8, PathsTotal: 9}, "nearly there"
	for _, row := range []struct {
		name          string
		before, after report.Report
		want          bool
	}{
		{"progress", running, later, false},
		{"another step", running, report.Report{Step: "exam", Outcome: report.Running}, true},
		{"asked again", refused, refused, false},
		{"another refusal", refused, another, true},
		{"it goes on", refused, report.Report{Step: report.Layout, Outcome: report.Running}, true},
		{"booted again", booted, booted, true},
		{"failed again", failed, failed, true},
	} {
		m := inMemory(t)
		if !record(t, m, macA, row.before, noon).News {
			t.Errorf("%s: a machine's first word is no news", row.name)
		}
		if got := record(t, m, macA, row.after, noon).News; got != row.want {
			t.Errorf("%s: news %v, want %v", row.name, got, row.want)
		}
	}
}

func TestApproval(t *testing.T) {
	const half = approvalLife / 2
	type said struct {
		report   report.Report
		after    time.Duration // since noon, when the refusal was approved
		approved bool
	}
	for _, row := range []struct {
		name string
		says []said
	}{
		{"answers are repeated: one may be lost", []said{{refused, 0, true}, {refused, half, true}}},
		{"it lasts over another try", []said{{report.Report{Step: report.Layout, Outcome: report.Running}, 0, false}, {refused, half, true}}},
		{"it lasts over a failure", []said{{failed, 0, false}, {refused, half, true}}},
		{"it lasts until it has expired", []said{{refused, approvalLife - 1, true}, {refused, approvalLife, false}}},
		{"another refusal isn't approved", []said{{another, 0, false}}},
		{"another refusal ends it", []said{{another, 0, false}, {refused, half, false}}},
		{"another step's refusal isn't approved", []said{{report.Report{Step: "exam", Outcome: report.Refused, Refusal: "1f"}, 0, false}}},
		{"what was approved is done", []said{{done, 0, false}, {refused, half, false}}},
		{"another step is done", []said{{booted, 0, false}, {refused, half, true}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := inMemory(t)
			if record(t, m, macA, refused, noon).Approved {
				t.Fatal("approved by itself")
			}
			record(t, m, macB, refused, noon)
			approve(t, m, noon)
			for i, s := range row.says {
				if got := record(t, m, macA, s.report, noon.Add(s.after)).Approved; got != s.approved {
					t.Errorf("word %d: approved %v, want %v", i+1, got, s.approved)
				}
			}
			if record(t, m, macB, refused, noon).Approved {
				t.Error("another machine was approved")
			}
		})
	}
}

func TestListShowsApprovalsInForce(t *testing.T) {
	m := inMemory(t)
	record(t, m, macA, refused, noon)
	approve(t, m, noon)
	want := word(macA, refused, noon)
	expect(t, m, noon.Add(approvalLife), want)
	want.Approval = &Approval{Step: report.Layout, Refusal: "1f", Until: noon.Add(approvalLife)}
	expect(t, m, noon, want)
}

func TestNothingToApprove(t *testing.T) {
	m := inMemory(t)
	if _, err := m.Approve(t.Context(), macA, noon); !errors.Is(err, ErrUnknown) {
		t.Errorf("a machine that said nothing: %v", err)
	}
	record(t, m, macA, refused, noon)
	record(t, m, macA, done, noon)
	var not NotWaiting
	if _, err := m.Approve(t.Context(), macA, noon); !errors.As(err, &not) || not.Word.Outcome != report.OK ||
		err.Error() != "it asks for nothing; its last word, of 2026-11-22 12:00:00, is layout ok" {
		t.Errorf("a machine that waits no more: %v", err)
	}
	if record(t, m, macA, refused, noon).Approved {
		t.Error("approved all the same")
	}
}

// TestRestart: what a machine said last outlives one, but for its progress, and
// so does what was approved.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	m := with(t, s)
	record(t, m, macA, refused, noon)
	approve(t, m, noon)
	record(t, m, macB, running, noon)
	later := running
	later.Progress = &report.Progress{Paths: 9, PathsTotal: 9}
	record(t, m, macB, later, noon.Add(time.Second))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openState(t, dir)
	defer s.Close()
	m = with(t, s)
	waits := word(macA, refused, noon)
	waits.Approval = &Approval{Step: report.Layout, Refusal: "1f", Until: noon.Add(approvalLife)}
	expect(t, m, noon, waits, word(macB, running, noon))
	if !record(t, m, macA, refused, noon).Approved {
		t.Error("the restart took the approval back")
	}
}

// TestWordsThatCannotBeRead is a file that another version, or another program,
// has written.
func TestWordsThatCannotBeRead(t *testing.T) {
	s := openState(t, t.TempDir())
	defer s.Close()
	m := with(t, s)
	record(t, m, macA, booted, noon)
	s.PutWord(state.Word{MAC: macB, Text: []byte("booted ok")})
	s.PutWord(state.Word{MAC: machine.MAC{2}, Text: []byte(`{"machine":"52:54:00:12:34:56","step":"booted"}`)})
	if err := s.DeleteWord(machine.MAC{4}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m, err := New(s, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, noon, word(macA, booted, noon))
	for _, want := range []string{"machine=52:54:00:12:34:57", "no JSON", "machine=02:00:00:00:00:00", "that of 52:54:00:12:34:56"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, &log)
		}
	}
}

func TestStateThatIsClosed(t *testing.T) {
	s := openState(t, t.TempDir())
	m := with(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	record(t, m, macA, refused, noon)
	if _, err := m.Approve(t.Context(), macA, noon); !errors.Is(err, state.ErrClosed) || !strings.Contains(err.Error(), "until the server restarts") {
		t.Errorf("approved: %v", err)
	}
	if !record(t, m, macA, refused, noon).Approved {
		t.Error("the approval isn't in force")
	}
}

// TestBounds: machines beyond the limits push the oldest words out, of the memory
// and of the disk.
func TestBounds(t *testing.T) {
	for name, limit := range map[string]limits{
		"by number": {machines: 10, text: 1 << 20, burst: 10, interval: time.Second},
		"by text":   {machines: 1000, text: 1000, burst: 10, interval: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := openState(t, t.TempDir())
			defer s.Close()
			m := with(t, s)
			m.limits = limit
			r := failed
			r.Text = strings.Repeat("x", 100)
			var want []Word
			for i := range 50 {
				mac := machine.MAC{2, 0, 0, 0, 0, byte(i)}
				at := noon.Add(time.Duration(i) * time.Second)
				record(t, m, mac, r, at)
				if i > 40 {
					want = append(want, word(mac, r, at))
				}
				record(t, m, macA, r, at) // heard all the time, so never forgotten
			}
			want = append(want, word(macA, r, noon.Add(49*time.Second)))
			expect(t, m, noon, want...)
			if _, err := m.Record(t.Context(), macA, r, from, noon.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			kept, err := s.Words()
			if err != nil || len(kept) != len(want) {
				t.Errorf("%d on the disk, want %d; %v", len(kept), len(want), err)
			}
		})
	}
}

func TestTooOften(t *testing.T) {
	m := inMemory(t)
	l := m.limits
	for range l.burst {
		record(t, m, macA, running, noon)
	}
	var tooOften TooOften
	if _, err := m.Record(t.Context(), macA, booted, from, noon); !errors.As(err, &tooOften) || tooOften.Wait != l.interval {
		t.Fatalf("one too many: %v", err)
	}
	expect(t, m, noon, word(macA, running, noon))
	record(t, m, macB, booted, noon)
	record(t, m, macA, running, noon.Add(l.interval))
	if _, err := m.Record(t.Context(), macA, booted, from, noon.Add(l.interval)); !errors.As(err, &tooOften) {
		t.Errorf("two in an interval: %v", err)
	}
	for i := range l.burst {
		record(t, m, macA, running, noon.Add(time.Hour+time.Duration(i)))
	}
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	s := openState(t, t.TempDir())
	defer s.Close()
	m := with(t, s)
	m.limits.machines = 20
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			mac := machine.MAC{2, 0, 0, 0, 0, byte(i)}
			for _, r := range []report.Report{running, refused, done} {
				if _, err := m.Record(t.Context(), mac, r, from, noon); err != nil {
					t.Error(err)
				}
				_, err := m.Approve(t.Context(), mac, noon)
				if waits := r.Outcome == report.Refused; waits && err != nil && !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
				m.List(noon)
			}
		})
	}
	all.Wait()
	if got := len(m.List(noon)); got != 20 {
		t.Errorf("%d machines", got)
	}
}

func BenchmarkRecord(b *testing.B) {
	m, err := New(nil, discard)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mac := machine.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		if _, err := m.Record(b.Context(), mac, running, from, noon); err != nil {
			b.Fatal(fmt.Errorf("report %d: %w", i, err))
		}
	}
}
