package web

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
	"ravenboot/internal/ticket"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type fakeGenerations map[string][]generation.Generation

func (f fakeGenerations) Generations(profile string) []generation.Generation { return f[profile] }

type anyLoader struct{}

func (anyLoader) Has(string) bool { return true }

// fakeFiles says which route was taken.
type fakeFiles struct{}

func (fakeFiles) Loader(w http.ResponseWriter, r *http.Request)     { fmt.Fprint(w, "loader") }
func (fakeFiles) Generation(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "generation") }
func (fakeFiles) Image(w http.ResponseWriter, r *http.Request)      { fmt.Fprint(w, "image") }

var quiet = slog.New(slog.DiscardHandler)

func generations(profile string, system string, numbers ...int) []generation.Generation {
	var all []generation.Generation
	for _, n := range numbers {
		g := generation.Generation{
			Profile: profile, Number: n, Date: time.Date(2026, 11, n%28+1, 12, 0, 0, 0, time.UTC),
			System: generation.System{
				Toplevel: fmt.Sprintf("/nix/store/x-%d", n), Init: fmt.Sprintf("/nix/store/x-%d/init", n),
				Kernel: "/k", Initrd: "/i", KernelParams: []string{"loglevel=4", "root=fstab"},
				Label: "NixOS Yarara 26.05 (Linux 6.18)", System: system,
			},
		}
		g.Specialisations = []generation.Specialisation{{Name: "exam", System: g.System}}
		all = append(all, g)
	}
	return all
}

func policy() boot.Policy {
	return boot.Policy{
		Menu:     boot.Menu{Title: "Lab", Timeout: 5 * time.Second, Shell: true, Rounds: 4},
		Profiles: []boot.Profile{{Profile: generation.Profile{Name: "lab"}, Args: []string{"panic=30"}}},
		Images: []boot.Image{
			{Name: "rescue", Label: "Rescue system", Kernel: "/srv/vmlinuz", Initrds: []string{"/srv/a.img", "/srv/b.img"},
				Files: []string{"/srv/root.squashfs"}, Args: []string{"fetch={url}/root.squashfs", "boot=live"}},
			{Name: "tool", Label: "EFI tool", Chain: "/srv/tool.efi", Args: []string{"-v"}, Firmware: []machine.Firmware{machine.EFI}},
			{Name: "memtest", Kernel: "/srv/memtest.bin", Firmware: []machine.Firmware{machine.BIOS}},
		},
		Hosts: []boot.Host{
			{Name: "lab-07", MACs: []machine.MAC{macA}, Settings: boot.Settings{Args: []string{`dyndbg="file x +p; ||"`, "console=ttyS0"}}},
			{Name: "bad", MACs: []machine.MAC{macB}, Settings: boot.Settings{Args: []string{"a=${net0/mac}"}}},
		},
		Default: boot.Default{Action: boot.ActionMenu, Settings: boot.Settings{Profile: "lab", OnFailure: boot.FailureMenu}},
	}
}

func scripts(p boot.Policy) *Scripts {
	d := boot.New(p, fakeGenerations{"lab": generations("lab", "x86_64-linux", 42, 41)}, anyLoader{})
	ticket := func(mac machine.MAC) string { return "TICKET-" + mac.Dashed() }
	return NewScripts(d, ScriptsConfig{HTTPPort: 80, Ticket: ticket}, quiet)
}

// bootHandler is a boot side without a cache, which takes no reports.
func bootHandler(s *Scripts) http.Handler {
	return NewBootHandler(BootSide{Scripts: s, Files: fakeFiles{}, Healthy: func() error { return nil }})
}

func get(t *testing.T, h http.Handler, method, target string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "192.0.2.107:4000"
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 80}
	r = r.WithContext(contextWithLocalAddr(r, local))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// TestScripts compares whole answers, good and bad, with the golden files.
