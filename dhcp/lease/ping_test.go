package lease

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

var bg = context.Background()

// pinger names what the test binary, started again by TestPing in a network
// namespace of its own, may use.
const pinger = "RAVENBOOT_TEST_PINGER"

// TestPing works as root and, where the kernel has user namespaces for
// everybody, as anybody.
func TestPing(t *testing.T) {
	for _, sockets := range []string{"unprivileged", "raw", "none"} {
		t.Run(sockets, func(t *testing.T) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), pinger+"="+sockets)
			child.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			}
			if sockets == "none" { // no capability in the namespace of the network
				child.SysProcAttr.UidMappings[0].ContainerID = 1000
				child.SysProcAttr.GidMappings[0].ContainerID = 1000
			}
			out, err := child.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), "PASS\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func pingInNamespace() {
	sockets := os.Getenv(pinger)
	if sockets == "none" {
		pingWithoutSocket()
	} else {
		pingOwnAddress(sockets)
	}
	fmt.Println("PASS")
}

func pingWithoutSocket() {
	var logged bytes.Buffer
	p := NewPing(slog.New(slog.NewTextHandler(&logged, nil)))
	defer p.Close()
	check(!p.InUse(bg, ip("127.0.0.1")), "answered without a socket")
	check(strings.Contains(logged.String(), "CAP_NET_RAW"), logged.String())
}

func pingOwnAddress(sockets string) {
	if sockets == "unprivileged" {
		must(os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0))
	}
	network := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lab"}, PeerName: "wire"}
	must(netlink.LinkAdd(network))
	address, err := netlink.ParseAddr("192.0.2.1/24")
	must(err)
	must(netlink.AddrAdd(network, address))
	must(netlink.LinkSetUp(network))
	wire, err := netlink.LinkByName("wire")
	must(err)
	must(netlink.LinkSetUp(wire))
	lo, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(lo)) // the way to the own address

	var logged bytes.Buffer
	p := NewPing(slog.New(slog.NewTextHandler(&logged, nil)))
	check(p.raw == (sockets == "raw"), "another kind of socket than is permitted")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { check(pingFor(p, "192.0.2.1"), "192.0.2.1 is in use") })
		all.Go(func() { check(!pingFor(p, "192.0.2.2"), "nobody is at 192.0.2.2") })
		all.Go(func() { check(!pingFor(p, "203.0.113.1"), "there is no way to 203.0.113.1") })
	}
	all.Wait()
	check(len(p.waiting) == 0, "an echo is still awaited")
	check(strings.Count(logged.String(), "echo not sent") == 1, logged.String())
	must(p.Close())
	check(!pingFor(p, "192.0.2.1"), "answered on a closed socket")
}

func pingFor(p *Ping, addr string) bool {
	ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
	defer cancel()
	return p.InUse(ctx, netip.MustParseAddr(addr))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(ok bool, complaint string) {
	if !ok {
		panic(complaint)
	}
}
