package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// manyDownloads is more than any server does in a turn.
const manyDownloads = 1 << 20

// benchTFTP downloads a loader of 1 MiB, 50 at a time. It has a namespace, in
// whose loopback every server has port 69, because dnsmasq can have no other.
func benchTFTP(b *bench) error {
	const size, blksize, together = 1 << 20, 1468, 50
	// No name of iPXE's, for which ravenboot would not take a file that is none.
	const loader = "loader.bin"
	space, err := b.space()
	if err != nil {
		return err
	}
	dir := b.subdir()
	content := append([]byte("MZ"), bytes.Repeat([]byte("another "), size/8)...)
	if _, err := write(dir, loader, string(content[:size])); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(content[:size]))
	load := filepath.Join(b.dir, "tftpload")
	if out, err := exec.Command("go", "build", "-o", load, "./integration/bench/tftpload").CombinedOutput(); err != nil {
		return fmt.Errorf("go build tftpload: %w\n%s", err, out)
	}
	download := func(n, together int, lasts time.Duration) (rate float64, done int, err error) {
		out, err := exec.Command("ip", "netns", "exec", space, load, "-addr", "127.0.0.1:69", "-file", loader,
			"-n", fmt.Sprint(n), "-c", fmt.Sprint(together), "-blksize", fmt.Sprint(blksize), "-lasts", lasts.String(), "-sha256", sum).CombinedOutput()
		if err != nil {
			return 0, 0, errors.Join(err, errors.New(string(out)))
		}
		_, err = fmt.Sscanf(string(out), "%f transfers/s, %d transfers", &rate, &done)
		return rate, done, err
	}
	server := func(name string, start func() (*process, error)) subject {
		return subject{name, func() (sample, error) {
			p, err := start()
			if err != nil {
				return sample{}, err
			}
			defer p.stop()
			if err := p.until(func() error { _, _, err := download(1, 1, time.Second); return err }); err != nil {
				return sample{}, err
			}
			var rate float64
			s, err := p.measure(func() (int, time.Duration, error) {
				var done int
				var err error
				rate, done, err = download(manyDownloads, together, b.turn())
				return done + 1, time.Second, err // one more, alone, to compare with
			})
			s.rate = rate
			return s, err
		}}
	}
	all, err := b.inTurn([]subject{
		server("ravenboot", func() (*process, error) {
			config, err := b.lab(1, 80, fmt.Sprintf("[server]\nstate_dir = \"state\"\n[dhcp]\nmode = \"off\"\n[tftp]\nlisten = \"127.0.0.1:69\"\n[loaders]\ndirs = [%q]\n", dir))
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
