package lease

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

// A kind is what is the case with an address, and the queue that its slot is
// in.
type kind int

const (
	fresh    kind = iota // free, and no machine is recorded for it
	former               // free, but recorded for the machine that had it last
	offered              // held for the machine that it was offered to
	inUse                // set aside: something answered there
	declined             // set aside: a machine found it in use
	leased               // in a heap, because leases end in another order than they begin
	nowhere
)

func (k kind) free() bool { return k == fresh || k == former }

// slot is an address that is more than a number.
type slot struct {
	addr netip.Addr
	kind kind
	// mac is the machine that holds the address, or had it when it is free.
	mac machine.MAC
	// until is when the lease, the offer or the setting aside ends.
	until time.Time

	// The record on the disk, or on its way there by commit: whose it is, and
	// the upper bound of its expiry.
	recorded machine.MAC
	stored   time.Time
	commit   *state.Commit // nil once it is known to be on the disk

	probed  time.Time   // when it was last found silent
	probing machine.MAC // whose offer waits for an echo
	warned  bool        // that it is in use

	place  *list.Element // in the queue of its kind
	survey *list.Element // among those to survey, when free
	index  int           // in the heap of leases
}

// byExpiry is a heap of leased slots, the one that ends first on top.
type byExpiry []*slot

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h byExpiry) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *byExpiry) Push(x any) {
	s := x.(*slot)
	s.index = len(*h)
	*h = append(*h, s)
}

// Pop is for package heap.
func (h *byExpiry) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return s
}

// queues holds every slot of a subnet, by kind.
type queues struct {
	lists  [leased]list.List
	leases byExpiry
	survey list.List // free slots, roughly by when they were last probed
}

func (q *queues) len(k kind) int {
	if k == leased {
		return len(q.leases)
	}
	return q.lists[k].Len()
}

// front is the slot of that kind that waits for longest, or nil.
func (q *queues) front(k kind) *slot {
	if k == leased {
		if len(q.leases) == 0 {
			return nil
		}
		return q.leases[0]
	}
	return first(&q.lists[k])
}

func first(l *list.List) *slot {
	if e := l.Front(); e != nil {
		return e.Value.(*slot)
	}
	return nil
}

// move takes the slot out of its queue and puts it at the end of another.
func (q *queues) move(s *slot, to kind, until time.Time) {
	if s.kind == leased && to == leased {
		s.until = until
		heap.Fix(&q.leases, s.index)
		return
	}
	q.remove(s)
	s.kind, s.until = to, until
	if to == leased {
		heap.Push(&q.leases, s)
		return
	}
	s.place = q.lists[to].PushBack(s)
	if to.free() {
		q.awaitSurvey(s)
	}
}

// remove takes the slot out of its queue.
func (q *queues) remove(s *slot) {
	switch {
	case s.kind == leased:
		heap.Remove(&q.leases, s.index)
	case s.kind != nowhere:
		q.lists[s.kind].Remove(s.place)
		s.place = nil
	}
	if s.survey != nil {
		q.survey.Remove(s.survey)
		s.survey = nil
	}
	s.kind = nowhere
}

// awaitSurvey lines a free slot up for the survey: at the front if it was
// never found silent.
func (q *queues) awaitSurvey(s *slot) {
	if s.probed.IsZero() {
		s.survey = q.survey.PushFront(s)
	} else {
		s.survey = q.survey.PushBack(s)
	}
}
