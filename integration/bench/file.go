package main

import (
	"bytes"
	"fmt"
	"time"
)

// benchFile downloads 60 MiB, by 32 and by 200 machines at a time.
func benchFile(b *bench) error {
	const size = 60 << 20
	dir := b.subdir()
	content := bytes.Repeat([]byte("ravenboot bench\n"), size/16)
	file, err := write(dir, "kernel.bin", string(content))
	if err != nil {
		return err
	}
	for _, connections := range []int{32, 200} {
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
					downloads, err := fileLoad("http://"+addr+path, connections, b.turn(), content)
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
		print(fmt.Sprintf("File of 60 MiB, %d at a time", connections), all,
			rateColumn("MB/s"), cpuColumn("CPU s a GB", 1, "%.3f"), memoryColumn)
	}
	return nil
}
