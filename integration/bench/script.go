package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// benchScript asks for the menus of 1,000 hosts over 64 connections.
func benchScript(b *bench) error {
	const connections = 64
	text, err := b.fixedText()
	if err != nil {
		return err
	}
	server := func(name string, start func(port int) (*process, error), own bool) subject {
		return subject{name, func() (sample, error) {
			port := freePort()
			p, err := start(port)
			if err != nil {
				return sample{}, err
			}
			defer p.stop()
			addr := fmt.Sprint("127.0.0.1:", port)
			if err := p.listening(addr); err != nil {
				return sample{}, err
			}
			var latencies []time.Duration
			s, err := p.measure(func() (int, time.Duration, error) {
				var err error
				begun := time.Now()
				latencies, err = scriptLoad(addr, connections, b.turn(), own)
				return len(latencies), time.Since(begun), err
			})
			if err == nil {
				slices.Sort(latencies)
				s.p99 = float64(latencies[len(latencies)*99/100]) / float64(time.Millisecond)
			}
			return s, err
		}}
	}
	file, err := write(b.subdir(), "text", text)
	if err != nil {
		return err
	}
	all, err := b.inTurn([]subject{
		server("ravenboot", func(port int) (*process, error) {
			config, err := b.lab(generations, port, off)
			if err != nil {
				return nil, err
			}
			return b.serve("", config)
		}, true),
		server("net/http, fixed text", func(port int) (*process, error) {
			return b.start("", b.self, "serve-text", fmt.Sprint("127.0.0.1:", port), file)
		}, false),
		server("nginx, fixed text", func(port int) (*process, error) {
			return b.nginx(port, fmt.Sprintf(`location / { return 200 "%s"; }`, text))
		}, false),
	})
	if err != nil {
		return err
	}
	print("Script for one of 1,000 hosts, 20 generations, 64 connections", all,
		rateColumn("scripts/s"), cpuColumn("CPU us each", 1e6, "%.1f"), p99Column, memoryColumn)
	return nil
}

// fixedText is as long as ravenboot's script, for servers that make none.
func (b *bench) fixedText() (string, error) {
	config, err := b.lab(generations, 80, off)
	if err != nil {
		return "", err
	}
	script, err := exec.Command(b.ravenboot, "script", "-config", config, "-mac", mac(0)).Output()
	if err != nil {
		return "", fmt.Errorf("%s script: %w", b.ravenboot, err)
	}
	text := "#!ipxe\n"
	return text + strings.Repeat("#", len(script)-len(text)), nil
}
