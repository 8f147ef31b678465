package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bigKernel gives the profile a kernel that no socket buffer holds.
func bigKernel(t *testing.T, dir string) (size int64) {
	t.Helper()
	size = 64 << 20
	if err := os.Truncate(filepath.Join(dir, "profiles", "lab-1-link", "kernel"), size); err != nil {
		t.Fatal(err)
	}
	return size
}

// beginDownload asks for the kernel and reads the first bytes of it.
func beginDownload(t *testing.T, port int) *http.Response {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/generation/lab/1/kernel", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	if _, err := io.ReadFull(r.Body, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDownloadOutlivesSIGTERM: a machine that is in the middle of its kernel
// gets all of it, while nobody else gets in.
func TestDownloadOutlivesSIGTERM(t *testing.T) {
	port := mustFreePort(t)
	dir := serveDir(t, localServices(port, mustFreePort(t), mustFreePort(t)))
	size := bigKernel(t, dir)
	d := startServe(t, dir, nil)
	d.expect("dhcp off")
	r := beginDownload(t, port)
	d.signal(syscall.SIGTERM)
	d.expect("stopping")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still takes connections")
		}
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil || n+4096 != size {
		t.Errorf("the download ended after %d bytes of %d: %v", n+4096, size, err)
	}
	if state := d.end(); state.ExitCode() != exitOK {
		t.Errorf("%v, want exit status 0", state)
	}
	if log := d.text(); !strings.Contains(log, `"msg":"stopped"`) || strings.Contains(log, "cut off") {
		t.Error("the log doesn't tell of an orderly stop")
	}
}

// TestLoaderOutlivesSIGTERM is the same for a loader, which curl takes its time
// for.
func TestLoaderOutlivesSIGTERM(t *testing.T) {
	port := mustFreePort(t)
	loaders := t.TempDir()
	dir := serveDir(t, localServices(mustFreePort(t), mustFreePort(t), port)+fmt.Sprintf("[loaders]\ndirs = [%q]\n", loaders))
	loader := append([]byte("MZ"), bytes.Repeat([]byte("loader"), 100_000)...)
	if err := os.WriteFile(filepath.Join(loaders, "other.bin"), loader, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startServe(t, dir, nil)
	d.expect("dhcp off")
	got := filepath.Join(dir, "got")
	curl := exec.Command("curl", "-sS", "--limit-rate", "300K", "--max-time", "60", "-o", got, fmt.Sprintf("tftp://127.0.0.1:%d/other.bin", port))
	var said bytes.Buffer
	curl.Stderr = &said
	if err := curl.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(got); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("curl gets nothing: %s", &said)
		}
	}
	d.signal(syscall.SIGTERM)
	d.expect("stopping")
	if err := curl.Wait(); err != nil {
		t.Errorf("curl: %v\n%s", err, &said)
	}
	if brought, err := os.ReadFile(got); err != nil || !bytes.Equal(brought, loader) {
		t.Errorf("curl brought %d bytes of %d, %v", len(brought), len(loader), err)
	}
	if state := d.end(); state.ExitCode() != exitOK {
		t.Errorf("%v, want exit status 0", state)
	}
}

// TestSecondSignalKills: whoever doesn't want to wait for a machine that has
// stopped reading needn't.
func TestSecondSignalKills(t *testing.T) {
	port := mustFreePort(t)
	dir := serveDir(t, localServices(port, mustFreePort(t), mustFreePort(t)))
	bigKernel(t, dir)
	d := startServe(t, dir, nil)
	d.expect("dhcp off")
	beginDownload(t, port)
	d.signal(syscall.SIGTERM)
	d.expect("stopping")
	// The handler goes a moment after the line.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range again.C {
		d.signal(syscall.SIGTERM)
		select {
		case <-d.done:
		default:
			continue
		}
		break
	}
	status := d.end().Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v, want death by SIGTERM", d.cmd.ProcessState)
	}
	if strings.Contains(d.text(), "cut off") {
		t.Error("the drain time had to run out")
	}
}

// TestLogThatEnds: machines boot on when nobody reads the log any more.
func TestLogThatEnds(t *testing.T) {
	port := mustFreePort(t)
	dir := serveDir(t, localServices(port, mustFreePort(t), mustFreePort(t)))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	d := startServe(t, dir, func(c *exec.Cmd) { c.Stderr = write })
	if _, err := read.Read(make([]byte, 1)); err != nil { // it has begun to log
		t.Fatal(err)
	}
	read.Close()
	script := fmt.Sprintf("http://127.0.0.1:%d/boot.ipxe?mac=52:54:00:12:34:56", port)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(script)
		if err == nil {
			r.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for range 20 { // each is a line that finds no reader
		if got := fetch(t, script); !strings.HasPrefix(got, "#!ipxe\n") {
			t.Fatalf("%q", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	d.stop()
}

func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		args []string
		want int
	}{
		{[]string{"version"}, 0},
		{[]string{"help"}, 0},
		{[]string{"serve", "-h"}, 0},
		{nil, 2},
		{[]string{"bake"}, 2},
		{[]string{"serve", "-nonsense"}, 2},
		{[]string{"serve", "extra"}, 2},
		{[]string{"script"}, 2},
		{[]string{"script", "-mac", "nonsense"}, 2},
		{[]string{"serve", "-config", "/nonexistent/lab.toml"}, 1},
		{[]string{"check", "-config", "/nonexistent/lab.toml"}, 1},
		{[]string{"script", "-config", "/nonexistent/lab.toml", "-mac", "52:54:00:12:34:56"}, 1},
	} {
		var out, log bytes.Buffer
		if got := run(context.Background(), row.args, &out, &log); got != row.want {
			t.Errorf("ravenboot %q exits with %d, want %d\n%s%s", row.args, got, row.want, &out, &log)
		}
		if said := out.Len()+log.Len() > 0; !said {
			t.Errorf("ravenboot %q says nothing", row.args)
		}
	}
}
