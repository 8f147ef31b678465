package dhcp

import (
	"sync"
	"time"

	"ravenboot/internal/machine"
)

// recent remembers a value for each machine, for one to two periods after it was
// last changed. It holds at most 2*most machines, whatever strangers send: once
// the young half is full, the old one is forgotten early.
type recent[V any] struct {
	period time.Duration
	most   int

	mu         sync.Mutex
	young, old map[machine.MAC]V
	turned     time.Time
}

func newRecent[V any](period time.Duration, most int) *recent[V] {
	return &recent[V]{period: period, most: most, young: map[machine.MAC]V{}}
}

// get is the machine's value, or the zero value.
func (r *recent[V]) get(now time.Time, mac machine.MAC) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	return r.lookUp(mac)
}

// change replaces the machine's value, or the zero value, by what f makes of it.
func (r *recent[V]) change(now time.Time, mac machine.MAC, f func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	v := f(r.lookUp(mac))
	if _, known := r.young[mac]; !known && len(r.young) >= r.most {
		r.forget(now)
	}
	r.young[mac] = v
}

func (r *recent[V]) lookUp(mac machine.MAC) V {
	if v, ok := r.young[mac]; ok {
		return v
	}
	return r.old[mac]
}

func (r *recent[V]) turn(now time.Time) {
	if now.Sub(r.turned) < r.period {
		return
	}
	if now.Sub(r.turned) >= 2*r.period {
		clear(r.young)
	}
	r.forget(now)
}

func (r *recent[V]) forget(now time.Time) {
	r.old, r.young, r.turned = r.young, map[machine.MAC]V{}, now
}
