package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStartToReady takes the time from the start of the process until it
// tells systemd that it serves, with 50 generations.
func BenchmarkStartToReady(b *testing.B) {
	for _, hosts := range []int{0, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			dir := labOf(b, 50, hosts)
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
			if err != nil {
				b.Fatal(err)
			}
			defer manager.Close()
			for b.Loop() {
				startOnce(b, dir, manager)
			}
		})
	}
}

// labOf is a directory with a profile, and a configuration with hosts.
func labOf(b *testing.B, generations, hosts int) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "rb") // short, for the socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	for n := range generations {
		toplevel := filepath.Join(dir, "profiles", fmt.Sprintf("lab-%d-link", n+1))
		text := strings.ReplaceAll(bootspec, "Story", fmt.Sprintf("Story %d", n+1))
		if err := os.MkdirAll(toplevel, 0o755); err != nil {
			b.Fatal(err)
		}
		for name, content := range map[string]string{"kernel": "a kernel", "boot.json": text} {
			if err := os.WriteFile(filepath.Join(toplevel, name), []byte(content), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	var config strings.Builder
	config.WriteString(localServices(0, 0, 0) + "[[profile]]\nname = \"lab\"\npath = \"profiles/lab\"\n")
	for n := range hosts {
		fmt.Fprintf(&config, "[[host]]\nname = \"pc-%d\"\nmac = [\"02:00:00:00:%02x:%02x\"]\nargs = [\"console=ttyS0\"]\n", n, n>>8, n&0xff)
	}
	if err := os.WriteFile(filepath.Join(dir, "lab.toml"), []byte(config.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// startOnce starts a server and waits until it is ready; ending it isn't part
// of the measurement.
func startOnce(b *testing.B, dir string, manager *net.UnixConn) {
	b.Helper()
	cmd := exec.Command("ravenboot", "serve", "-config", filepath.Join(dir, "lab.toml"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	message := make([]byte, 100)
	if err := manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	if n, err := manager.Read(message); err != nil || string(message[:n]) != "READY=1" {
		b.Fatalf("%q, %v", message[:n], err)
	}
	b.StopTimer()
	defer b.StartTimer()
	if err := cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
