package lab

import "time"

// Dnsmasq starts a real dnsmasq as the network's DHCP server, in the namespace
// n, with options beyond those that keep it to DHCP.
func (l *Lab) Dnsmasq(n *Namespace, options ...string) *Process {
	l.t.Helper()
	p := l.Start(n, "dnsmasq", append([]string{
		"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--log-dhcp",
		"--dhcp-leasefile=" + l.dir + "/dnsmasq.leases", "--pid-file=",
		// It starts as root, real or of a user namespace; the latter has no
		// other user to become.
		"--user=root", "--group=root",
	}, options...)...)
	p.ExpectLog(10*time.Second, "DHCP, IP range")
	return p
}

// Relay starts ISC's dhcrelay in the namespace n, from the interface that
// faces the machines to the server.
func (l *Lab) Relay(n *Namespace, machines, network string) *Process {
	l.t.Helper()
	p := l.Start(n, "dhcrelay", "dhcrelay", "-4", "-d", "--no-pid", "-a", "-id", machines, "-iu", network, Address)
	p.ExpectLog(10*time.Second, "Sending on", "Socket/fallback")
	return p
}

// Capture keeps every packet of an interface among the artifacts, if there
// are any to be kept.
func (l *Lab) Capture(n *Namespace, iface string) {
	l.t.Helper()
	if l.artifacts == "" {
		return
	}
	p := l.Start(n, "tcpdump-"+n.Name, "tcpdump", "-Z", "root", "-U", "-n", "-s", "0", "-i", iface,
		"-w", l.artifacts+"/"+n.Name+".pcap")
	p.ExpectLog(10*time.Second, "listening on")
}
