package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// overWire downloads a system through a relay, beside one plain file that is as
// long as the system's NARs: that is what the wire itself takes.
func (c *closureBench) overWire(compression string, system system) error {
	server, err := c.serveClosures(compression, system)
	if err != nil {
		return err
	}
	defer server.stop()
	file, err := write(c.subdir(), "plain", "")
	if err != nil {
		return err
	}
	if err := os.Truncate(file, system.narSize); err != nil { // its holes are read as zeros
		return err
	}
	plainAddr := fmt.Sprint("127.0.0.1:", freePort())
	plain, err := c.start("", c.self, "serve-file", plainAddr, file)
	if err != nil {
		return err
	}
	defer plain.stop()
	if err := plain.listening(plainAddr); err != nil {
		return err
	}
	if err := c.sayWire(server.addr); err != nil {
		return err
	}
	subjects := []subject{{"the wire: one plain file", func() (sample, error) {
		return c.throughRelay(plainAddr, func(addr string) (sample, error) {
			return c.fetch([]string{c.self, "download", "http://" + addr + "/"}, c.dir, c.dir, false)
		})
	}}}
	for _, e := range engines {
		subjects = append(subjects, subject{e.name, func() (sample, error) {
			return c.throughRelay(server.addr, func(addr string) (sample, error) {
				return c.subject(e, server, "http://"+addr+"/cache", places[0], system).turn()
			})
		}})
	}
	all, err := c.inTurn(subjects)
	if err != nil {
		return err
	}
	printTable(fmt.Sprintf("1 Gbit/s, 1 ms: closure of %d paths, %.3f GB of NARs, %s, onto tmpfs",
		len(system.paths), float64(system.narSize)/1e9, compression), "client", all, secondsColumn,
		column{"MB on the wire", func(s sample) float64 { return s.carried / 1e6 }, "%.1f"}, clientCPUColumn, memoryColumn)
	for i := range all[1:] {
		compare([]series{all[1+i], all[0]}, "time")
	}
	return nil
}

// throughRelay has something use a relay of its own to a server, and counts what
// came through it.
func (c *closureBench) throughRelay(target string, use func(addr string) (sample, error)) (sample, error) {
	addr := fmt.Sprint("127.0.0.1:", freePort())
	p, err := c.start("", c.self, "relay", addr, target)
	if err != nil {
		return sample{}, err
	}
	if err := p.listening(addr); err != nil {
		p.stop()
		return sample{}, err
	}
	s, err := use(addr)
	p.stop()
	if err != nil {
		return s, fmt.Errorf("%w\n%s", err, p.tail())
	}
	s.carried, err = strconv.ParseFloat(strings.TrimSpace(p.tail()), 64)
	return s, err
}

// sayWire prints what a short request takes, with the relay and without.
func (c *closureBench) sayWire(server string) error {
	direct, err := shortRequest(server)
	if err != nil {
		return err
	}
	_, err = c.throughRelay(server, func(addr string) (sample, error) {
		relayed, err := shortRequest(addr)
		fmt.Printf("\nA short request takes %.2f ms, through the relay %.2f ms.\n",
			direct.Seconds()*1e3, relayed.Seconds()*1e3)
		return sample{}, err
	})
	return err
}

// shortRequest is the median of some requests on one connection.
func shortRequest(server string) (time.Duration, error) {
	var took []time.Duration
	for range 201 {
		begun := time.Now()
		r, err := http.Get("http://" + server + "/cache/nix-cache-info")
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// downloadOnce URL reads a file to its end.
func downloadOnce(args []string) error {
	r, err := http.Get(args[0])
	if err != nil {
		return err
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && n != r.ContentLength {
		err = fmt.Errorf("%s: %d bytes of %d", args[0], n, r.ContentLength)
	}
	return err
}
