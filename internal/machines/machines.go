// Package machines keeps the last word of every machine that reports about
// itself, and what the operator has approved of it.
//
// It knows reports and the state that they are kept in. It must not know HTTP,
// tickets, or the configuration.
package machines

import (
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/report"
	"ravenboot/internal/state"
)

// Word is what a machine reported last.
type Word struct {
	Machine machine.MAC `json:"machine"`
	Time    time.Time   `json:"time"`
	Address netip.Addr  `json:"address"` // where it came from
	report.Report
	// Approval is nil where there is none in force.
	Approval *Approval `json:"approval,omitempty"`
}

// Store keeps words over a restart; state.State is the one that is used.
type Store interface {
	// Words is every word that was put and not deleted. Asked once, at start.
	Words() ([]state.Word, error)
	// PutWord replaces the record of w.MAC. Writes take effect in the order of
	// the calls, which return at once.
	PutWord(w state.Word) *state.Commit
	// DeleteWord removes the record of a machine, in the same order.
	DeleteWord(mac machine.MAC) *state.Commit
}

// limits bound what machines can make the server keep, and do. On a network
// where anybody may ask for scripts, anybody can be any number of machines.
type limits struct {
	machines int // those with the oldest words are forgotten first
	text     int // bytes of all their texts
	// burst reports may come at a time, and one each interval.
	burst    int
	interval time.Duration
}

var usualLimits = limits{machines: 20_000, text: 32 << 20, burst: 10, interval: 500 * time.Millisecond}

// Machines is safe for use by several goroutines.
type Machines struct {
	store  Store
	limits limits
	log    *slog.Logger

	mu    sync.Mutex
	known map[machine.MAC]*list.Element
	order list.List // of *entry, the oldest word in front
	text  int       // bytes of all texts
}

type entry struct {
	Word
	// busyUntil is when all reports so far would have come, had they kept to
	// the interval.
	busyUntil time.Time
}

// New takes up what the store kept. A nil store keeps nothing over a restart.
func New(store Store, log *slog.Logger) (*Machines, error) {
	m := &Machines{store: store, limits: usualLimits, log: log, known: make(map[machine.MAC]*list.Element)}
	if store == nil {
		return m, nil
	}
	kept, err := store.Words()
	if err != nil {
		return nil, err
	}
	var words []Word
	for _, k := range kept {
		w, err := decode(k)
		if err != nil {
			log.Warn("report left out", "machine", k.MAC.String(), "outcome", "ignored", "reason", err)
			continue
		}
		words = append(words, w)
	}
	slices.SortFunc(words, func(a, b Word) int { return a.Time.Compare(b.Time) })
	for _, w := range words {
		m.put(w)
	}
	m.forgetOldest()
	return m, nil
}

func decode(kept state.Word) (w Word, err error) {
	if err := json.Unmarshal(kept.Text, &w); err != nil {
		return w, fmt.Errorf("the record is no JSON: %w", err)
	}
	if w.Machine != kept.MAC {
		return w, fmt.Errorf("the record is that of %v", w.Machine)
	}
	return w, nil
}

// TooOften is the error of a machine that reports faster than it may.
type TooOften struct{ Wait time.Duration }

func (e TooOften) Error() string {
	return fmt.Sprintf("this machine reports too often; it may again in %v", e.Wait)
}

// Answer is what comes of a report.
type Answer struct {
	report.Reply
	// News is false for a report that only says again, or in more detail, what
	// the machine said before.
	News bool
}

// Record takes up a report of a machine, and returns once news are on the disk.
// That they couldn't be written is the state's to tell: the machine goes on.
func (m *Machines) Record(ctx context.Context, mac machine.MAC, r report.Report, from netip.Addr, now time.Time) (Answer, error) {
	answer, written, err := m.record(mac, r, from, now)
	if err == nil && written != nil {
		_ = written.Wait(ctx)
	}
	return answer, err
}

func (m *Machines) record(mac machine.MAC, r report.Report, from netip.Addr, now time.Time) (Answer, *state.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var before *Word
	var busyUntil time.Time
	if e := m.find(mac); e != nil {
		before, busyUntil = &e.Word, e.busyUntil
	}
	busyUntil, wait := m.limits.next(busyUntil, now)
	if wait > 0 {
		return Answer{}, nil, TooOften{wait}
	}
	w := Word{Machine: mac, Time: now, Address: from, Report: r}
	if before != nil {
		w.Approval = before.Approval.after(r, now)
	}
	answer := Answer{
		Reply: report.Reply{Approved: r.Outcome == report.Refused && w.Approval != nil},
		News:  isNews(before, &w),
	}
	m.put(w).busyUntil = busyUntil
	m.forgetOldest()
	if !answer.News {
		return answer, nil, nil
	}
	written, err := m.keep(w)
	return answer, written, err
}

// next counts a report. With a wait, it is one too many.
func (l *limits) next(busyUntil, now time.Time) (time.Time, time.Duration) {
	if busyUntil.Before(now) {
		busyUntil = now
	}
	if wait := busyUntil.Sub(now) - time.Duration(l.burst-1)*l.interval; wait > 0 {
		return busyUntil, wait
	}
	return busyUntil.Add(l.interval), 0
}

// isNews reports whether a word says more than the one before. A step that goes
// on, or waits, says so again and again; one that ends does so once each time.
func isNews(before, w *Word) bool {
	if w.Outcome != report.Running && w.Outcome != report.Refused || before == nil {
		return true
	}
	return before.Step != w.Step || before.Outcome != w.Outcome || before.Refusal != w.Refusal
}

func (m *Machines) find(mac machine.MAC) *entry {
	if at := m.known[mac]; at != nil {
		return at.Value.(*entry)
	}
	return nil
}

// put makes w the newest word.
func (m *Machines) put(w Word) *entry {
	at := m.known[w.Machine]
	if at == nil {
		at = m.order.PushBack(new(entry))
		m.known[w.Machine] = at
	}
	m.order.MoveToBack(at)
	e := at.Value.(*entry)
	m.text += len(w.Text) - len(e.Text)
	e.Word = w
	return e
}

func (m *Machines) forgetOldest() {
	for len(m.known) > m.limits.machines || m.text > m.limits.text {
		e := m.order.Remove(m.order.Front()).(*entry)
		m.text -= len(e.Text)
		delete(m.known, e.Machine)
		if m.store != nil {
			m.store.DeleteWord(e.Machine)
		}
	}
}

// keep gives a word to the store; nil without one.
func (m *Machines) keep(w Word) (*state.Commit, error) {
	if m.store == nil {
		return nil, nil
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("report of %v: %w", w.Machine, err)
	}
	return m.store.PutWord(state.Word{MAC: w.Machine, Text: text}), nil
}

// List is the last word of every machine, by MAC.
func (m *Machines) List(now time.Time) []Word {
	m.mu.Lock()
	words := make([]Word, 0, len(m.known))
	for at := m.order.Front(); at != nil; at = at.Next() {
		words = append(words, at.Value.(*entry).Word)
	}
	m.mu.Unlock()
	for i := range words {
		words[i].Approval = words[i].Approval.at(now)
	}
	slices.SortFunc(words, func(a, b Word) int { return cmp.Compare(a.Machine.String(), b.Machine.String()) })
	return words
}
