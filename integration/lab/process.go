package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// logLines is how much of a process's log a failed test shows.
const logLines = 60

// Process is a program that runs inside a namespace until the test ends.
type Process struct {
	Name string

	l    *Lab
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
}

// Start runs a program inside the namespace, as the process id that Stop and
// Kill act on. Standard output and error go to a log that a failed test shows.
func (l *Lab) Start(n *Namespace, name string, argv ...string) *Process {
	l.t.Helper()
	p := &Process{Name: name, l: l, done: make(chan struct{}), log: filepath.Join(l.dir, name+".log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()

	p.cmd = exec.Command(Tool(l.t, argv[0]), argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = l.dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.Do(p.cmd.Start); err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	go func() {
		// Not the exit status but the log says why a process ended.
		_ = p.cmd.Wait()
		close(p.done)
	}()
	l.t.Cleanup(func() {
		p.Stop()
		l.keep(p.Name+".log", []byte(p.Log()))
		if l.t.Failed() {
			l.t.Logf("%s, pid %d, %s; its log ends:\n%s", name, p.cmd.Process.Pid, p.cmd.ProcessState, lastLines(p.Log()))
		}
	})
	return p
}

// Stop asks the process to end, and makes it end after ten seconds.
func (p *Process) Stop() {
	p.l.t.Helper()
	if p.signal(syscall.SIGTERM, 10*time.Second) {
		return
	}
	p.l.t.Errorf("%s did not stop within 10 s of SIGTERM", p.Name)
	p.Kill()
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	p.l.t.Helper()
	if !p.signal(syscall.SIGKILL, 10*time.Second) {
		p.l.t.Errorf("%s survived SIGKILL for 10 s", p.Name)
	}
}

func (p *Process) signal(sig os.Signal, patience time.Duration) (ended bool) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.l.t.Errorf("%s: %v", p.Name, err)
	}
	return p.wait(patience)
}

func (p *Process) wait(patience time.Duration) (ended bool) {
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
		return false
	}
}

// Ended reports whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is what the process has printed so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(text)
}

// ExpectLog waits for a line of the log that holds every one of the words.
func (p *Process) ExpectLog(timeout time.Duration, words ...string) string {
	p.l.t.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
		for line := range strings.Lines(p.Log()) {
			if containsAll(line, words) {
				return line
			}
		}
		if time.Now().After(deadline) {
			p.l.t.Fatalf("%s logged no line with %q within %v", p.Name, words, timeout)
		}
		if p.Ended() {
			p.l.t.Fatalf("%s ended without a line with %q", p.Name, words)
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-logLines):], "\n")
}

// Run runs a program to its end, outside any namespace of the lab, and returns
// its standard output.
func Run(dir string, env []string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, log.String())
	}
	return out.String(), nil
}
