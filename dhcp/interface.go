package dhcp

import (
	"fmt"
	"net"
	"net/netip"

	"ravenboot/internal/machine"
)

// Interface is a network interface with the server's addresses on it.
type Interface struct {
	Name  string
	Index int
	MAC   machine.MAC    // zero where it has none
	Addrs []netip.Prefix // IPv4, in the kernel's order
}

// interfaceByName reads an interface's state from the kernel.
func interfaceByName(name string) (*Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("dhcp: interface %s: %w", name, err)
	}
	return describeInterface(i)
}

func describeInterface(i *net.Interface) (*Interface, error) {
	addrs, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("dhcp: addresses of interface %s: %w", i.Name, err)
	}
	in := &Interface{Name: i.Name, Index: i.Index}
	if len(i.HardwareAddr) == len(in.MAC) {
		in.MAC = machine.MAC(i.HardwareAddr)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			in.Addrs = append(in.Addrs, p)
		}
	}
	return in, nil
}

// everyInterface is what is listened on when the configuration names none: what
// machines can broadcast on, and the server has an address on.
func everyInterface() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("dhcp: list of interfaces: %w", err)
	}
	var names []string
	for i := range all {
		const want = net.FlagUp | net.FlagBroadcast
		if all[i].Flags&(want|net.FlagLoopback) != want {
			continue
		}
		if in, err := describeInterface(&all[i]); err == nil && len(in.Addrs) > 0 {
			names = append(names, in.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("dhcp: no Ethernet interface is up and has an IPv4 address; set [server] interface")
	}
	return names, nil
}

// has reports whether a is the server's own address here.
func (in *Interface) has(a netip.Addr) bool {
	for _, p := range in.Addrs {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// toward is the server's address in the network that holds a, else its first;
// invalid if it has none.
func (in *Interface) toward(a netip.Addr) netip.Addr {
	for _, p := range in.Addrs {
		if p.Contains(a) {
			return p.Addr()
		}
	}
	if len(in.Addrs) > 0 {
		return in.Addrs[0].Addr()
	}
	return netip.Addr{}
}

// isBroadcast reports whether a reaches everybody on the interface.
func (in *Interface) isBroadcast(a netip.Addr) bool {
	if a == limitedBroadcast {
		return true
	}
	for _, p := range in.Addrs {
		if p.Bits() < 31 && a == lastOf(p) {
			return true
		}
	}
	return false
}

// limitedBroadcast is 255.255.255.255.
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// lastOf is the broadcast address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	a, mask := p.Addr().As4(), maskOf(p)
	for i := range a {
		a[i] |= ^mask[i]
	}
	return netip.AddrFrom4(a)
}

// maskOf is a network's subnet mask.
func maskOf(p netip.Prefix) [4]byte { return [4]byte(net.CIDRMask(p.Bits(), 32)) }