func TestScripts(t *testing.T) {
	unknownIgnored := policy()
	unknownIgnored.Default.Action = boot.ActionIgnore
	unknownLocal := policy()
	unknownLocal.Default.Action = boot.ActionLocal
	const host = "/boot.ipxe?mac=52-54-00-12-34-56&arch=x86_64&platform="
	for _, row := range []struct {
		name, target string
		policy       boot.Policy
		status       int
	}{
		{"identify", "/boot.ipxe", policy(), 200},
		{"menu-efi", host + "efi&serial=A%26B&uuid=4c4c4544-0042-3510-8052-b4c04f4d3432", policy(), 200},
		{"menu-bios", host + "pcbios", policy(), 200},
		{"menu-arm64", "/boot.ipxe?mac=02:00:00:00:00:01&arch=arm64&platform=efi", policy(), 200},
		{"generation", host + "efi&entry=lab/42", policy(), 200},
		{"without-mac", "/boot.ipxe?uuid=4c4c4544-0042-3510-8052-b4c04f4d3432&entry=lab/42", policy(), 200},
		{"specialisation", host + "efi&entry=latest/exam", policy(), 200},
		{"image", host + "pcbios&entry=rescue", policy(), 200},
		{"chain", host + "efi&entry=tool", policy(), 200},
		{"local", host + "efi&entry=local", policy(), 200},
		{"shell", host + "efi&entry=shell", policy(), 200},
		{"unknown-ignored", "/boot.ipxe?mac=02:00:00:00:00:01", unknownIgnored, 404},
		{"unknown-local", "/boot.ipxe?mac=02:00:00:00:00:01", unknownLocal, 200},
		{"no-such-entry", host + "efi&entry=lab/7", policy(), 404},
		{"does-not-fit", host + "efi&entry=memtest", policy(), 404},
		{"bad-mac", "/boot.ipxe?mac=zz", policy(), 400},
		{"bad-argument", "/boot.ipxe?mac=52:54:00:12:34:57&entry=lab/42", policy(), 500},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := get(t, bootHandler(scripts(row.policy)), "GET", row.target)
			if r.StatusCode != row.status {
				t.Errorf("status %d, want %d", r.StatusCode, row.status)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Header.Get("Content-Length"); got != fmt.Sprint(len(body)) {
				t.Errorf("Content-Length %s for %d bytes", got, len(body))
			}
			golden(t, row.name+".ipxe", body)
		})
	}
}

// TestNoTicketWithoutRoom: a command line that is full up boots without a
// ticket, and one that was too long before is refused as ever.
func TestNoTicketWithoutRoom(t *testing.T) {
	for _, row := range []struct {
		bytes  int
		status int
		ticket bool
		reason string
	}{
		{1500, 200, true, ""},
		{1860, 200, false, "no ticket to report with: the kernel command line is 20"},
		{2000, 500, false, "the kernel command line is 2"},
	} {
		p := policy()
		p.Hosts[0].Args = []string{strings.Repeat("x", row.bytes)}
		q := Query{Machine: machine.Machine{MAC: macA}, Entry: "lab/42"}
		script := scripts(p).Render(q, "http://192.0.2.10")
		if script.Status != row.status || strings.Contains(string(script.Text), " ravenboot.ticket=") != row.ticket ||
			!strings.Contains(script.Reason, row.reason) {
			t.Errorf("%d bytes: status %d, reason %s\n%s", row.bytes, script.Status, script.Reason, script.Text)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with: go test -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// fakeCache says which path it was asked for.
func fakeCache(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "cache "+r.URL.Path) }

func TestRoutes(t *testing.T) {
	h := NewBootHandler(BootSide{
		Scripts: scripts(policy()), Files: fakeFiles{}, Cache: http.HandlerFunc(fakeCache), Healthy: func() error { return nil },
	})
	for _, row := range []struct {
		method, target string
		status         int
		body           string
	}{
		{"GET", "/loader/snponly.efi", 200, "loader"},
		{"GET", "/loader/52-54-00-12-34-56/snponly.efi", 200, "loader"},
		// No redirects: UEFI HTTP Boot doesn't follow them (smee PR#229).
		{"GET", "//loader//snponly.efi", 200, "loader"},
		{"GET", "/loader/../loader/snponly.efi", 200, "loader"},
		{"GET", "/generation/lab/42/kernel", 200, "generation"},
		{"HEAD", "/generation/lab/42/exam/initrd", 200, ""},
		{"GET", "/image/rescue/a.img", 200, "image"},
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/cache/nix-cache-info", 200, "cache /nix-cache-info"},
		{"GET", "//cache//nar/x.nar", 200, "cache /nar/x.nar"},
		{"HEAD", "/cache/x.narinfo", 200, ""},
		{"GET", "/cache/../etc/passwd", 404, ""},
		{"GET", "/cache", 404, ""},
		{"POST", "/cache/batch", 200, "cache /batch"},
		{"GET", "/", 404, ""},
		{"GET", "/etc/passwd", 404, ""},
		{"POST", "/boot.ipxe", 405, ""},
		{"PUT", "/loader/snponly.efi", 405, ""},
	} {
		r := get(t, h, row.method, row.target)
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != row.status || row.status == 200 && row.method == "GET" && string(body) != row.body {
			t.Errorf("%s %s: %d %q, want %d %q", row.method, row.target, r.StatusCode, body, row.status, row.body)
		}
	}
}

func TestCacheThatIsOff(t *testing.T) {
	h := bootHandler(scripts(policy()))
	if r := get(t, h, "GET", "/cache/nix-cache-info"); r.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestHealth(t *testing.T) {
	h := NewAdminHandler(AdminSide{Metrics: http.NotFoundHandler(), Healthy: func() error { return errors.New("tftp is down") }})
	r := get(t, h, "GET", "/healthz")
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusServiceUnavailable || string(body) != "tftp is down\n" {
		t.Errorf("%d %q", r.StatusCode, body)
	}
}

// TestAddressThatWasAsked: a server with two legs sends each machine to the
// address on its own side.
func TestAddressThatWasAsked(t *testing.T) {
	for _, row := range []struct {
		configured string
		local      net.TCPAddr
		want       string
	}{
		{"", net.TCPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 80}, "http://192.0.2.10"},
		{"", net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 8080}, "http://198.51.100.1:8080"},
		{"203.0.113.5", net.TCPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 80}, "http://203.0.113.5"},
		{"", net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 80}, "http://[2001:db8::1]"},
		{"", net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 81}, "http://[2001:db8::1]:81"},
	} {
		s := scripts(policy())
		if row.configured != "" {
			s.config.Address = netip.MustParseAddr(row.configured)
		}
		r := httptest.NewRequest("GET", "/boot.ipxe", nil)
		if got := s.baseURL(r.WithContext(contextWithLocalAddr(r, &row.local))); got != row.want {
			t.Errorf("%v: %s, want %s", row.local, got, row.want)
		}
	}
}

