package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ravenboot/integration/lab"
)

// nobody is Debian's user and group without any rights of their own.
const nobody = 65534

// TestUnprivileged runs the server as dist/ravenboot.service does: as a user
// without rights, with no capability but two. A real DHCP client gets an address
// and a loader from it.
func TestUnprivileged(t *testing.T) {
	both := []string{"net_bind_service", "net_raw"}
	t.Run("both capabilities", func(t *testing.T) {
		u := newUnprivileged(t)
		// The first address of the range belongs to somebody who says so.
		u.squat("192.0.2.100")
		server := u.serve(both)
		server.ExpectLog(patience, "dhcp server, ports 67 and 4011 on br0")
		if got := u.lease("client"); got != "192.0.2.101" {
			t.Errorf("the client has %q, want 192.0.2.101: .100 answers to ping", got)
		}
		u.getLoader()
		for _, unwanted := range []string{"can't send frames", "no ICMP", "permi"} {
			if strings.Contains(server.Log(), unwanted) {
				t.Errorf("the log complains: %s", unwanted)
			}
		}
		server.ExpectLog(patience, "CapEff:\t0000000000002400")
		server.ExpectLog(patience, "CapBnd:\t0000000000002400")
		server.ExpectLog(patience, "NoNewPrivs:\t1")
	})
	t.Run("without net_raw", func(t *testing.T) {
		u := newUnprivileged(t)
		server := u.serve(both[:1])
		// Frames and echoes are a comfort: it does without, and says so.
		server.ExpectLog(patience, "can't send frames", "CAP_NET_RAW")
		server.ExpectLog(patience, "no ICMP", "CAP_NET_RAW", "ping_group_range")
		server.ExpectLog(patience, "dhcp server, ports 67 and 4011 on br0")
		if got := u.lease("client"); got != "192.0.2.100" {
			t.Errorf("the client has %q, want 192.0.2.100", got)
		}
		u.getLoader()
	})
	t.Run("without any", func(t *testing.T) {
		u := newUnprivileged(t)
		u.serve(nil).ExpectLog(patience, "permission denied", "CAP_NET_BIND_SERVICE and CAP_NET_RAW as dist/ravenboot.service does")
	})
}

// unprivileged is a network with a server of few rights.
type unprivileged struct {
	*lab.Lab
	t *testing.T
}

func newUnprivileged(t *testing.T) *unprivileged {
	u := &unprivileged{lab.New(t, 1), t}
	u.check(os.Chmod(u.Dir(), 0o755))
	state := u.path("state")
	u.check(os.Mkdir(state, 0o700))
	if id := unprivilegedID(t); id != 0 {
		u.check(os.Chown(state, id, id))
	}
	u.check(os.Mkdir(u.path("loaders"), 0o755))
	u.write("loaders/undionly.kpxe", loaderText, 0o644)
	u.write("lab.toml", fmt.Sprintf(`
[server]
interface = "br0"
state_dir = %q
[loaders]
dirs = [%q]
[dhcp]
mode = "server"
[[dhcp.subnet]]
network = "192.0.2.0/24"
range   = ["192.0.2.100", "192.0.2.110"]
`, state, u.path("loaders")), 0o644)
	// The program is where everybody may start it.
	program, err := os.ReadFile(needTool(t, "ravenboot", ""))
	u.check(err)
	u.write("ravenboot", string(program), 0o755)
	return u
}

const loaderText = "a loader for all who come by BIOS"

func (u *unprivileged) path(name string) string { return filepath.Join(u.Dir(), name) }

func (u *unprivileged) check(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u *unprivileged) write(name, text string, mode os.FileMode) {
	u.t.Helper()
	u.check(os.WriteFile(u.path(name), []byte(text), mode))
	u.check(os.Chmod(u.path(name), mode)) // whatever the umask
}

// serve starts the server with some capabilities. Its log begins with what the
// kernel says of its rights.
func (u *unprivileged) serve(capabilities []string) *lab.Process {
	set := strings.Join(append([]string{"-all"}, capabilities...), ",+")
	id := unprivilegedID(u.t)
	argv := []string{"setpriv", "--reuid", strconv.Itoa(id), "--regid", strconv.Itoa(id), "--clear-groups",
		"--inh-caps", set, "--ambient-caps", set, "--bounding-set", set, "--no-new-privs"}
	if id == 0 { // root's exec would give it every capability back
		argv = append(argv, "--securebits", "+noroot,+noroot_locked")
		argv[5] = "--keep-groups" // nor may an ordinary user's namespace change them
	}
	return u.Start(u.Namespace, "ravenboot", append(argv, "sh", "-c", `grep -E "^(Cap|NoNew)" /proc/self/status; exec "$0" "$@"`,
		u.path("ravenboot"), "serve", "-config", u.path("lab.toml"))...)
}

// unprivilegedID is nobody, or root where a user namespace has no other user:
// there it is the capabilities alone that make the difference.
func unprivilegedID(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			t.Fatal(err)
		}
		if inside <= nobody && nobody-inside < count {
			return nobody
		}
	}
	return 0
}

// squat has another machine use an address.
func (u *unprivileged) squat(addr string) {
	u.Join(lab.Segment, u.NewNamespace("squatter"), "squat0", addr+"/24")
}

// lease has udhcpc ask for an address, and returns it.
func (u *unprivileged) lease(client string) string {
	u.t.Helper()
	machine := u.NewNamespace(client)
	u.Join(lab.Segment, machine, "eth0", "")
	u.write("udhcpc", "#!/bin/sh\n[ \"$1\" != bound ] || echo \"bound to $ip from $serverid\"\n", 0o755)
	udhcpc := needTool(u.t, "/usr/sbin/udhcpc", "udhcpc")
	line := u.Start(machine, client, udhcpc, "-f", "-q", "-i", "eth0", "-s", u.path("udhcpc")).
		ExpectLog(patience, "bound to ", "from 192.0.2.10")
	return strings.Fields(line)[2]
}

// getLoader asks for files on the privileged ports.
func (u *unprivileged) getLoader() {
	u.t.Helper()
	client := u.Client()
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + lab.Address + "/loader/undionly.kpxe")
	u.check(err)
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != loaderText {
		u.t.Errorf("HTTP: %q, %v", body, err)
	}
	curl := needTool(u.t, "curl", "curl")
	got := u.path("got")
	cmd := exec.Command(curl, "-sS", "-o", got, "tftp://"+lab.Address+"/undionly.kpxe")
	u.check(u.Do(cmd.Run))
	if text, err := os.ReadFile(got); err != nil || string(text) != loaderText {
		u.t.Errorf("TFTP: %q, %v", text, err)
	}
}
