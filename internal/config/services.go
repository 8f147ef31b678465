package config

import (
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
)

func (p *parser) server() {
	s, c := &p.raw.Server, &p.cfg.Server
	if s.Address.set {
		c.Address, _ = p.addr(s.Address)
	}
	names := s.Interface
	if s.Interfaces.set {
		if s.Interface.set {
			p.wrong(s.Interfaces.place, "interface is given too, in line %d; keep one of the two", s.Interface.line)
		}
		names = s.Interfaces
	}
	before := make(seen[string])
	for _, item := range names.items {
		p.interfaceName(item)
		if _, yes := before.twice(item.value, item.place); yes {
			p.wrong(item.place, "%s is named twice; remove one", quoted(item.value))
			continue
		}
		c.Interfaces = append(c.Interfaces, item.value)
	}
	if s.StateDir.set {
		c.StateDir = p.path(s.StateDir)
	}
}

// interfaceName checks what Linux takes for a name (dev_valid_name): up to 15
// bytes without slash, colon and blank.
func (p *parser) interfaceName(t text) {
	if n := t.value; n == "" || n == "." || n == ".." || len(n) > 15 || strings.ContainsAny(n, "/: ") {
		p.wrong(t.place, "%s is no interface name; `ip link` lists them", quoted(n))
	}
}

// addr reads an IPv4 address. The boot side speaks IPv4 only: DHCPv4 hands out
// its addresses.
func (p *parser) addr(t text) (netip.Addr, bool) {
	a, err := netip.ParseAddr(t.value)
	switch {
	case err != nil || !a.Is4():
		p.wrong(t.place, "%s is no IPv4 address; write it as 192.0.2.10", quoted(t.value))
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		p.wrong(t.place, "%s is no single machine's address; write it as 192.0.2.10", t.value)
	default:
		return a, true
	}
	return netip.Addr{}, false
}

func (p *parser) tftp() {
	t, c := &p.raw.TFTP, &p.cfg.TFTP
	p.listen(&c.Listen, t.Listen)
	p.number(&c.BlockSize, t.BlockSize, 512, 65464) // RFC 1350's size to RFC 2348's
	readFlag(&c.SinglePort, t.SinglePort)
	p.number(&c.MaxTransfers, t.MaxTransfers, 1, 65535)
	oneOf(p, &c.ScriptForLoader, t.ScriptForLoader, ScriptAuto, ScriptNever)
}

func (p *parser) http() {
	h, c := &p.raw.HTTP, &p.cfg.HTTP
	p.listen(&c.Listen, h.Listen)
	p.number(&c.MaxTransfers, h.MaxTransfers, 1, 65535)
	p.listen(&p.cfg.Admin.Listen, p.raw.Admin.Listen)
	for _, dir := range p.raw.Loaders.Dirs.items {
		p.cfg.Loaders.Dirs = append(p.cfg.Loaders.Dirs, p.path(dir))
	}
}

func (p *parser) log() {
	level := strings.ToLower(p.cfg.Log.Level.String())
	oneOf(p, &level, p.raw.Log.Level, "debug", "info", "warn", "error")
	// Level is one of four that slog knows.
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err == nil {
		p.cfg.Log.Level = l
	}
	oneOf(p, &p.cfg.Log.Format, p.raw.Log.Format, LogAuto, LogText, LogJSON)
}

// listen reads HOST:PORT. Names are refused: a boot server must start while
// there is no DNS yet.
func (p *parser) listen(dst *string, t text) {
	if !t.set || t.value == "" {
		readText(dst, t)
		return
	}
	host, port, ok := splitListen(t.value)
	switch {
	case !ok:
		p.wrong(t.place, `%s is no address to listen on; write it as ":80", "192.0.2.10:80", or "" to turn the service off`, quoted(t.value))
	case host == "localhost":
		p.wrong(t.place, `%s has a name in it; write "127.0.0.1:%d"`, quoted(t.value), port)
	case host != "" && !isAddr(host):
		p.wrong(t.place, `%s has no IP address before the port; write it as ":%d" or "192.0.2.10:%[2]d"`, quoted(t.value), port)
	default:
		*dst = t.value
	}
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func splitListen(s string) (host string, port int, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", 0, false
	}
	host = s[:colon]
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		if host, ok = strings.CutSuffix(inner, "]"); !ok || host == "" {
			return "", 0, false
		}
	} else if strings.Contains(host, ":") {
		return "", 0, false
	}
	port, err := strconv.Atoi(s[colon+1:])
	digits := strings.Trim(s[colon+1:], "0123456789") == ""
	return host, port, err == nil && digits && port <= 65535
}

// portOf is the port in a valid listen address; 0 for a service that is off,
// or whose port the kernel picks.
func portOf(listen string) int {
	_, port, _ := splitListen(listen)
	return port
}

// services compares the services with each other.
func (p *parser) services() {
	r, c := p.raw, p.cfg
	if port := portOf(c.HTTP.Listen); port != 0 && port == portOf(c.Admin.Listen) && sameHost(c.HTTP.Listen, c.Admin.Listen) {
		p.wrong(r.Admin.Listen.place, "%s is the address of [http], too; give the admin side another port", quoted(c.Admin.Listen))
	}
	if port := portOf(c.TFTP.Listen); port != 0 && c.DHCP.Mode != ModeOff && (port == c.DHCP.Port || port == c.DHCP.ProxyPort) {
		p.wrong(r.TFTP.Listen.place, "UDP port %d is one of [dhcp]'s, too; give TFTP another port", port)
	}
	if host, _, _ := splitListen(c.Admin.Listen); c.Admin.Listen != "" && !isLoopback(host) {
		p.doubt(r.Admin.Listen.place, "%s can be reached from other machines, and asks nobody for a password; 127.0.0.1:9080 is safe", quoted(c.Admin.Listen))
	}
	if c.HTTP.Listen == "" {
		p.doubt(r.HTTP.Listen.place, `HTTP is off, so that no machine gets a script, a kernel or an initrd; write listen = ":80"`)
	}
	if c.TFTP.Listen == "" {
		p.doubt(r.TFTP.Listen.place, `TFTP is off, so that only UEFI HTTP Boot and iPXE in ROM can begin; write listen = ":69"`)
	}
	if len(c.Boot.Profiles) == 0 && len(c.Boot.Images) == 0 && len(r.Profile) == 0 && len(r.Image) == 0 {
		p.doubt(place{}, "no [[profile]] and no [[image]]: menus have only the local disk; add a [[profile]] with name and path")
	}
}

// sameHost reports whether two listeners get in each other's way.
func sameHost(a, b string) bool {
	hostA, _, _ := splitListen(a)
	hostB, _, _ := splitListen(b)
	return hostA == hostB || isAny(hostA) || isAny(hostB)
}

func isAny(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
