package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace. It belongs to an operating-system thread
// instead of a name under /run/netns, so there is nothing to remove, and an
// ordinary user's user namespace needs no writable /run.
type Namespace struct {
	Name string

	t      testing.TB
	handle netns.NsHandle
	work   chan func()
}

// NewNamespace makes one more namespace beside the server's own, for a relay or
// another DHCP server. Its loopback interface is up.
func (l *Lab) NewNamespace(name string) *Namespace {
	l.t.Helper()
	n := &Namespace{Name: name, t: l.t, work: make(chan func())}
	made := make(chan error)
	go n.serve(made)
	if err := <-made; err != nil {
		l.t.Fatalf("network namespace: %v: whole boots run as root, or as an ordinary user under scripts/as-root.sh", err)
	}
	l.t.Cleanup(func() {
		close(n.work)
		n.handle.Close()
	})
	n.must("lo up", n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	}))
	return n
}

// serve runs on the thread that is inside the namespace. The thread is never
// unlocked: it ends with the goroutine, so no other goroutine inherits it.
func (n *Namespace) serve(made chan<- error) {
	runtime.LockOSThread()
	handle, err := netns.New()
	n.handle = handle
	made <- err
	if err != nil {
		return
	}
	for f := range n.work {
		f()
	}
}

// Do runs f inside the namespace. Sockets and processes that f makes stay
// there; f must not block for long, because Do runs one at a time.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error)
	n.work <- func() { result <- f() }
	return <-result
}

func (n *Namespace) must(what string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.Name, what, err)
	}
}

// Bridge adds an Ethernet segment, with an address of the namespace on it
// unless cidr is empty.
func (n *Namespace) Bridge(name, cidr string) {
	n.t.Helper()
	n.must("bridge "+name, n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		// A bridge takes the lowest address of its ports unless it has one of
		// its own; a server whose address changes confuses every ARP table.
		attrs.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, name[len(name)-1]}
		noSnooping := false
		bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &noSnooping}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		return up(bridge, cidr)
	}))
}

// Tap adds a port for a machine to the segment bridge.
func (n *Namespace) Tap(name, bridge string) {
	n.t.Helper()
	n.must("tap "+name, n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}
		if err := netlink.LinkAdd(tap); err != nil {
			return err
		}
		return plug(tap, bridge)
	}))
}

// Join lays a cable from a port of bridge to an interface of the other
// namespace, which gets the address cidr there (none if empty).
func (n *Namespace) Join(bridge string, other *Namespace, name, cidr string) {
	n.t.Helper()
	n.must("cable "+name, n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "to-" + name
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		peer, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetNsFd(peer, int(other.handle)); err != nil {
			return err
		}
		return plug(veth, bridge)
	}))
	other.must("cable "+name, other.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return up(link, cidr)
	}))
}

// Route sends packets for the network cidr to the gateway.
func (n *Namespace) Route(cidr, gateway string) {
	n.t.Helper()
	n.must("route "+cidr, n.Do(func() error {
		dst, err := netlink.ParseIPNet(cidr)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)})
	}))
}

// Forward turns the namespace into a router.
func (n *Namespace) Forward() {
	n.t.Helper()
	n.must("ip_forward", n.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	}))
}

// Client speaks HTTP from inside the namespace.
func (n *Namespace) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = n.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
}

func plug(link netlink.Link, bridge string) error {
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("segment %s: %w", bridge, err)
	}
	if err := netlink.LinkSetMaster(link, master); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func up(link netlink.Link, cidr string) error {
	if err := netlink.LinkSetUp(link); err != nil || cidr == "" {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, addr)
}

// openTap opens the network side of an existing tap, to carry its frames by
// hand. It must be called inside the namespace.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
