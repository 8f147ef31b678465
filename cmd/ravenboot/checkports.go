package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"ravenboot/internal/config"
)

// checkPorts opens what serve would open, and closes it again.
func (f *findings) checkPorts(cfg *config.Config) {
	for _, s := range []struct{ service, listen string }{{"http", cfg.HTTP.Listen}, {"admin", cfg.Admin.Listen}} {
		if s.listen != "" {
			l, err := net.Listen("tcp", s.listen)
			f.notePort(s.service, "tcp", s.listen, l, err)
		}
	}
	if cfg.TFTP.Listen != "" {
		l, err := net.ListenPacket("udp", cfg.TFTP.Listen)
		f.notePort("tftp", "udp", cfg.TFTP.Listen, l, err)
	}
}

func (f *findings) notePort(service, network, listen string, l io.Closer, err error) {
	switch {
	case err == nil:
		f.ok(service, "%s is free", listen)
		l.Close()
	case errors.Is(err, os.ErrPermission):
		f.fail(service, "%v; run it as root or with CAP_NET_BIND_SERVICE", err)
	case errors.Is(err, syscall.EADDRINUSE):
		f.noteTaken(service, listen, ownersOf(network, portOf(listen)))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.fail(service, "%s: no interface has this address; `ip address` shows them", listen)
	default:
		f.fail(service, "%v", err)
	}
}

// noteTaken tells a ravenboot that runs from a server that is in its way.
func (f *findings) noteTaken(service, listen string, owners []owner) {
	switch who := foreign(owners); {
	case len(owners) == 0:
		f.warn(service, "%s is taken; as root, check says by whom: a ravenboot that runs is fine, another server must be stopped", listen)
	case who != nil:
		f.fail(service, "%s is taken by %v; stop it, or write another port in [%s] listen", listen, who, service)
	default:
		f.ok(service, "%s is held by %v", listen, &owners[0])
	}
}

// checkDHCPPorts looks for other DHCP and PXE servers on this machine. Opening
// the ports isn't enough of a test: several programs can, if all allow it, and
// then each gets some of the packets.
func (f *findings) checkDHCPPorts(cfg *config.Config) {
	if cfg.DHCP.Mode == config.ModeOff {
		return
	}
	for _, port := range []int{cfg.DHCP.Port, cfg.DHCP.ProxyPort} {
		f.checkDHCPPort(cfg, port)
	}
	// serve needs it for frames and echoes, and does without.
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
		unix.Close(fd)
	} else {
		f.warn("dhcp", "no raw sockets (%v): replies to machines without an address are broadcast, and addresses are offered unprobed; give it CAP_NET_RAW", err)
	}
}

func (f *findings) checkDHCPPort(cfg *config.Config, port int) {
	subject := fmt.Sprintf("dhcp port %d", port)
	owners := ownersOf("udp", port, cfg.Server.Interfaces...)
	if len(owners) == 0 {
		f.noteDHCPPort(subject, openDHCPPort(cfg, port))
		return
	}
	switch who := foreign(owners); {
	case who == nil:
		f.ok(subject, "held by %v", &owners[0])
	case port == cfg.DHCP.ProxyPort:
		f.fail(subject, "taken by %v, another PXE server; machines would ask one or the other: stop it", who)
	case cfg.DHCP.Mode == config.ModeServer:
		f.fail(subject, `taken by %v; two DHCP servers give one address to two machines: stop it, or set [dhcp] mode = "proxy" or "off"`, who)
	case openDHCPPort(cfg, port) != nil:
		f.fail(subject, `taken by %v, which doesn't share it; set [dhcp] mode = "off" and have it hand out the loader (docs/dhcp-servers.md), or move one of the two to another machine`, who)
	default:
		f.warn(subject, `shared with %v: a machine that renews its address is heard by one of the two only; set [dhcp] mode = "off" and have it hand out the loader (docs/dhcp-servers.md), or move one of the two to another machine`, who)
	}
}

func (f *findings) noteDHCPPort(subject string, err error) {
	switch {
	case err == nil:
		f.ok(subject, "free")
	case errors.Is(err, os.ErrPermission):
		f.fail(subject, "%v; run it as root or with CAP_NET_BIND_SERVICE", err)
	default:
		f.fail(subject, "%v", err)
	}
}

// openDHCPPort tries whether the port can be had as package dhcp wants it.
func openDHCPPort(cfg *config.Config, port int) error {
	share := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if failed == nil && len(cfg.Server.Interfaces) > 0 {
				failed = unix.BindToDevice(int(fd), cfg.Server.Interfaces[0])
			}
		})
		return errors.Join(err, failed)
	}}
	c, err := share.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	return c.Close()
}
