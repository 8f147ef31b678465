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
	every time.Duration
	last  time.Time // of the last line

	bytes   int64    // of the last look
	moved   int64    // bytes that came since the first look
	samples []sample // of moved, over the last meterWindow
}

type sample struct {
	at    time.Time
	moved int64
}

func newMeter(every time.Duration, now time.Time) *meter { return &meter{every: every, last: now} }

// line is what to show now; "" if it is too early.
func (m *meter) line(now time.Time, p report.Progress) string {
	if p.PathsTotal == 0 {
		return ""
	}
	m.look(now, p.Bytes)
	if now.Sub(m.last) < m.every {
		return ""
	}
	m.last = now
	line := fmt.Sprintf("%d of %d paths, %s of %s", p.Paths, p.PathsTotal, client.Bytes(p.Bytes), client.Bytes(p.BytesTotal))
	oldest := m.samples[0]
	rate := float64(m.moved-oldest.moved) / now.Sub(oldest.at).Seconds()
	if !(rate > 0) { // the first look has no rate at all
		return line + ", standing still"
	}
	left := time.Duration(float64(p.BytesTotal-p.Bytes) / rate * float64(time.Second))
	return line + fmt.Sprintf(", %s/s, %v left", client.Bytes(int64(rate)), left.Round(time.Second))
}

// look takes a sample. What is there at the first look has not come now. A path
// that must come again takes its bytes back, which is no rate below zero.
func (m *meter) look(now time.Time, bytes int64) {
	if len(m.samples) > 0 {
		m.moved += max(bytes-m.bytes, 0)
	}
	m.bytes = bytes
	m.samples = append(m.samples, sample{now, m.moved})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= meterWindow {
		m.samples = m.samples[1:]
	}
}
