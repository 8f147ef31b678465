package dhcp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ravenboot/internal/boot"
)

// The real clients in these tests sit behind a cable to the server's segment,
// each in a namespace of its own.

// logOf sends a server's log to the test's, if that fails.
func logOf(t testing.TB) *slog.Logger {
	b := &buffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ravenboot:\n%s", b)
		}
	})
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// realServer is a server on a segment of its own, 192.0.2.10/24.
func realServer(t testing.TB, cfg Config, addresses Addresses) (*namespace, *Server) {
	t.Helper()
	return realServerOf(t, cfg, boot.Policy{}, addresses)
}

// realServerOf is realServer with more addresses, after the first.
func realServerOf(t testing.TB, cfg Config, policy boot.Policy, addresses Addresses, more ...string) (*namespace, *Server) {
	t.Helper()
	n := newNamespace(t)
	n.segment("lan0", "192.0.2.10/24")
	for _, addr := range more {
		n.do(func() error { return setUp("lan0", addr) })
	}
	cfg.Interfaces = []string{"lan0"}
	s, err := New(cfg, newDecider(policy), addresses, logOf(t))
	if err != nil {
		t.Fatal(err)
	}
	n.serve(s)
	return n, s
}

// soonRenewed has leases that are renewed while a test waits, but don't end.
func soonRenewed() *fakeAddresses {
	a := newAddresses()
	for i := range a.subnets {
		a.subnets[i].T1, a.subnets[i].T2 = 2*time.Second, 4*time.Second
	}
	return a
}

// dhclient starts ISC's client on an interface. It writes a line for each event.
func dhclient(t testing.TB, n *namespace, in string) (events func() string, release func()) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "events")
	hook := script(t, `echo "$reason $new_ip_address $new_subnet_mask $new_routers $new_dhcp_server_identifier $new_domain_name" >> `+log+`
case $reason in BOUND|RENEW|REBIND|REBOOT)
	ip addr replace $new_ip_address/$new_subnet_mask dev $interface
	test -z "$new_routers" || ip route replace default via $new_routers dev $interface;;
esac
`)
	conf := filepath.Join(dir, "dhclient.conf")
	if err := os.WriteFile(conf, []byte("initial-interval 1;\nbackoff-cutoff 2;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := []string{"dhclient", "-4", "-d", "-v", "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-sf", hook}
	n.start("isc-dhcp-client", append(argv, in)...)
	events = func() string {
		b, _ := os.ReadFile(log)
		return string(b)
	}
	return events, func() {
		p := n.start("isc-dhcp-client", append(argv, "-r", in)...)
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Fatal("dhclient -r did not end")
		}
	}
}

// dhclientLease is what dhclient's events say of a lease.
const dhclientLease = " 192.0.2.100 255.255.255.0 192.0.2.1 192.0.2.10 lab.example"

// TestDhclient has ISC's client bind, renew by unicast, and release.
func TestDhclient(t *testing.T) {
	addresses := soonRenewed()
	server, _ := realServer(t, testConfig(ModeServer), addresses)
	client := newNamespace(t)
	server.cable("lan0", client, "eth0", "", testMAC[:])
	events, release := dhclient(t, client, "eth0")
	for _, event := range []string{"BOUND", "RENEW"} {
		waitFor(t, event, func() bool { return strings.Contains(events(), event+dhclientLease) })
	}
	release()
	waitFor(t, "RELEASE", func() bool {
		addresses.mu.Lock()
		defer addresses.mu.Unlock()
		return len(addresses.released) == 1 && addresses.released[0] == must("192.0.2.100")
	})
}

// TestDhclientInSecondSubnet has ISC's client bind and rebind with an address of
// its host's in the second subnet of its segment.
func TestDhclientInSecondSubnet(t *testing.T) {
	cfg := testConfig(ModeServer)
	cfg.Address = must("192.0.2.77") // nobody answers there, so it broadcasts
	server, _ := realServerOf(t, cfg, fixedHost("198.51.100.50"), soonRenewed(), "198.51.100.10/24")
	client := newNamespace(t)
	server.cable("lan0", client, "eth0", "", testMAC[:])
	events, _ := dhclient(t, client, "eth0")
	for _, event := range []string{"BOUND", "(RENEW|REBIND)"} {
		lease := regexp.MustCompile(event + ` 198\.51\.100\.50 255\.255\.255\.0 198\.51\.100\.1 `)
		waitFor(t, event, func() bool { return lease.MatchString(events()) })
	}
}

// TestDhclientRebinds has ISC's client rebind by broadcast, because its server
// has an address that nobody answers at.
func TestDhclientRebinds(t *testing.T) {
	cfg := testConfig(ModeServer)
	cfg.Address = must("192.0.2.77")
	server, _ := realServer(t, cfg, soonRenewed())
	client := newNamespace(t)
	server.cable("lan0", client, "eth0", "", testMAC[:])
	events, _ := dhclient(t, client, "eth0")
	// It calls a REQUEST that it broadcast after T2 a RENEW as well.
	again := regexp.MustCompile(`(RENEW|REBIND) 192\.0\.2\.100 255\.255\.255\.0 192\.0\.2\.1 192\.0\.2\.77 `)
	waitFor(t, "a renewal by broadcast", func() bool { return again.MatchString(events()) })
}

