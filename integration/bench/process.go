package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bench is one run: its directory and its namespaces.
type bench struct {
	options
	self   string // this program, for its helpers
	dir    string
	spaces []string
	next   int // number of the next directory
}

func newBench(o options) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if o.ravenboot, err = filepath.Abs(o.ravenboot); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ravenboot-bench")
	return &bench{options: o, self: self, dir: dir}, err
}

func (b *bench) close() {
	for _, name := range b.spaces {
		_ = exec.Command("ip", "netns", "delete", name).Run()
	}
	_ = os.RemoveAll(b.dir)
}

// subdir is a new directory of the run.
func (b *bench) subdir() string {
	b.next++
	dir := filepath.Join(b.dir, strconv.Itoa(b.next))
	_ = os.Mkdir(dir, 0o755)
	return dir
}

// write makes a file in a directory of the run.
func write(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// process is a server under measurement, with its children.
type process struct {
	*exec.Cmd
	log  string // path of what it prints: a file, as for a service
	done chan error
}

// start runs a server, in a namespace if that is not "".
func (b *bench) start(space string, argv ...string) (*process, error) {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("%w; `make packages-bench` installs the peers", err)
	}
	if space != "" {
		argv = append([]string{"ip", "netns", "exec", space}, argv...)
	}
	log, err := os.Create(filepath.Join(b.subdir(), "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), log: log.Name(), done: make(chan error, 1)}
	p.Stdout, p.Stderr = log, log
	p.Env = append(os.Environ(), "KEA_LOCKFILE_DIR=none", "KEA_PIDFILE_DIR="+b.dir)
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.Wait() }()
	return p, nil
}

// patience is how long a server may take to come up or to stop.
const patience = 20 * time.Second

// stop ends the server and its children.
func (p *process) stop() {
	_ = syscall.Kill(-p.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// until waits for a condition; a server that ends meanwhile is an error.
func (p *process) until(holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("%s ended: %v\n%s", p.Args[0], err, p.tail())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v", p.Args[0], patience)
		}
	}
	return nil
}

// tail is the end of what the server has printed.
func (p *process) tail() string {
	const most = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// listening waits until a TCP port takes connections.
func (p *process) listening(addr string) error {
	return p.until(func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// freePort is a TCP port of loopback that nobody has.
func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// usage is what a server and its children have used.
type usage struct {
	cpu    time.Duration
	memory float64 // MiB, the peaks of all
}

// ticks is the unit of /proc/PID/stat: USER_HZ, 100 on every architecture that
// Go runs on.
const ticks = time.Second / 100

func (p *process) usage() (usage, error) {
	var u usage
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return u, err
	}
	found := false
	for _, e := range entries {
		if stat, err := os.ReadFile("/proc/" + e.Name() + "/stat"); err == nil {
			fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
			if len(fields) < 13 || fields[2] != strconv.Itoa(p.Process.Pid) { // process group
				continue
			}
			found = true
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			u.cpu += time.Duration(user+system) * ticks
			u.memory += peakMemory(e.Name())
		}
	}
	if !found {
		return u, errors.New("the server is gone:\n" + p.tail())
	}
	return u, nil
}

// peakMemory is a process's VmHWM in MiB.
func peakMemory(pid string) float64 {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024
		}
	}
	return 0
}

// measure runs a load of n units against the server.
func (p *process) measure(load func() (n int, took time.Duration, err error)) (sample, error) {
	before, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	n, took, err := load()
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, p.tail())
	}
	after, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	return sample{
		rate:   float64(n) / took.Seconds(),
		cpu:    (after.cpu - before.cpu).Seconds() / float64(n),
		memory: after.memory,
	}, nil
}
