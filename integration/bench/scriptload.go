package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

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
