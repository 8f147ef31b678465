package machines

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/report"
	"ravenboot/internal/state"
)

// approvalLife is how long an approval waits for the machine to make use of it.
const approvalLife = time.Hour

// Approval is the operator's consent to one refusal. No request uses it up,
// because a machine may lose the answer and ask again, or boot again half-way.
// It ends when the machine has done what was approved, when it refuses something
// else, or by itself.
type Approval struct {
	Step    string    `json:"step"`
	Refusal string    `json:"refusal"`
	Until   time.Time `json:"until"`
}

// at is the approval as far as it is in force.
func (a *Approval) at(now time.Time) *Approval {
	if a == nil || !now.Before(a.Until) {
		return nil
	}
	return a
}

// after is what a report leaves of an approval.
func (a *Approval) after(r report.Report, now time.Time) *Approval {
	a = a.at(now)
	switch {
	case a == nil:
		return nil
	case r.Outcome == report.OK && r.Step == a.Step:
		return nil
	case r.Outcome == report.Refused && (r.Step != a.Step || r.Refusal != a.Refusal):
		return nil
	}
	return a
}

// ErrUnknown is the error of Approve for a machine without a word.
var ErrUnknown = errors.New("it has reported nothing")

// NotWaiting is the error of Approve for a machine that asks for nothing.
type NotWaiting struct{ Word Word }

func (e NotWaiting) Error() string {
	return fmt.Sprintf("it asks for nothing; its last word, of %s, is %s %s",
		e.Word.Time.Format("2006-01-02 15:04:05"), e.Word.Step, e.Word.Outcome)
}

// Approve consents to what a machine's last word refuses, and to nothing else.
// It returns once that is on the disk.
func (m *Machines) Approve(ctx context.Context, mac machine.MAC, now time.Time) (Word, error) {
	w, written, err := m.approve(mac, now)
	if err != nil || written == nil {
		return w, err
	}
	if err := written.Wait(ctx); err != nil {
		return w, fmt.Errorf("it is approved, but only until the server restarts: %w", err)
	}
	return w, nil
}

func (m *Machines) approve(mac machine.MAC, now time.Time) (Word, *state.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(mac)
	switch {
	case e == nil:
		return Word{}, nil, ErrUnknown
	case e.Outcome != report.Refused:
		return Word{}, nil, NotWaiting{e.Word}
	}
	e.Approval = &Approval{Step: e.Step, Refusal: e.Refusal, Until: now.Add(approvalLife)}
	written, err := m.keep(e.Word)
	return e.Word, written, err
}
