package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// processors are what /proc/cpuinfo calls them, counted.
func processors() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return fmt.Sprintf("%d processors, %s", runtime.NumCPU(), strings.TrimSpace(value))
		}
	}
	return fmt.Sprintf("%d processors, %s", runtime.NumCPU(), runtime.GOARCH)
}

// loadAverage is that of the last minute: over 0 at the start, others are at
// work on the machine.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
