package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseOnFailure(t *testing.T) {
	for text, want := range map[string]OnFailure{"": Retry, "retry": Retry, "reboot": Reboot, "shell": Shell} {
		if got, err := ParseOnFailure(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ParseOnFailure("Retry"); err == nil || !strings.Contains(err.Error(), "none of retry, reboot, shell") {
		t.Errorf("%v, want what there is", err)
	}
}

// insisting is a Step whose time passes at once, and what it did.
type insisting struct {
	Step
	said    []string
	pauses  []time.Duration
	reboots int
	told    []string
}

func newInsisting(policy OnFailure) *insisting {
	s := &insisting{}
	s.Step = Step{
		Name: "closure", OnFailure: policy,
		Say:    func(line string) { s.said = append(s.said, line) },
		Failed: func(err error, next string) { s.told = append(s.told, err.Error()+"; "+next) },
		Reboot: func() error { s.reboots++; return nil },
		Wait:   func(_ context.Context, d time.Duration) { s.pauses = append(s.pauses, d) },
	}
	return s
}

// failing fails so many times.
func failing(times int) func(context.Context) error {
	return func(context.Context) error {
		if times--; times < 0 {
			return nil
		}
		return errors.New("no server")
	}
}

func seconds(all ...int) (durations []time.Duration) {
	for _, n := range all {
		durations = append(durations, time.Duration(n)*time.Second)
	}
	return durations
}

func TestInsist(t *testing.T) {
	for name, test := range map[string]struct {
		policy  OnFailure
		fails   int
		pauses  []time.Duration
		reboots int
		fatal   bool
		last    string // said
	}{
		"it succeeds":      {policy: Retry},
		"retry":            {policy: Retry, fails: 8, pauses: seconds(2, 4, 8, 16, 32, 60, 60, 60), last: "trying again in 1m0s"},
		"shell":            {policy: Shell, fails: 1, fatal: true, last: "not trying again (ravenboot.on_failure=shell)"},
		"reboot in vain":   {policy: Reboot, fails: 9, pauses: seconds(2, 4, 8, 15), reboots: 1, fatal: true, last: "restarting the machine in 15s"},
		"reboot not due":   {policy: Reboot, fails: 3, pauses: seconds(2, 4, 8), last: "trying again in 8s, restarting the machine after 1 more"},
		"shell not needed": {policy: Shell},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInsisting(test.policy)
			err := s.Insist(t.Context(), failing(test.fails))
			if (err != nil) != test.fatal {
				t.Errorf("%v, want an error: %v", err, test.fatal)
			}
			if diff := cmp.Diff(test.pauses, s.pauses); diff != "" {
				t.Errorf("pauses: -want +got\n%s", diff)
			}
			if s.reboots != test.reboots {
				t.Errorf("%d restarts, want %d", s.reboots, test.reboots)
			}
			s.check(t, test.last)
		})
	}
}

// check compares what was said with what the server was told, which must be the
// same for each failure.
func (s *insisting) check(t *testing.T, last string) {
	t.Helper()
	if len(s.said) != 2*len(s.told) {
		t.Fatalf("said %q, told %q", s.said, s.told)
	}
	for i, told := range s.told {
		if s.said[2*i] != "closure failed: no server" || told != "no server; "+s.said[2*i+1] {
			t.Errorf("failure %d: said %q, told %q", i+1, s.said[2*i:2*i+2], told)
		}
	}
	if last != "" && !strings.Contains(s.said[len(s.said)-1], last) {
		t.Errorf("the last word is %q, want %q", s.said[len(s.said)-1], last)
	}
}

func TestInsistStopsWithItsContext(t *testing.T) {
	s := newInsisting(Retry)
	ctx, cancel := context.WithCancel(t.Context())
	s.Wait = func(context.Context, time.Duration) { cancel() }
	rounds := 0
	err := s.Insist(ctx, func(context.Context) error { rounds++; return errors.New("no server") })
	if err == nil || rounds != 1 {
		t.Errorf("%v after %d rounds, want the error after 1", err, rounds)
	}

	s = newInsisting(Retry)
	if err := s.Insist(ctx, failing(1)); err == nil || len(s.said) > 0 {
		t.Errorf("%v, said %q: a stopped step must say nothing of trying again", err, s.said)
	}
}

func TestInsistSleeps(t *testing.T) {
	s := newInsisting(Retry)
	s.Wait = nil
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := s.Insist(ctx, failing(2)); err == nil {
		t.Error("it went on when its time was over")
	}
	if took := time.Since(begun); took < 50*time.Millisecond || took > firstPause {
		t.Errorf("it slept for %v", took)
	}
}

func TestInsistTellsThatItCannotRestart(t *testing.T) {
	s := newInsisting(Reboot)
	s.Reboot = func() error { return errors.New("not permitted") }
	err := s.Insist(t.Context(), failing(9))
	if err == nil || !slices.ContainsFunc([]string{err.Error()}, func(text string) bool {
		return strings.Contains(text, "no server") && strings.Contains(text, "not permitted")
	}) {
		t.Errorf("%v, want both errors", err)
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 kB", 499: "0 kB", 500: "1 kB", 999_500: "1 MB", 1e6: "1 MB", 999_499: "999 kB", 999_500_000: "1000 MB", 999_999_500: "1.0 GB", 1e9: "1.0 GB", 12_345_678_901: "12.3 GB",
		-1: "0 kB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
