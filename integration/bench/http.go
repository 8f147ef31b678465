package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// helpers are the servers that this program is itself, as floors to compare
// with, and the DHCP load, which runs in a namespace.
var helpers map[string]func(args []string) error

func init() {
	helpers = map[string]func([]string) error{"serve-text": serveText, "serve-file": serveFile, "load-dora": loadDORA}
}

// serveText ADDR FILE is the least that net/http can do.
func serveText(args []string) error {
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(text)
	}))
}

// serveFile ADDR FILE is http.ServeContent.
func serveFile(args []string) error {
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(args[1])
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
}

const generations = 20

// lab is a configuration of 1,000 hosts and a profile of some generations.
func (b *bench) lab(generations, httpPort int, more string) (config string, err error) {
	dir := b.subdir()
	for n := 1; n <= generations; n++ {
		place := filepath.Join("profiles", fmt.Sprintf("lab-%d-link", n))
		for name, text := range map[string]string{
			"kernel": "kernel", "initrd": "initrd",
			"boot.json": fmt.Sprintf(`{"org.nixos.bootspec.v1": {"system": "x86_64-linux", "label": "NixOS Yarara 26.05.%d (Linux 6.18)",
 "kernelParams": ["loglevel=4", "root=fstab"], "init": "/nix/store/x-%d/init", "toplevel": "/nix/store/x-%d", "kernel": "/k", "initrd": "/i"}}`, n, n, n),
		} {
			if _, err := write(dir, filepath.Join(place, name), text); err != nil {
				return "", err
			}
		}
	}
	var hosts strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&hosts, "[[host]]\nname = \"pc-%d\"\nmac = [%q]\nprofile = \"lab\"\n", i, mac(i))
	}
	text := fmt.Sprintf(`[http]
listen = "127.0.0.1:%d"
max_transfers = 256
[admin]
listen = ""
[menu]
title = "Bench"
[[profile]]
name = "lab"
path = "profiles/lab"
keep = 0
%s
%s`, httpPort, more, hosts.String())
	return write(dir, "ravenboot.toml", text)
}

const off = "[dhcp]\nmode = \"off\"\n[tftp]\nlisten = \"\"\n"

func mac(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff) }

// serve starts ravenboot with a configuration.
func (b *bench) serve(space, config string) (*process, error) {
	return b.start(space, b.ravenboot, "serve", "-config", config)
}

// nginx starts nginx with two workers and a location.
func (b *bench) nginx(port int, location string) (*process, error) {
	dir := b.subdir()
	config, err := write(dir, "nginx.conf", fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http { access_log %[1]s/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000;
 client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
 server { listen 127.0.0.1:%[2]d backlog=1024; %[3]s } }
`, dir, port, location))
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	return b.start("", "nginx", "-c", config, "-g", user)
}

// benchScript asks for the menus of 1,000 hosts over 64 connections.
func benchScript(b *bench) error {
	const connections = 64
	seconds := time.Duration(b.scaled(5)) * time.Second
	text := "#!ipxe\n" + strings.Repeat("item lab/42 NixOS Yarara 26.05 (Linux 6.18)\n", 40)
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
				latencies, err = scriptLoad(addr, connections, seconds, own)
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

// scriptLoad asks over kept connections, and checks every answer: a whole
// script, and if the server makes them, for the machine that asked.
func scriptLoad(addr string, connections int, for_ time.Duration, own bool) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var next atomic.Int64
	deadline := time.Now().Add(for_)
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			latencies, err := askScripts(addr, deadline, &next, own)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			if err != nil {
				failed = err
			}
		})
	}
	group.Wait()
	return all, failed
}

func askScripts(addr string, deadline time.Time, next *atomic.Int64, own bool) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline.Add(patience)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 16<<10)
	var latencies []time.Duration
	var request, body []byte
	for now := time.Now(); now.Before(deadline); {
		machine := mac(int(next.Add(1) % 1000))
		request = append(request[:0], "GET /boot.ipxe?mac="...)
		request = append(request, machine...)
		request = append(request, "&arch=x86_64&platform=efi HTTP/1.1\r\nHost: bench\r\n\r\n"...)
		if _, err := conn.Write(request); err != nil {
			return latencies, err
		}
		if body, err = readAnswer(r, body); err != nil {
			return latencies, err
		}
		if !bytes.HasPrefix(body, []byte("#!ipxe\n")) || own && !bytes.Contains(body, []byte(machine)) {
			return latencies, fmt.Errorf("no script for %s: %.200q", machine, body)
		}
		then := now
		now = time.Now()
		latencies = append(latencies, now.Sub(then))
	}
	return latencies, nil
}

// readAnswer reads a response of 200 with a Content-Length.
func readAnswer(r *bufio.Reader, body []byte) ([]byte, error) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return nil, fmt.Errorf("answer %q", line)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("no Content-Length")
	}
	body = slices.Grow(body[:0], length)[:length]
	_, err := io.ReadFull(r, body)
	return body, err
}

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
		downloads := b.scaled(400)
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
					err := fileLoad("http://"+addr+path, connections, downloads, content)
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

// fileLoad downloads a file n times, and checks lengths and, of every eighth
// download, each byte.
func fileLoad(url string, connections, n int, content []byte) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	for range connections {
		go func() {
			client := &http.Client{Transport: &http.Transport{ReadBufferSize: 64 << 10}}
			defer client.CloseIdleConnections()
			buffer := make([]byte, 256<<10)
			for {
				i := left.Add(-1)
				if i < 0 {
					errs <- nil
					return
				}
				if err := download(client, url, buffer, content, i%8 == 0); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	for range connections {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func download(client *http.Client, url string, buffer, content []byte, every bool) error {
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	total := 0
	for {
		n, err := r.Body.Read(buffer)
		if every && !bytes.Equal(buffer[:n], content[total:min(total+n, len(content))]) {
			return fmt.Errorf("%s: other bytes than in the file", url)
		}
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != len(content) {
		return fmt.Errorf("%s: %d bytes of %d", url, total, len(content))
	}
	return nil
}

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
		err = p.until(func() bool {
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
			if err != nil {
				return false
			}
			r.Body.Close()
			return r.StatusCode == http.StatusOK
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
