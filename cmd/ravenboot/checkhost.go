package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ravenboot/internal/config"
)

func (f *findings) checkInterfaces(cfg *config.Config) {
	for _, name := range cfg.Server.Interfaces {
		f.checkInterface(cfg, name)
	}
	if len(cfg.Server.Interfaces) > 0 || cfg.DHCP.Mode == config.ModeOff {
		return
	}
	names := interfaceNames(net.FlagUp | net.FlagBroadcast)
	if len(names) == 0 {
		f.fail("interfaces", "none is up and has an IPv4 address, so that there is nowhere to answer DHCP; name one in [server] interface")
		return
	}
	f.ok("interfaces", "DHCP on every one that is up: %s; [server] interface narrows it down", strings.Join(names, ", "))
}

func (f *findings) checkInterface(cfg *config.Config, name string) {
	subject := "interface " + name
	i, err := net.InterfaceByName(name)
	if err != nil {
		f.fail(subject, "there is none of this name; there are %s", strings.Join(interfaceNames(0), ", "))
		return
	}
	addrs := ipv4Of(i)
	switch {
	case i.Flags&net.FlagUp == 0:
		f.fail(subject, "it is down; run: ip link set %s up", name)
	case len(addrs) == 0:
		f.fail(subject, "it has no IPv4 address; give it one, such as: ip address add 192.0.2.10/24 dev %s", name)
	case cfg.DHCP.Mode == config.ModeServer && !inSubnet(cfg, addrs):
		f.warn(subject, "no [[dhcp.subnet]] has %v: machines here get no address, unless a relay sends them", addrs[0])
	default:
		f.ok(subject, "up, %v", addrs[0])
	}
}

// interfaceNames lists the interfaces with an IPv4 address that have the flags.
func interfaceNames(flags net.Flags) []string {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for i := range all {
		if all[i].Flags&flags == flags && (flags == 0 || len(ipv4Of(&all[i])) > 0) {
			names = append(names, all[i].Name)
		}
	}
	return names
}

func ipv4Of(i *net.Interface) []netip.Prefix {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var all []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			all = append(all, p)
		}
	}
	return all
}

func inSubnet(cfg *config.Config, addrs []netip.Prefix) bool {
	for _, subnet := range cfg.DHCP.Subnets {
		for _, a := range addrs {
			if subnet.Network.Contains(a.Addr()) {
				return true
			}
		}
	}
	return false
}

// checkStateDir looks for what only leases can't do without: what machines
// report is kept in memory otherwise.
func (f *findings) checkStateDir(cfg *config.Config) {
	complain := f.warn
	switch {
	case cfg.DHCP.Mode == config.ModeServer:
		complain = f.fail
	case cfg.HTTP.Listen == "":
		return
	}
	dir := cfg.Server.StateDir
	good := dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		good, dir = dir+" will be made", nearest(dir)
	case err != nil:
		complain("state_dir", "%v", err)
		return
	case !info.IsDir():
		complain("state_dir", "%s is no directory; leases and machines' reports are kept in one", dir)
		return
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		complain("state_dir", "%s: %v; this user must be able to write there, or [server] state_dir must name another directory", dir, err)
		return
	}
	f.ok("state_dir", "%s", good)
}

// nearest is the part of a path that there is.
func nearest(dir string) string {
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil {
			return parent
		}
	}
	return dir
}
