package dhcp

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// patience is how long tests wait for what must happen, in real time.
const patience = 30 * time.Second

// namespace is a network namespace of the test's own. It is an operating-system
// thread's, has no name, and ends with the test.
type namespace struct {
	t      testing.TB
	handle netns.NsHandle
	work   chan func()
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{t: t, work: make(chan func())}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with its goroutine.
		runtime.LockOSThread()
		handle, err := netns.New()
		n.handle = handle
		made <- err
		for f := range n.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("network namespace: %v: run the tests as root, or in `unshare -Urnm`", err)
	}
	t.Cleanup(func() {
		close(n.work)
		n.handle.Close()
	})
	n.do(func() error { return setUp("lo", "") })
	return n
}

// do runs f inside the namespace.
func (n *namespace) do(f func() error) {
	n.t.Helper()
	result := make(chan error)
	n.work <- func() { result <- f() }
	if err := <-result; err != nil {
		n.t.Fatal(err)
	}
}

func setUp(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil || cidr == "" {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, addr)
}

// segment adds an Ethernet segment with an address of the namespace on it.
func (n *namespace) segment(name, cidr string) {
	n.t.Helper()
	n.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = name, net.HardwareAddr{2, 0, 0, 0, 1, name[len(name)-1]}
		noSnooping := false
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &noSnooping}); err != nil {
			return err
		}
		return setUp(name, cidr)
	})
}

// cable plugs an interface of the other namespace into a segment of this one.
func (n *namespace) cable(segment string, other *namespace, name, cidr string, mac net.HardwareAddr) {
	n.t.Helper()
	n.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "to-" + name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerHardwareAddr: mac}); err != nil {
			return err
		}
		peer, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetNsFd(peer, int(other.handle)); err != nil {
			return err
		}
		here, err := netlink.LinkByName(attrs.Name)
		if err != nil {
			return err
		}
		bridge, err := netlink.LinkByName(segment)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(here, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(here)
	})
	other.do(func() error { return setUp(name, cidr) })
}

// route sends packets for a network to a gateway.
func (n *namespace) route(network, gateway string) {
	n.t.Helper()
	n.do(func() error {
		dst, err := netlink.ParseIPNet(network)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)})
	})
}

// serve runs a server inside the namespace until the test ends.
func (n *namespace) serve(s *Server) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.lookUp = func(name string) (in *Interface, err error) {
		n.do(func() error {
			in, err = interfaceByName(name)
			return nil
		})
		return in, err
	}
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			ended <- err
			return
		}
		ended <- s.Run(ctx)
	}()
	select {
	case <-s.Ready():
	case err := <-ended:
		n.t.Fatalf("%v: %v", s, err)
	}
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
}

// process is a program that runs inside a namespace.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
}

// buffer is a bytes.Buffer that a process writes to while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a program until the test ends. A test that needs a program which
// isn't there fails.
func (n *namespace) start(pkg string, argv ...string) *process {
	n.t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + argv[0])
	}
	if err != nil {
		n.t.Fatalf("%v; apt-get install %s", err, pkg)
	}
	p := &process{t: n.t, cmd: exec.Command(path, argv[1:]...), log: &buffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = p.log, p.log, n.t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.do(p.cmd.Start)
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	n.t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(patience):
			p.signal(syscall.SIGKILL)
			<-p.done
		}
		if n.t.Failed() {
			n.t.Logf("%s:\n%s", strings.Join(argv, " "), p.log)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// waitFor waits until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// script writes a shell script, and returns its path.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
