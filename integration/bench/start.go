package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// benchStart times the start with 50 generations, until /healthz answers.
func benchStart(b *bench) error {
	all, err := b.inTurn([]subject{{"ravenboot, 50 generations, 1,000 hosts", func() (sample, error) {
		port := freePort()
		config, err := b.lab(50, port, off)
		if err != nil {
			return sample{}, err
		}
		begun := time.Now()
		p, err := b.serve("", config)
		if err != nil {
			return sample{}, err
		}
		defer p.stop()
		err = p.until(func() error {
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
			if err != nil {
				return err
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				return errors.New(r.Status)
			}
			return nil
		})
		took := time.Since(begun)
		u, usageErr := p.usage()
		if err == nil {
			err = usageErr
		}
		return sample{rate: float64(took) / float64(time.Millisecond), cpu: u.cpu.Seconds(), memory: u.memory}, err
	}}})
	if err != nil {
		return err
	}
	print("Start until ready", all, rateColumn("ms"), cpuColumn("CPU ms", 1e3, "%.0f"), memoryColumn)
	return nil
}