// TestUdhcpc has busybox's client bind, renew when told, and release.
func TestUdhcpc(t *testing.T) {
	addresses := newAddresses()
	server, _ := realServer(t, testConfig(ModeServer), addresses)
	client := newNamespace(t)
	server.cable("lan0", client, "eth0", "", testMAC[:])
	log := filepath.Join(t.TempDir(), "events")
	hook := script(t, `echo "$1 $ip $subnet $router $dns $domain $serverid" >> `+log+`
case $1 in bound|renew) ip addr replace $ip/$mask dev $interface;; esac
`)
	udhcpc := client.start("busybox", "busybox", "udhcpc", "-f", "-i", "eth0", "-s", hook, "-t", "5", "-T", "2", "-R")
	event := func(want string) func() bool {
		return func() bool {
			b, _ := os.ReadFile(log)
			return strings.Contains(string(b), want)
		}
	}
	const lease = " 192.0.2.100 255.255.255.0 192.0.2.1 192.0.2.2 192.0.2.3 lab.example 192.0.2.10"
	waitFor(t, "bound", event("bound"+lease))
	udhcpc.signal(syscall.SIGUSR1)
	waitFor(t, "renew", event("renew"+lease))
	udhcpc.signal(syscall.SIGTERM)
	waitFor(t, "RELEASE", func() bool {
		addresses.mu.Lock()
		defer addresses.mu.Unlock()
		return len(addresses.released) == 1
	})
}

// TestDhcrelay has ISC's relay between the client and the server, with and
// without option 82; the subnet is that of the relay's client side.
func TestDhcrelay(t *testing.T) {
	for name, options := range map[string][]string{"plain": nil, "option 82": {"-a", "-m", "discard"}} {
		t.Run(name, func(t *testing.T) {
			addresses := soonRenewed()
			server, _ := realServer(t, testConfig(ModeServer), addresses)
			relay, client := newNamespace(t), newNamespace(t)
			relay.segment("lan1", "198.51.100.1/24")
			server.cable("lan0", relay, "up0", "192.0.2.20/24", nil)
			relay.cable("lan1", client, "eth0", "", testMAC[:])
			relay.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
			server.route("198.51.100.0/24", "192.0.2.20")
			argv := append([]string{"dhcrelay", "-4", "-d", "--no-pid"}, options...)
			relay.start("isc-dhcp-relay", append(argv, "-id", "lan1", "-iu", "up0", "192.0.2.10")...)
			events, _ := dhclient(t, client, "eth0")
			for _, event := range []string{"BOUND", "RENEW"} {
				waitFor(t, event, func() bool {
					return strings.Contains(events(), fmt.Sprintf("%s 198.51.100.100 255.255.255.0 198.51.100.1 192.0.2.10", event))
				})
			}
		})
	}
}

// TestProxyBesideDnsmasq has dnsmasq give addresses, and the proxy boot files,
// on one segment.
func TestProxyBesideDnsmasq(t *testing.T) {
	server, _ := realServer(t, testConfig(ModeProxy), nil)
	other, plain := newNamespace(t), newNamespace(t)
	server.cable("lan0", other, "dns0", "192.0.2.2/24", nil)
	server.cable("lan0", plain, "eth1", "", nil)
	rom := newWired(t, server, "lan0")
	dnsmasq := other.start("dnsmasq-base", "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--group=root", "--port=0",
		"--interface=dns0", "--bind-interfaces", "--dhcp-range=192.0.2.100,192.0.2.150,1h", "--no-ping", "--dhcp-authoritative",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"), "--pid-file=", "--log-facility=-", "--log-dhcp")
	waitFor(t, "dnsmasq", func() bool { return strings.Contains(dnsmasq.log.String(), "DHCP, sockets bound") })

	// A plain client hears only dnsmasq.
	events, _ := dhclient(t, plain, "eth1")
	waitFor(t, "BOUND", func() bool { return strings.Contains(events(), "192.0.2.2") })
	if strings.Contains(events(), "192.0.2.10 ") {
		t.Errorf("a plain client was answered by the proxy: %s", events())
	}

	nowhere, everywhere := netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67")
	var offers []*heard
	waitFor(t, "two offers", func() bool {
		offers = rom.askAll(t, message(dhcpv4.MessageTypeDiscover, edk2), nowhere, everywhere, 2)
		return len(offers) == 2
	})
	if offers[0].from.Addr() != must("192.0.2.10") {
		offers[0], offers[1] = offers[1], offers[0]
	}
	ours, theirs := offers[0], offers[1]
	if !ours.YourIPAddr.IsUnspecified() || ours.BootFileName != "52-54-00-12-34-56/snponly.efi" || ours.ServerIPAddr.String() != "192.0.2.10" {
		t.Errorf("the proxy's offer: %s", ours.Summary())
	}
	if theirs.YourIPAddr.IsUnspecified() || theirs.BootFileName != "" {
		t.Errorf("dnsmasq's offer: %s", theirs.Summary())
	}
	// The machine takes dnsmasq's address; the proxy has nothing to say to that.
	selected := func(p *dhcpv4.DHCPv4) {
		with(optServerID, theirs.ServerIdentifier().To4()...)(p)
		with(optRequestedAddress, theirs.YourIPAddr.To4()...)(p)
	}
	answers := rom.askAll(t, message(dhcpv4.MessageTypeRequest, edk2, selected), nowhere, everywhere, 2)
	if len(answers) != 1 || answers[0].MessageType() != dhcpv4.MessageTypeAck || answers[0].from.Addr() != must("192.0.2.2") {
		t.Errorf("answers to the REQUEST: %v", answers)
	}
	if !strings.Contains(dnsmasq.log.String(), "DHCPACK(dns0) "+theirs.YourIPAddr.String()+" "+testMAC.String()) {
		t.Error("dnsmasq has not logged the lease")
	}
}
