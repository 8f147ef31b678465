package logging

import (
	"sync"
	"time"
)

// Limit bounds how many lines strangers can make the program write. It is safe
// for concurrent use, and must not be copied once it is used.
type Limit struct {
	Burst     float64          // lines at once
	PerSecond float64          // lines on end
	Now       func() time.Time // nil takes time.Now

	mu      sync.Mutex
	spent   float64
	last    time.Time
	leftOut int
}

// Take reports whether one more line may be written, and if so, how many were
// left out since the last that might.
func (l *Limit) Take() (ok bool, leftOut int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	passed := max(0, now.Sub(l.last)) // a clock can be set back
	l.spent = max(0, l.spent-passed.Seconds()*l.PerSecond)
	l.last = now
	if l.spent+1 > l.Burst {
		l.leftOut++
		return false, 0
	}
	l.spent++
	leftOut, l.leftOut = l.leftOut, 0
	return true, leftOut
}

func (l *Limit) now() time.Time {
	if l.Now == nil {
		return time.Now()
	}
	return l.Now()
}
