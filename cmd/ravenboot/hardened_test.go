package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ravenboot/integration/lab"
)

const dist = "../../dist"

// TestUnits has systemd judge the units of dist/: that it understands every
// line, and how exposed the service is (0 to 100, less is better).
func TestUnits(t *testing.T) {
	analyze := needTool(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	units, err := filepath.Glob(dist + "/ravenboot*")
	if err != nil || len(units) != 4 {
		t.Fatalf("units %q, want a service and three sockets; %v", units, err)
	}
	var copies []string
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// verify wants the program to be there.
		here := strings.ReplaceAll(string(text), "/usr/bin/ravenboot", needTool(t, "ravenboot", ""))
		copies = append(copies, filepath.Join(dir, filepath.Base(unit)))
		if err := os.WriteFile(copies[len(copies)-1], []byte(here), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		c := exec.Command(analyze, args...)
		c.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		if out, err := c.CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(append([]string{"verify"}, copies...)...)
	const mostExposed = "20"
	run("security", "--no-pager", "--offline=yes", "--threshold="+mostExposed, filepath.Join(dir, "ravenboot.service"))
}

// TestServiceDoesNoMoreThanItMay holds the unit's limits against what the
// program really asks the kernel for: systemd would refuse it in the midst of a
// boot, where nobody finds out why.
func TestServiceDoesNoMoreThanItMay(t *testing.T) {
	trace := traceServe(t)
	unit, err := os.ReadFile(dist + "/ravenboot.service")
	if err != nil {
		t.Fatal(err)
	}
	allowed := allowedCalls(t, string(unit))
	for _, call := range callsIn(trace) {
		if !allowed[call] {
			t.Errorf("the program calls %s, which SystemCallFilter= refuses", call)
		}
	}
	families := strings.Fields(settings(string(unit), "RestrictAddressFamilies")[0])
	for _, m := range regexp.MustCompile(`socket\((AF_\w+)`).FindAllStringSubmatch(trace, -1) {
		if !slices.Contains(families, m[1]) {
			t.Errorf("the program opens a socket of %s, which RestrictAddressFamilies= refuses", m[1])
		}
	}
	if m := regexp.MustCompile(`.*PROT_WRITE\|PROT_EXEC.*`).FindString(trace); m != "" {
		t.Errorf("MemoryDenyWriteExecute= refuses: %s", m)
	}
}

// traceServe notes the system calls of a server that does all that it can do.
func traceServe(t *testing.T) string {
	t.Helper()
	u := newUnprivileged(t)
	// Not the test's own program: the race detector has calls of its own.
	if out, err := exec.Command("go", "build", "-o", u.path("ravenboot"), ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	config, err := os.ReadFile(u.path("lab.toml"))
	u.check(err)
	story := serveDir(t, string(config))
	u.check(os.Rename(filepath.Join(story, "profiles"), u.path("profiles")))
	config, err = os.ReadFile(filepath.Join(story, "lab.toml"))
	u.check(err)
	u.write("lab.toml", string(config), 0o644)

	out := u.path("trace")
	server := u.Start(u.Namespace, "strace", needTool(t, "strace", "strace"), "-D", "-f", "-qq", "-o", out,
		u.path("ravenboot"), "serve", "-config", u.path("lab.toml"))
	server.ExpectLog(patience, "dhcp server, ports 67 and 4011 on br0")
	u.lease("client")
	u.getLoader()
	client := u.Client()
	defer client.CloseIdleConnections()
	for _, path := range []string{"/boot.ipxe?mac=52:54:00:12:34:56", "/generation/lab/1/kernel", "/healthz"} {
		r, err := client.Get("http://" + lab.Address + path)
		u.check(err)
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	u.check(os.CopyFS(u.path("profiles/lab-2-link"), os.DirFS(u.path("profiles/lab-1-link"))))
	server.ExpectLog(patience, "profile read", `"newest":2`)
	u.write("lab.toml", string(config)+"\n[menu]\ntitle = \"After\"\n", 0o644)
	server.ExpectLog(patience, "in force")
	server.Stop()
	return finished(t, out)
}

// finished waits for the last line of a trace.
func finished(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "exit_group(") {
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatalf("strace noted no end:\n%s", text)
		}
	}
}

// callsIn lists the system calls of a trace that worked or failed for a reason
// of their own: one that the kernel doesn't know is no matter for a filter.
func callsIn(trace string) []string {
	calls := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\d+ +(\w+)\(.*$`).FindAllStringSubmatch(trace, -1) {
		if !strings.Contains(m[0], syscall.ENOSYS.Error()) {
			calls[m[1]] = true
		}
	}
	names := make([]string, 0, len(calls))
	for name := range calls {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// allowedCalls works out a unit's SystemCallFilter= with systemd's own lists.
func allowedCalls(t *testing.T, unit string) map[string]bool {
	t.Helper()
	allowed := make(map[string]bool)
	for _, line := range settings(unit, "SystemCallFilter") {
		rest, refuse := strings.CutPrefix(line, "~")
		for _, name := range strings.Fields(rest) {
			for _, call := range callsOf(t, name) {
				allowed[call] = !refuse
			}
		}
	}
	if !allowed["read"] || allowed["mount"] || len(allowed) < 100 {
		t.Fatalf("the filter allows %d calls; that can't be right", len(allowed))
	}
	return allowed
}

// callsOf lists what one of systemd's groups has, groups within it included.
func callsOf(t *testing.T, name string) []string {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	out, err := exec.Command(needTool(t, "systemd-analyze", "systemd"), "--no-pager", "syscall-filter", name).Output()
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
	}
	var calls []string
	for line := range strings.Lines(string(out)) {
		member := strings.TrimSpace(line)
		if member != "" && member != name && !strings.HasPrefix(member, "#") {
			calls = append(calls, callsOf(t, member)...)
		}
	}
	return calls
}

// settings are the values of a key of a unit.
func settings(unit, key string) []string {
	var values []string
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, value)
		}
	}
	return values
}
