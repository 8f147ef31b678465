package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a server and its children have used.
type usage struct {
	cpu    time.Duration
	memory float64 // MiB, the peaks of all
}

// ticks is the unit of /proc/PID/stat: USER_HZ, 100 on every architecture that
// Go runs on.
const ticks = time.Second / 100

func (p *process) usage() (usage, error) {
	u, err := p.usageOfGroup()
	if err == nil && p.cgroup != nil {
		u.cpu, err = p.cgroup.cpu()
	}
	return u, err
}

// usageOfGroup is that of the processes that are there now, and of the children
// that they have waited for.
func (p *process) usageOfGroup() (usage, error) {
	var u usage
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return u, err
	}
	found := false
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// proc_pid_stat(5), from the third field on: the second may hold spaces.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 15 || fields[2] != strconv.Itoa(p.Process.Pid) { // process group
			continue
		}
		found = true
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(field)
			u.cpu += time.Duration(n) * ticks
		}
		u.memory += peakMemory(e.Name())
	}
	if !found {
		return u, errors.New("the server is gone:\n" + p.tail())
	}
	return u, nil
}

// peakMemory is a process's VmHWM in MiB.
func peakMemory(pid string) float64 {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024
		}
	}
	return 0
}

// measure runs a load of n units against the server.
func (p *process) measure(load func() (n int, took time.Duration, err error)) (sample, error) {
	before, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	n, took, err := load()
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, p.tail())
	}
	after, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	return sample{
		rate:   float64(n) / took.Seconds(),
		cpu:    (after.cpu - before.cpu).Seconds() / float64(n),
		memory: after.memory,
	}, nil
}
