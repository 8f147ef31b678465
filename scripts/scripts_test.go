// Package scripts_test does what the README tells a stranger to do: the
// demonstration with every line that it prints, and the lab in a terminal.
package scripts_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ravenboot/integration/lab"
)

// patience is how long a server or a program may take; bootTime how long an
// emulated machine may, from its power switch to its initrd.
const (
	patience = 30 * time.Second
	bootTime = 4 * time.Minute
)

// tree is a directory with bin/ravenboot and a demonstration in .cache/demo, as
// `make run` leaves them, and what demo.sh printed.
func tree(t *testing.T) (dir, printed string) {
	t.Helper()
	dir = t.TempDir()
	program := filepath.Join(dir, "bin", "ravenboot")
	if _, err := lab.Run(".", nil, "go", "build", "-o", program, "ravenboot/cmd/ravenboot"); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("demo.sh")
	if err != nil {
		t.Fatal(err)
	}
	if printed, err = lab.Run(dir, nil, script, ".cache/demo"); err != nil {
		t.Fatal(err)
	}
	return dir, printed
}

// TestDemonstration types what the demonstration says to try.
func TestDemonstration(t *testing.T) {
	dir, printed := tree(t)
	want := map[string]string{ // by the end of the line
		"boot.ipxe?mac=52:54:00:12:34:56'":               "menu Demonstration",
		"boot.ipxe?mac=52:54:00:12:34:56&entry=lab/2'":   "kernel http://127.0.0.1:8080/generation/lab/2/kernel",
		"generation/lab/2/kernel":                        "Content-Length: ",
		"undionly.kpxe | wc -c":                          "\n",
		"/metrics":                                       "ravenboot_build_info",
		"-mac 52:54:00:12:34:56":                         "choose --default lab/1",
		"generations -config .cache/demo/ravenboot.toml": "lab/2 ",
	}
	l := lab.New(t, 1)
	server := l.Start(l.Namespace, "ravenboot", filepath.Join(dir, "bin/ravenboot"), "serve", "-config", filepath.Join(dir, ".cache/demo/ravenboot.toml"))
	server.ExpectLog(patience, "dhcp off")
	tried := 0
	for line := range strings.Lines(printed) {
		command, isOne := strings.CutPrefix(strings.TrimRight(line, "\n"), "  ")
		if !isOne {
			continue
		}
		tried++
		var out, log bytes.Buffer
		sh := exec.Command("sh", "-c", command)
		sh.Dir, sh.Stdout, sh.Stderr = dir, &out, &log
		if err := l.Do(sh.Run); err != nil {
			t.Errorf("%s: %v\n%s", command, err, &log)
		}
		for end, text := range want {
			if strings.HasSuffix(command, end) {
				delete(want, end)
				if !strings.Contains(out.String(), text) || out.String() == "0\n" {
					t.Errorf("%s printed no %q:\n%s", command, text, &out)
				}
			}
		}
	}
	if len(want) > 0 || tried < 7 {
		t.Errorf("of the lines to try, %d were printed; missing %v", tried, want)
	}
}

// terminal is a program in a pseudo terminal, of script(1).
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	keys io.Writer
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

// Write takes what the terminal shows.
func (x *terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.Write(p)
}

// escapes are what paints a screen (ECMA-48).
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

func (x *terminal) screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return escapes.ReplaceAllString(x.text.String(), "\n")
}

func inTerminal(t *testing.T, dir, command string) *terminal {
	t.Helper()
	x := &terminal{t: t, done: make(chan struct{})}
	x.cmd = exec.Command(lab.Tool(t, "script"), "--quiet", "--return", "--command", command, "/dev/null")
	x.cmd.Dir, x.cmd.Stdout, x.cmd.Stderr = dir, x, x
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // script(1) ends its child, too
	keys, err := x.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	x.keys = keys
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = x.cmd.Wait() // the state says
		close(x.done)
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Signal(syscall.SIGTERM)
		<-x.done
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", x.screen())
		}
	})
	return x
}

func (x *terminal) expect(pattern string, patience time.Duration) {
	x.t.Helper()
	want := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); !want.MatchString(x.screen()); time.Sleep(100 * time.Millisecond) {
		select {
		case <-x.done:
			if !want.MatchString(x.screen()) {
				x.t.Fatalf("it ended without %s", pattern)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("%v without %s", patience, pattern)
		}
	}
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.keys, keys); err != nil {
		x.t.Fatal(err)
	}
}

// TestLab sits before `make lab`: the menu comes, the machine boots what its
// host's default says, and Ctrl-a x ends it all.
func TestLab(t *testing.T) {
	lab.Tool(t, "qemu-system-x86_64")
	dir, _ := tree(t)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	x := inTerminal(t, dir, fmt.Sprintf("%s/as-root.sh %[1]s/lab.sh bin/ravenboot .cache/demo", here))
	x.expect("Ctrl-a x ends the machine", patience)
	x.expect(`lab 2 .*Demonstration 2`, bootTime)
	x.expect(`Power off`, patience)
	x.expect(`It was given:\s+init=/nix/store/\S+-demo-1/init .*ravenboot.url=http://192.0.2.10\s`, bootTime)
	x.press("\x01x")
	x.expect(`the server's log: \S+/lab.log`, patience)
	select {
	case <-x.done:
	case <-time.After(patience):
		t.Fatal("the lab didn't end")
	}
	if code := x.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	log, err := os.ReadFile(filepath.Join(dir, ".cache/demo/lab.log"))
	if err != nil || !strings.Contains(string(log), `"msg":"stopped"`) {
		t.Errorf("the server didn't stop in order: %v\n%s", err, log)
	}
}
