package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// owner is a program that has a socket.
type owner struct {
	pid  int    // 0 where only root may know
	name string // "" likewise
}

func (o *owner) String() string {
	if o.name == "" {
		return "a program that only root can name"
	}
	return fmt.Sprintf("%s (process %d)", o.name, o.pid)
}

// friendly are the programs that hold ravenboot's ports for it: another
// ravenboot, and systemd with its socket units.
func (o *owner) friendly() bool { return o.name == "ravenboot" || o.name == "systemd" }

// foreign is the first of some owners that is in ravenboot's way, or nil.
func foreign(owners []owner) *owner {
	for i := range owners {
		if !owners[i].friendly() {
			return &owners[i]
		}
	}
	return nil
}

// ownersOf lists who listens on a port, "tcp" or "udp", on any address of the
// interfaces with these names; none means of any interface.
func ownersOf(network string, port int, interfaces ...string) []owner {
	inodes := listeners(network, port, interfaces)
	if len(inodes) == 0 {
		return nil
	}
	var owners []owner
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if err == nil && isSocket && inodes[strings.TrimSuffix(inode, "]")] {
			owners = addOwner(owners, link)
		}
	}
	if len(owners) == 0 {
		owners = []owner{{}}
	}
	return owners
}

// addOwner adds the process whose descriptor a link is.
func addOwner(owners []owner, link string) []owner {
	process := filepath.Dir(filepath.Dir(link))
	pid, err := strconv.Atoi(filepath.Base(process))
	if err != nil || len(owners) > 0 && owners[len(owners)-1].pid == pid {
		return owners
	}
	name, err := os.ReadFile(process + "/comm")
	if err != nil { // it has just ended
		return owners
	}
	return append(owners, owner{pid, strings.TrimSpace(string(name))})
}

// listeners asks the kernel (sock_diag(7)) for the inodes of the sockets that
// wait for somebody on a port. A kernel that doesn't tell has none.
func listeners(network string, port int, interfaces []string) map[string]bool {
	const tcpListen = 10 // TCP_LISTEN
	list := netlink.SocketDiagUDP
	if network == "tcp" {
		list = netlink.SocketDiagTCP
	}
	inodes := make(map[string]bool)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := list(family)
		if err != nil {
			continue
		}
		for _, s := range sockets {
			waits := network != "tcp" || s.State == tcpListen
			if waits && int(s.ID.SourcePort) == port && isOn(s.ID.Interface, interfaces) {
				inodes[strconv.FormatUint(uint64(s.INode), 10)] = true
			}
		}
	}
	return inodes
}

// isOn reports whether a socket hears one of the interfaces. Bound to another,
// as libvirt's dnsmasq is to its bridge, it is in nobody's way.
func isOn(index uint32, interfaces []string) bool {
	if index == 0 || len(interfaces) == 0 {
		return true
	}
	i, err := net.InterfaceByIndex(int(index))
	return err == nil && slices.Contains(interfaces, i.Name)
}
