package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a `ravenboot serve` of a test's own, as a process. It ends with
// the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
}

// serveDir is a directory with a profile, and with a configuration that may
// carry on from [default].
func serveDir(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	toplevel := filepath.Join(dir, "profiles", "lab-1-link")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(toplevel, 0o755); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(toplevel, "kernel"), "a kernel")
	write(filepath.Join(toplevel, "boot.json"), bootspec)
	write(filepath.Join(dir, "lab.toml"), config+`
[[profile]]
name = "lab"
path = "profiles/lab"
`)
	return dir
}

// bootspec is a generation's boot.json.
const bootspec = `{"org.nixos.bootspec.v1": {"system": "x86_64-linux", "label": "Story",
	"kernelParams": [], "init": "/nix/store/x/init", "toplevel": "/nix/store/x", "kernel": "/k"}}`

// startServe starts the server in dir; change may alter the command first.
func startServe(t *testing.T, dir string, change func(*exec.Cmd)) *process {
	t.Helper()
	d := &process{t: t, log: filepath.Join(dir, "log"), done: make(chan struct{})}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("ravenboot", "serve", "-config", "lab.toml")
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = dir, log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if change != nil {
		change(d.cmd)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // the tests look at the state
		close(d.done)
	}()
	t.Cleanup(func() {
		d.signal(syscall.SIGKILL)
		<-d.done
		if t.Failed() {
			t.Logf("the server's log:\n%s", d.text())
		}
	})
	return d
}

func (d *process) signal(s os.Signal) { _ = d.cmd.Process.Signal(s) }

func (d *process) text() string {
	text, err := os.ReadFile(d.log)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// expect waits for words in the log.
func (d *process) expect(words string) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(d.text(), words); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("the log never had %s", words)
		}
	}
}

// end waits for the process to end.
func (d *process) end() *os.ProcessState {
	d.t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState
	case <-time.After(2 * patience):
		d.t.Fatal("the server didn't end")
		return nil
	}
}

// stop ends the server in order.
func (d *process) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if state := d.end(); state.ExitCode() != exitOK {
		d.t.Errorf("SIGTERM: %v, want exit status 0", state)
	}
}

func mustFreePort(t *testing.T) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// localServices is a configuration on loopback addresses, with DHCP off.
func localServices(http, admin, tftp int) string {
	return fmt.Sprintf(`[server]
state_dir = "state"
[dhcp]
mode = "off"
[http]
listen = "127.0.0.1:%d"
[admin]
listen = "127.0.0.1:%d"
[tftp]
listen = "127.0.0.1:%d"
`, http, admin, tftp)
}

// fetch gets a page.
func fetch(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
