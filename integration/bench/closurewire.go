package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// overWire downloads a system over a wire, beside one plain file that is as long
// as the system's NARs: that is what the wire itself takes.
func (c *closureBench) overWire(compression string, system system) error {
	w, err := c.wire()
	if err != nil {
		return err
	}
	defer w.carrier.stop()
	server, err := c.serveClosures(compression, w, system)
	if err != nil {
		return err
	}
	defer server.stop()
	if err := c.sayWire(server); err != nil {
		return err
	}
	floor, stop, err := c.plainFile(w, system.narSize)
	if err != nil {
		return err
	}
	defer stop()
	subjects := []subject{floor}
	for _, e := range engines {
		subjects = append(subjects, subject{e.name, func() (sample, error) {
			return w.counting(c.subject(e, server, places[0], system).turn)
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

// plainFile is the download of a file of so many bytes over a wire.
func (c *closureBench) plainFile(w *wire, size int64) (s subject, stop func(), err error) {
	file, err := write(c.subdir(), "plain", "")
	if err != nil {
		return s, nil, err
	}
	if err := os.Truncate(file, size); err != nil { // its holes are read as zeros
		return s, nil, err
	}
	const addr = farAddr + ":8080"
	plain, err := c.start(w.far, c.self, "serve-file", addr, file)
	if err != nil {
		return s, nil, err
	}
	err = plain.until(func() error {
		argv := w.atMachine(c.self, "reach", addr)
		return exec.CommandContext(c.ctx, argv[0], argv[1:]...).Run()
	})
	s = subject{"the wire: one plain file", func() (sample, error) {
		return w.counting(func() (sample, error) {
			return c.fetch(w.atMachine(c.self, "download", "http://"+addr+"/"), c.dir, c.dir, false)
		})
	}}
	if err != nil {
		plain.stop()
	}
	return s, plain.stop, err
}

// sayWire prints what a short request takes over the wire.
func (c *closureBench) sayWire(server *closureServer) error {
	argv := server.over.atMachine(c.self, "request", server.url+"/nix-cache-info")
	out, err := exec.CommandContext(c.ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	fmt.Printf("\nA short request takes %s.\n", strings.TrimSpace(string(out)))
	return nil
}

// shortRequests URL prints the median of some requests on one connection.
func shortRequests(args []string) error {
	var took []time.Duration
	for range 201 {
		begun := time.Now()
		if err := downloadOnce(args); err != nil {
			return err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	fmt.Println(took[len(took)/2])
	return nil
}

// downloadOnce URL reads a file to its end.
func downloadOnce(args []string) error {
	r, err := http.Get(args[0])
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", args[0], r.Status)
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && n != r.ContentLength {
		err = fmt.Errorf("%s: %d bytes of %d", args[0], n, r.ContentLength)
	}
	return err
}
