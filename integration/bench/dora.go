package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// manyLeases is more than any server grants in a turn.
const manyLeases = 1 << 20

// benchDORA leases addresses to 1,000 machines again and again, and to 10,000
// new ones.
func benchDORA(b *bench) error {
	near, relay, err := b.cable()
	if err != nil {
		return err
	}
	for _, work := range []struct {
		title            string
		machines, leases int
		warm             bool
	}{
		{"DORA, 1,000 known machines, 64 outstanding", 1000, manyLeases, true},
		{"DORA, 10,000 new machines, 64 outstanding", 10000, 10000, false},
	} {
		server := func(name string, start func(dir string) (*process, error)) subject {
			return subject{name, func() (sample, error) {
				p, err := start(b.subdir())
				if err != nil {
					return sample{}, err
				}
				defer p.stop()
				if err := p.until(func() error { _, err := b.load(relay, 1, 1, time.Second); return err }); err != nil {
					return sample{}, err
				}
				if work.warm {
					if _, err := b.load(relay, work.machines, work.machines, patience); err != nil {
						return sample{}, err
					}
				}
				var done loadResult
				s, err := p.measure(func() (int, time.Duration, error) {
					var err error
					done, err = b.load(relay, work.machines, work.leases, b.turn())
					return done.Leases, done.Took, err
				})
				s.p99 = float64(done.P99) / float64(time.Millisecond)
				if done.Resent+done.Refused > 0 {
					fmt.Fprintf(os.Stderr, "%d packets sent again, %d offers taken back\n", done.Resent, done.Refused)
				}
				return s, err
			}}
		}
		all, err := b.inTurn([]subject{
			server("ravenboot", func(dir string) (*process, error) { return b.ravenbootDHCP(near, dir) }),
			server("Kea, memfile", func(dir string) (*process, error) { return b.kea(near, dir, false) }),
			server("Kea, multi-threaded", func(dir string) (*process, error) { return b.kea(near, dir, true) }),
			server("dnsmasq", func(dir string) (*process, error) { return b.dnsmasq(near, dir) }),
		})
		if err != nil {
			return err
		}
		print(work.title, all, rateColumn("leases/s"), cpuColumn("CPU us each", 1e6, "%.0f"), p99Column, memoryColumn)
	}
	return nil
}

// loadResult is what load-dora prints.
type loadResult struct {
	Leases          int
	Took, P99       time.Duration
	Resent, Refused int
}

// load gets n leases for machines, fewer if that lasts too long, in the relay's
// namespace.
func (b *bench) load(space string, machines, n int, lasts time.Duration) (loadResult, error) {
	var r loadResult
	command := exec.Command("ip", "netns", "exec", space, b.self, "load-dora", strconv.Itoa(machines), strconv.Itoa(n), lasts.String())
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return r, errors.Join(err, errors.New(stderr.String()))
	}
	return r, json.Unmarshal(out, &r)
}

// loadDORA MACHINES LEASES LASTS is the load itself.
func loadDORA(args []string) error {
	machines, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	lasts, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	l, err := newDORALoad(machines, n, lasts)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	r, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
