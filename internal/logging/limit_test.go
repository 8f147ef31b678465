package logging

import (
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := Limit{Burst: 2, PerSecond: 0.5, Now: func() time.Time { return now }}
	for i, step := range []struct {
		after   time.Duration
		ok      bool
		leftOut int
	}{
		{0, true, 0}, {0, true, 0}, {0, false, 0}, {time.Second, false, 0},
		{time.Second, true, 2}, {0, false, 0},
		{time.Hour, true, 1}, {0, true, 0}, {0, false, 0}, // no more than the burst is saved up
		{-time.Hour, false, 0}, {2 * time.Second, true, 2}, // a clock that was set back
	} {
		now = now.Add(step.after)
		if ok, leftOut := l.Take(); ok != step.ok || leftOut != step.leftOut {
			t.Errorf("step %d: %v, %d left out; want %v, %d", i+1, ok, leftOut, step.ok, step.leftOut)
		}
	}
	everyday := Limit{Burst: 1, PerSecond: 1}
	if ok, _ := everyday.Take(); !ok {
		t.Error("the first line doesn't pass")
	}
	if ok, _ := everyday.Take(); ok {
		t.Error("another passes at the same moment")
	}
}
