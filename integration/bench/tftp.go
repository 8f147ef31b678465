package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// benchTFTP downloads a loader of 1 MiB, 50 at a time. It has a namespace, in
// whose loopback every server has port 69, because dnsmasq can have no other.
func benchTFTP(b *bench) error {
	const size, blksize, together = 1 << 20, 1468, 50
	space, err := b.space()
	if err != nil {
		return err
	}
	dir := b.subdir()
	content := append([]byte("MZ"), bytes.Repeat([]byte("loader"), size/6)...)
	if _, err := write(dir, "snponly.efi", string(content[:size])); err != nil {
		return err
	}
	load := filepath.Join(b.dir, "tftpload")
	if out, err := exec.Command("go", "build", "-o", load, "./integration/bench/tftpload").CombinedOutput(); err != nil {
		return fmt.Errorf("go build tftpload: %w\n%s", err, out)
	}
	download := func(n, together int) (rate float64, err error) {
		out, err := exec.Command("ip", "netns", "exec", space, load, "-addr", "127.0.0.1:69", "-file", "snponly.efi",
			"-n", fmt.Sprint(n), "-c", fmt.Sprint(together), "-blksize", fmt.Sprint(blksize)).CombinedOutput()
		if err != nil {
			return 0, errors.Join(err, errors.New(string(out)))
		}
		_, err = fmt.Sscanf(string(out), "%f transfers/s", &rate)
		return rate, err
	}
	downloads := b.scaled(1000)
	server := func(name string, start func() (*process, error)) subject {
		return subject{name, func() (sample, error) {
			p, err := start()
			if err != nil {
				return sample{}, err
			}
			defer p.stop()
			if err := p.until(func() bool { _, err := download(1, 1); return err == nil }); err != nil {
				return sample{}, err
			}
			var rate float64
			s, err := p.measure(func() (int, time.Duration, error) {
				var err error
				rate, err = download(downloads, together)
				return downloads + 1, time.Second, err
			})
			s.rate = rate
			return s, err
		}}
	}
	all, err := b.inTurn([]subject{
		server("ravenboot", func() (*process, error) {
			config, err := b.lab(1, 80, fmt.Sprintf("[dhcp]\nmode = \"off\"\n[tftp]\nlisten = \"127.0.0.1:69\"\n[loaders]\ndirs = [%q]\n", dir))
			if err != nil {
				return nil, err
			}
			return b.serve(space, config)
		}),
		server("dnsmasq", func() (*process, error) {
			return b.start(space, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--user=root", "--group=root",
				"--enable-tftp", "--tftp-root="+dir, "--tftp-max=1000", "--quiet-tftp")
		}),
		server("tftpd-hpa", func() (*process, error) {
			return b.start(space, "in.tftpd", "-L", "--address", "127.0.0.1:69", "--user", "root", "--secure", dir)
		}),
	})
	if err != nil {
		return err
	}
	print("Loader of 1 MiB by TFTP, blocks of 1468, 50 at a time", all,
		rateColumn("downloads/s"), cpuColumn("CPU ms each", 1e3, "%.2f"), memoryColumn)
	return nil
}
