//go:build boots

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// TestService boots a machine whose systemd runs ravenboot by the units of dist/:
// first without, then with the sockets that systemd can hold. The lab of that
// machine is on its second card.
func TestService(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	s := bootService(t, l)

	// The shell came up after a unit with Type=notify, so nothing needs a second try.
	s.serves("Before")
	s.hasFewRights()
	s.leases("first", "198.51.100.100")

	first := s.pid()
	s.run(`sed -i s/Before/After/ /etc/ravenboot/ravenboot.toml && systemctl reload ravenboot`)
	s.serves("After")
	if again := s.pid(); again != first {
		t.Errorf("the reload has made process %s of %s", again, first)
	}

	s.dies()
	s.serves("After")
	// Had the lease died with the process, its address would be the next machine's.
	s.leases("second", "198.51.100.101")
	s.stops()

	// Now the first who comes starts it, and who comes during a restart waits. With
	// single_port files leave from the socket that systemd holds, too.
	s.run(`printf '[tftp]\nsingle_port = true\n' >>/etc/ravenboot/ravenboot.toml`)
	s.run("systemctl start ravenboot-tftp.socket ravenboot-http.socket ravenboot-admin.socket")
	s.serves("After")
	s.run("systemctl restart ravenboot")
	s.serves("After")
	s.dies()
	s.serves("After")
	s.leases("third", "198.51.100.102")

	log := s.run("journalctl --no-pager -o cat -u ravenboot")
	if complaint := regexp.MustCompile(`.*"level":"(?:WARN|ERROR)".*`).FindString(log); complaint != "" {
		t.Errorf("the service complains: %s", complaint)
	}
	s.Send("poweroff -f\n")
	s.Off()
}

// service is a machine that runs ravenboot, and its lab.
type service struct {
	*lab.Lab
	*lab.Machine
	t        *testing.T
	commands int
}

func bootService(t *testing.T, l *lab.Lab) *service {
	kernel, err := fixture.FindKernel()
	check(t, err)
	initrd, err := fixture.ServiceInitrd(kernel, lab.Binary(t), "../dist")
	check(t, err)
	l.Bridge("br1", "198.51.100.2/24")
	l.Serve(config(dhcpServer, quickMenu, `
[[image]]
name = "server"
kernel = "`+kernel.Image+`"
initrd = ["`+l.Write("server.img", string(initrd))+`"]
args = "`+kernelParams+` net.ifnames=0 systemd.show_status=0"

[default]
action = "menu"
default = "server"
`))
	m := l.Boot(lab.Spec{Path: "ROM iPXE, dist/ under systemd", Memory: 1024, NICs: []lab.NIC{
		{MAC: lab.MAC(1)}, {MAC: lab.MAC(2), Segment: "br1", NoBoot: true},
	}})
	m.Expect("RAVENBOOT-SHELL")
	return &service{Lab: l, Machine: m, t: t}
}

// run has the machine run a command, which must succeed, and returns what it
// prints.
func (s *service) run(command string) string {
	s.t.Helper()
	s.commands++
	n := s.commands
	s.Send(fmt.Sprintf("{ echo begin-%d; %s; } </dev/null 2>&1; echo end-%d $?\n", n, command, n))
	match := s.ExpectMatch(fmt.Sprintf(`begin-%d\n((?s:.*?))end-%d (\d+)\n`, n, n))
	if match[2] != "0" {
		s.t.Fatalf("%s: status %s\n%s", command, match[2], match[1])
	}
	return strings.TrimSpace(match[1])
}

// pid is the service's process.
func (s *service) pid() string {
	s.t.Helper()
	return s.run("systemctl show -P MainPID ravenboot")
}

const serviceLoader = "http://" + fixture.ServiceLab + "/loader/undionly.kpxe"

// serves asks for a loader, in both ways, and for a menu.
func (s *service) serves(title string) {
	s.t.Helper()
	for url, want := range map[string]string{
		serviceLoader: "a loader\n",
		"http://" + fixture.ServiceLab + "/boot.ipxe?mac=52:54:00:00:00:07": title,
		"tftp://" + fixture.ServiceLab + "/undionly.kpxe":                   "a loader\n",
	} {
		got, err := s.curl(url)
		if err != nil || !strings.Contains(got, want) {
			s.t.Errorf("%s has no %q: %v\n%s", url, want, err, got)
		}
	}
}

// curl asks from the machine's lab.
func (s *service) curl(url string) (got string, err error) {
	cmd := exec.Command(lab.Tool(s.t, "curl"), "-sS", "--max-time", "60", url)
	err = s.Do(func() error {
		out, err := cmd.CombinedOutput()
		got = string(out)
		return err
	})
	return got, err
}

// leases has a machine that has never been there ask for an address, which it
// doesn't use.
func (s *service) leases(client, want string) {
	s.t.Helper()
	n := s.NewNamespace(client)
	s.Join("br1", n, client, "")
	script := s.Write("udhcpc", "#!/bin/sh\n[ \"$1\" != bound ] || echo \"bound to $ip\"\n")
	check(s.t, os.Chmod(script, 0o755))
	line := s.Lab.Start(n, client, "udhcpc", "-f", "-q", "-i", client, "-s", script).ExpectLog(lab.Patience, "bound to ")
	if got := strings.TrimSpace(strings.TrimPrefix(line, "bound to ")); got != want {
		s.t.Errorf("%s has the address %s, want %s", client, got, want)
	}
}

// dies ends the service's process as a crash would, and waits for the next.
func (s *service) dies() {
	s.t.Helper()
	before := s.pid()
	s.run("kill -9 " + before)
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(500 * time.Millisecond) {
		state, pid := s.run("systemctl show -P ActiveState ravenboot"), s.pid()
		if state == "active" && pid != before {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("systemd doesn't start it again, it is %s", state)
		}
	}
}

// stops stops the service while nobody is being served.
func (s *service) stops() {
	s.t.Helper()
	begun := time.Now()
	s.run("systemctl stop ravenboot")
	if took := time.Since(begun); took > 10*time.Second {
		s.t.Errorf("a stop takes %v", took)
	}
	if result := s.run("systemctl show -P Result ravenboot"); result != "success" {
		s.t.Errorf("systemd calls the stop %q", result)
	}
	if got, err := s.curl(serviceLoader); err == nil {
		s.t.Errorf("after the stop it serves %q", got)
	}
}

// hasFewRights reads what the kernel says of the process.
func (s *service) hasFewRights() {
	s.t.Helper()
	status := s.run("cat /proc/" + s.pid() + "/status")
	field := func(name string) string {
		match := regexp.MustCompile(`(?m)^` + name + `:\s+(\w+)`).FindStringSubmatch(status)
		if match == nil {
			s.t.Fatalf("no %s in\n%s", name, status)
		}
		return match[1]
	}
	const bindAndRaw = "0000000000002400"
	for name, want := range map[string]string{
		"CapPrm": bindAndRaw, "CapEff": bindAndRaw, "CapBnd": bindAndRaw, "CapAmb": bindAndRaw,
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got := field(name); got != want {
			s.t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// DynamicUser= takes its users from there (systemd.exec(5)).
	if uid, err := strconv.Atoi(field("Uid")); err != nil || uid < 61184 || uid > 65519 {
		s.t.Errorf("it runs as user %s", field("Uid"))
	}
}
