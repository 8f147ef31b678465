package main

import (
	"bytes"
	"fmt"
	"time"
)

// benchFile downloads 60 MiB, by 32 and by 200 machines at a time. What a download
// costs a server depends on how its machines read: see curlLoad and fileLoad.
func benchFile(b *bench) error {
	const size = 60 << 20
	dir := b.subdir()
	content := bytes.Repeat([]byte("ravenboot bench\n"), size/16)
	file, err := write(dir, "kernel.bin", string(content))
	if err != nil {
		return err
	}
	for _, row := range []struct {
		machines int
		as       string
		load     func(url string, machines int, lasts time.Duration, content []byte) (downloads int, err error)
	}{
		{32, "each a curl", curlLoad}, {200, "each a curl", curlLoad},
		{32, "all in one program", fileLoad}, {200, "all in one program", fileLoad},
	} {
		server := func(name, path string, start func(port int) (*process, error)) subject {
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
				s, err := p.measure(func() (int, time.Duration, error) {
					begun := time.Now()
					downloads, err := row.load("http://"+addr+path, row.machines, b.turn(), content)
					return downloads, time.Since(begun), err
				})
				s.rate *= float64(size) / 1e6
				s.cpu /= float64(size) / 1e9
				return s, err
			}}
		}
		all, err := b.inTurn([]subject{
			server("ravenboot", "/image/big/kernel.bin", func(port int) (*process, error) {
				config, err := b.lab(1, port, off+fmt.Sprintf("[[image]]\nname = \"big\"\nkernel = %q\n", file))
				if err != nil {
					return nil, err
				}
				return b.serve("", config)
			}),
			server("nginx, sendfile", "/kernel.bin", func(port int) (*process, error) {
				return b.nginx(port, "root "+dir+";")
			}),
			server("http.ServeContent", "/", func(port int) (*process, error) {
				return b.start("", b.self, "serve-file", fmt.Sprint("127.0.0.1:", port), file)
			}),
		})
		if err != nil {
			return err
		}
		print(fmt.Sprintf("File of 60 MiB, %d machines at a time, %s", row.machines, row.as), all,
			rateColumn("MB/s"), cpuColumn("CPU s a GB", 1, "%.3f"), memoryColumn)
	}
	return nil
}