func TestAutoexec(t *testing.T) {
	golden(t, "autoexec.ipxe", scripts(policy()).Autoexec(t.Context(), macA, netip.MustParseAddr("192.0.2.10")))
}

func TestLogSaysWhoWhatWhy(t *testing.T) {
	var log strings.Builder
	s := scripts(policy())
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	var observed []string
	s.config.Observe = func(kind, result string) { observed = append(observed, kind+" "+result) }
	h := bootHandler(s)
	get(t, h, "GET", "/boot.ipxe?mac=52:54:00:12:34:56")
	get(t, h, "GET", "/boot.ipxe?mac=52:54:00:12:34:56&entry=lab/1")
	for _, want := range []string{
		"machine=52:54:00:12:34:56", "step=script", "outcome=menu", `reason="host lab-07 matches`, "entry=lab/42", "address=192.0.2.107",
		`level=WARN`, `reason="entry \"lab/1\" is not on offer`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
	if diff := cmp.Diff([]string{"menu ok", "error refused"}, observed); diff != "" {
		t.Error(diff)
	}
}

// FuzzScript: whatever a machine sends, it gets a whole script.
func FuzzScript(f *testing.F) {
	f.Add("mac=52:54:00:12:34:56&entry=lab/42")
	f.Add("mac=52:54:00:12:34:56&serial=%0a%24%7bx%7d")
	h := bootHandler(scripts(policy()))
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/boot.ipxe", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if text := w.Body.String(); !strings.HasPrefix(text, "#!ipxe\n") || !strings.HasSuffix(text, "\n") {
			t.Errorf("%q: %d %q", query, w.Code, text)
		}
	})
}

func BenchmarkScript(b *testing.B) {
	p := policy()
	for i := range 1000 {
		p.Hosts = append(p.Hosts, boot.Host{Name: fmt.Sprintf("pc-%d", i), MACs: []machine.MAC{{2, 0, 0, 1, byte(i >> 8), byte(i)}}})
	}
	var numbers []int
	for n := 60; n > 40; n-- {
		numbers = append(numbers, n)
	}
	d := boot.New(p, fakeGenerations{"lab": generations("lab", "x86_64-linux", numbers...)}, anyLoader{})
	key := ticket.NewKey()
	s := NewScripts(d, ScriptsConfig{
		HTTPPort: 80, Ticket: func(mac machine.MAC) string { return key.Mint(mac, time.Now()) },
	}, quiet)
	m := machine.Machine{MAC: machine.MAC{2, 0, 0, 1, 1, 7}, Arch: machine.X86_64, Firmware: machine.EFI}
	for name, entry := range map[string]string{"menu": "", "boot": "lab/55"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var mem scratch
			for b.Loop() {
				if script := s.render(Query{Machine: m, Entry: entry}, "http://192.0.2.10", &mem); script.Status != 200 {
					b.Fatal(script.Reason)
				}
			}
		})
	}
}
