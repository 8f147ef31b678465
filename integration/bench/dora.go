package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

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
		{"DORA, 1,000 known machines, 64 outstanding", 1000, b.scaled(20000), true},
		{"DORA, 10,000 new machines, 64 outstanding", 10000, 10000, false},
	} {
		server := func(name string, start func(dir string) (*process, error)) subject {
			return subject{name, func() (sample, error) {
				p, err := start(b.subdir())
				if err != nil {
					return sample{}, err
				}
				defer p.stop()
				if err := p.until(func() bool { _, err := b.load(relay, 1, 1); return err == nil }); err != nil {
					return sample{}, err
				}
				if work.warm {
					if _, err := b.load(relay, work.machines, work.machines); err != nil {
						return sample{}, err
					}
				}
				var done loadResult
				s, err := p.measure(func() (int, time.Duration, error) {
					var err error
					done, err = b.load(relay, work.machines, work.leases)
					return work.leases, done.Took, err
				})
				s.p99 = float64(done.P99) / float64(time.Millisecond)
				s.note = fmt.Sprintf("%d packets sent again, %d offers taken back in the last round", done.Resent, done.Refused)
				return s, err
			}}
		}
		all, err := b.inTurn([]subject{
			server("ravenboot", func(dir string) (*process, error) { return b.ravenbootDHCP(near, dir) }),
			server("Kea, memfile", func(dir string) (*process, error) { return b.kea(near, dir) }),
			server("dnsmasq", func(dir string) (*process, error) { return b.dnsmasq(near, dir) }),
		})
		if err != nil {
			return err
		}
		print(work.title, all, rateColumn("leases/s"), cpuColumn("CPU us each", 1e6, "%.0f"), p99Column, memoryColumn)
	}
	return nil
}

func (b *bench) ravenbootDHCP(space, dir string) (*process, error) {
	config, err := b.lab(1, 80, fmt.Sprintf(`[server]
interface = "eth0"
state_dir = %q
[dhcp]
mode = "server"
[[dhcp.subnet]]
network = %q
range = [%q, %q]
lease = "1h"
[tftp]
listen = ""
`, filepath.Join(dir, "state"), dhcpNetwork, firstAddr, lastAddr))
	if err != nil {
		return nil, err
	}
	return b.serve(space, config)
}

func (b *bench) kea(space, dir string) (*process, error) {
	config, err := write(dir, "kea.json", fmt.Sprintf(`{"Dhcp4": {
 "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"},
 "lease-database": {"type": "memfile", "persist": true, "name": "%s/leases.csv", "lfc-interval": 0},
 "valid-lifetime": 3600,
 "subnet4": [{"id": 1, "subnet": "%s", "pools": [{"pool": "%s - %s"}]}],
 "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]}]}}`,
		dir, dhcpNetwork, firstAddr, lastAddr))
	if err != nil {
		return nil, err
	}
	return b.start(space, "kea-dhcp4", "-c", config)
}

func (b *bench) dnsmasq(space, dir string) (*process, error) {
	return b.start(space, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--user=root", "--group=root",
		"--dhcp-range="+firstAddr+","+lastAddr+",1h", "--dhcp-lease-max=30000", "--dhcp-authoritative", "--no-ping", "--quiet-dhcp",
		"--dhcp-leasefile="+dir+"/leases")
}

// loadResult is what load-dora prints.
type loadResult struct {
	Took, P99       time.Duration
	Resent, Refused int
}

// load gets n leases for machines, in the relay's namespace.
func (b *bench) load(space string, machines, n int) (loadResult, error) {
	var r loadResult
	command := exec.Command("ip", "netns", "exec", space, b.self, "load-dora", strconv.Itoa(machines), strconv.Itoa(n))
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return r, errors.Join(err, errors.New(stderr.String()))
	}
	return r, json.Unmarshal(out, &r)
}

// loadDORA MACHINES LEASES is the load itself.
func loadDORA(args []string) error {
	machines, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	l, err := newDORALoad(machines, n)
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
