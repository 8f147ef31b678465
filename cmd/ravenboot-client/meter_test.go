package main

import (
	"testing"
	"time"

	"ravenboot/internal/report"
)

// at is what the progress is some time after the start.
type at struct {
	seconds      float64
	paths, total int
	bytes        int64 // in MB, of 1000
	want         string
}

func TestMeter(t *testing.T) {
	for name, test := range map[string]struct {
		every time.Duration
		looks []at
	}{
		"a log": {5 * time.Second, []at{
			{1, 0, 10, 0, ""}, {2, 1, 10, 100, ""}, {4, 2, 10, 300, ""},
			{5, 3, 10, 400, "3 of 10 paths, 400 MB of 1.0 GB, 100 MB/s, 6s left"},
			{6, 4, 10, 500, ""},
			{10, 8, 10, 900, "8 of 10 paths, 900 MB of 1.0 GB, 100 MB/s, 1s left"},
		}},
		"a terminal": {time.Second, []at{
			{1, 0, 10, 0, "0 of 10 paths, 0 kB of 1.0 GB, standing still"},
			{2, 1, 10, 100, "1 of 10 paths, 100 MB of 1.0 GB, 100 MB/s, 9s left"},
			{2.5, 1, 10, 150, ""},
		}},
		"nothing to do": {time.Second, []at{{1, 0, 0, 0, ""}, {9, 0, 0, 0, ""}}},
		// What a former run has placed is there at once, and hasn't come now.
		"a second run": {time.Second, []at{
			{3, 5, 10, 500, "5 of 10 paths, 500 MB of 1.0 GB, standing still"},
			{4, 5, 10, 510, "5 of 10 paths, 510 MB of 1.0 GB, 10 MB/s, 49s left"},
		}},
		// A path that comes again takes its bytes back; that is no rate below zero.
		"a path again": {time.Second, []at{
			{1, 0, 10, 0, "0 of 10 paths, 0 kB of 1.0 GB, standing still"},
			{2, 1, 10, 200, "1 of 10 paths, 200 MB of 1.0 GB, 200 MB/s, 4s left"},
			{3, 1, 10, 100, "1 of 10 paths, 100 MB of 1.0 GB, 100 MB/s, 9s left"},
			{4, 1, 10, 200, "1 of 10 paths, 200 MB of 1.0 GB, 100 MB/s, 8s left"},
		}},
		"the rate is that of ten seconds": {10 * time.Second, []at{
			{0, 0, 10, 0, ""}, {10, 1, 10, 500, "1 of 10 paths, 500 MB of 1.0 GB, 50 MB/s, 10s left"},
			{15, 1, 10, 505, ""}, {20, 1, 10, 510, "1 of 10 paths, 510 MB of 1.0 GB, 1 MB/s, 8m10s left"},
			{30, 1, 10, 510, "1 of 10 paths, 510 MB of 1.0 GB, standing still"},
		}},
		"all": {time.Second, []at{{1, 9, 10, 900, "9 of 10 paths, 900 MB of 1.0 GB, standing still"},
			{2, 10, 10, 1000, "10 of 10 paths, 1.0 GB of 1.0 GB, 100 MB/s, 0s left"}}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1_800_000_000, 0)
			m := newMeter(test.every, start)
			for _, look := range test.looks {
				now := start.Add(time.Duration(look.seconds * float64(time.Second)))
				p := report.Progress{Paths: look.paths, PathsTotal: look.total, Bytes: look.bytes * 1e6, BytesTotal: 1e9}
				if got := m.line(now, p); got != look.want {
					t.Errorf("after %g s: %q, want %q", look.seconds, got, look.want)
				}
			}
			if len(m.samples) > 20 {
				t.Errorf("%d samples are kept", len(m.samples))
			}
		})
	}
}

func TestMeterForgets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := newMeter(time.Second, now)
	for i := range int64(10_000) {
		now = now.Add(time.Second)
		m.line(now, report.Progress{PathsTotal: 1, Bytes: i, BytesTotal: 10_000})
	}
	if len(m.samples) > 15 {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}
