package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ravenboot/integration/lab"
)

// checkIn runs `ravenboot check -json` in a namespace, and returns its lines
// by subject, each as "level text".
func checkIn(t *testing.T, n *lab.Namespace, config string) (lines map[string]string, exit int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.toml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ravenboot", "check", "-json", "-config", path)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := n.Do(cmd.Run)
	var found findings
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatalf("%v in %s%s", err, &out, &log)
	}
	lines = make(map[string]string)
	for _, one := range found {
		lines[one.Subject] = one.Level + " " + one.Text
	}
	if (err != nil) != found.failed() {
		t.Errorf("exit: %v, with errors: %v", err, found.failed())
	}
	return lines, cmd.ProcessState.ExitCode()
}

func wantLine(t *testing.T, lines map[string]string, subject, pattern string) {
	t.Helper()
	if got := lines[subject]; !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s: %q, want %s", subject, got, pattern)
	}
}

const checkedLab = `
[server]
interface = "br0"
state_dir = %q
[dhcp]
mode = %q
%s
`

// TestCheckFindsOtherDHCPServers: the other one is named, wherever the two would
// disturb each other, and nowhere else.
func TestCheckFindsOtherDHCPServers(t *testing.T) {
	const subnet = "[[dhcp.subnet]]\nnetwork = \"192.0.2.0/24\"\nrange = [\"192.0.2.100\", \"192.0.2.110\"]\n"
	type want struct{ subject, pattern string }
	dnsmasq := func(more ...string) []string { return append(more, "--dhcp-range=192.0.2.50,192.0.2.60") }
	for _, row := range []struct {
		name, mode, more string
		other            []string // options of a dnsmasq, nil for none
		want             []want
	}{
		{"nobody, server", "server", subnet, nil, []want{
			{"dhcp port 67", "^ok free"}, {"dhcp port 4011", "^ok free"}, {"interface br0", "^ok up, 192.0.2.10/24"},
		}},
		{"dnsmasq, server", "server", subnet, dnsmasq(), []want{
			{"dhcp port 67", `^error taken by dnsmasq \(process \d+\).*set \[dhcp\] mode = "proxy"`}, {"dhcp port 4011", "^ok"},
		}},
		{"dnsmasq, proxy", "proxy", "", dnsmasq(), []want{
			{"dhcp port 67", `^error taken by dnsmasq .*doesn't share.*mode = "off"`},
		}},
		{"dnsmasq that shares, proxy", "proxy", "", dnsmasq("--bind-interfaces"), []want{
			{"dhcp port 67", `^warning shared with dnsmasq .*mode = "off"`},
		}},
		{"dnsmasq with PXE, proxy", "proxy", "", dnsmasq("--pxe-service=x86PC,Boot,undionly"), []want{
			{"dhcp port 4011", "^error taken by dnsmasq .*another PXE server"},
		}},
		{"dnsmasq elsewhere, server", "server", subnet, dnsmasq("--interface=br1", "--bind-dynamic"), []want{
			{"dhcp port 67", "^ok free"},
		}},
		{"dnsmasq, off", "off", "", dnsmasq(), []want{{"dhcp port 67", "^$"}}},
		{"subnet elsewhere", "server", strings.ReplaceAll(subnet, "192.0.2.", "198.51.100."), nil, []want{
			{"interface br0", `^warning no \[\[dhcp.subnet\]\] has 192.0.2.10/24`},
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := lab.New(t, 1)
			l.Bridge("br1", "192.0.2.129/25")
			if row.other != nil {
				l.Dnsmasq(l.Namespace, row.other...)
				waitForOwner(t, l.Namespace)
			}
			lines, _ := checkIn(t, l.Namespace, fmt.Sprintf(checkedLab, l.Dir()+"/new/state", row.mode, row.more))
			for _, w := range row.want {
				wantLine(t, lines, w.subject, w.pattern)
			}
			if row.mode == "server" {
				wantLine(t, lines, "state_dir", "^ok .*/new/state will be made")
			}
		})
	}
}

// waitForOwner waits until port 67 is somebody's.
func waitForOwner(t *testing.T, n *lab.Namespace) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var owners []owner
		_ = n.Do(func() error { owners = ownersOf("udp", 67); return nil })
		if len(owners) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody took port 67")
		}
	}
}

// TestCheckPortsAndPlaces: what is taken, and by whom; what can't be had.
func TestCheckPortsAndPlaces(t *testing.T) {
	l := lab.New(t, 1)
	var squatter net.Listener
	err := l.Do(func() (err error) {
		squatter, err = net.Listen("tcp", "127.0.0.1:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	file := filepath.Join(l.Dir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	lines, exit := checkIn(t, l.Namespace, fmt.Sprintf(checkedLab, file, "server",
		"[[dhcp.subnet]]\nnetwork = \"192.0.2.0/24\"\n[http]\nlisten = \":80\"\n[admin]\nlisten = \"203.0.113.1:9080\"\n"))
	if exit != exitFailure {
		t.Errorf("exit code %d, want %d", exit, exitFailure)
	}
	me, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	wantLine(t, lines, "http", fmt.Sprintf(`^error :80 is taken by %s \(process %d\); stop it`,
		regexp.QuoteMeta(strings.TrimSpace(string(me))), os.Getpid()))
	wantLine(t, lines, "admin", "^error 203.0.113.1:9080: no interface has this address")
	wantLine(t, lines, "state_dir", "^error .* is no directory")
	wantLine(t, lines, "interface br0", "^ok ")
	wantLine(t, lines, "tftp", "^ok :69 is free")
}
