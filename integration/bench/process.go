package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// bench is one run: its directory and its namespaces.
type bench struct {
	options
	ctx    context.Context
	self   string // this program, for its helpers
	dir    string
	spaces []string
	next   int // number of the next directory

	scratch *scratchStore // nil until a part needs it
}

func newBench(ctx context.Context, o options) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if o.ravenboot, err = filepath.Abs(o.ravenboot); err != nil {
		return nil, err
	}
	if o.client, err = filepath.Abs(o.client); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ravenboot-bench")
	return &bench{options: o, ctx: ctx, self: self, dir: dir}, err
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
	log    string  // path of what it prints: a file, as for a service
	cgroup *cgroup // nil where this user can make none
	done   chan error
}

// start runs a server, in a namespace if that is not "".
func (b *bench) start(space string, argv ...string) (*process, error) {
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
	if group, err := newCgroup(fmt.Sprintf("rbbench-%d-%d", os.Getpid(), b.next)); err == nil {
		p.cgroup = group
		p.SysProcAttr.UseCgroupFD, p.SysProcAttr.CgroupFD = true, int(group.fd.Fd())
	}
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
	if p.cgroup != nil {
		defer p.cgroup.remove()
	}
	_ = syscall.Kill(-p.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// until tries until it works; a server that ends meanwhile is an error.
func (p *process) until(try func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		trouble := try()
		if trouble == nil {
			return nil
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("%s ended: %v\n%s", p, err, p.tail())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w\n%s", p, patience, trouble, p.tail())
		}
	}
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
	return p.until(func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
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
