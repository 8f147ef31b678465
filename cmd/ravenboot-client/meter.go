package main

import (
	"fmt"
	"time"

	"ravenboot/internal/client"
	"ravenboot/internal/report"
)

const (
	// A terminal's line is written over, a log's are many.
	terminalEvery = time.Second
	logEvery      = 5 * time.Second
	// meterWindow is what the rate is taken over.
	meterWindow = 10 * time.Second
)

// meter makes progress lines.
type meter struct {
	every   time.Duration
	last    time.Time
	samples []sample // of the last meterWindow
}

type sample struct {
	at    time.Time
	bytes int64
}

func newMeter(terminal bool, now time.Time) *meter {
	m := &meter{every: logEvery, last: now, samples: []sample{{at: now}}}
	if terminal {
		m.every = terminalEvery
	}
	return m
}

// line is what to show now; "" if it is too early.
func (m *meter) line(now time.Time, p report.Progress) string {
	m.samples = append(m.samples, sample{now, p.Bytes})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > meterWindow {
		m.samples = m.samples[1:]
	}
	if p.PathsTotal == 0 || now.Sub(m.last) < m.every {
		return ""
	}
	m.last = now
	line := fmt.Sprintf("%d of %d paths, %s of %s", p.Paths, p.PathsTotal, client.Bytes(p.Bytes), client.Bytes(p.BytesTotal))
	oldest := m.samples[0]
	rate := float64(p.Bytes-oldest.bytes) / now.Sub(oldest.at).Seconds()
	if rate <= 0 {
		return line + ", standing still"
	}
	left := time.Duration(float64(p.BytesTotal-p.Bytes) / rate * float64(time.Second))
	return line + fmt.Sprintf(", %s/s, %v left", client.Bytes(int64(rate)), left.Round(time.Second))
}
