package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroup is a control group of one server's own. Unlike /proc it counts children
// that have ended and were waited for by nobody, as tftpd-hpa's are.
type cgroup struct {
	dir string
	fd  *os.File
}

// newCgroup makes a control group in the unified hierarchy.
func newCgroup(name string) (*cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		dir := filepath.Join(fields[1], name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		fd, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		return &cgroup{dir, fd}, nil
	}
	return nil, errors.New("no cgroup2 is mounted")
}

// cpu is what its processes have used.
func (c *cgroup) cpu() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat has no usage_usec", c.dir)
}

// remove removes the group once its last process is gone.
func (c *cgroup) remove() {
	c.fd.Close()
	for range 100 {
		if os.Remove(c.dir) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
