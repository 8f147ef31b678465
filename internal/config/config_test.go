package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var compareConfigs = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, machine.MACPattern{}),
	cmpopts.EquateEmpty(),
}

func TestParseNothing(t *testing.T) {
	got, err := Parse("lab.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Warnings = []string{"lab.toml: no [[profile]] and no [[image]]: menus have only the local disk; add a [[profile]] with name and path"}
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

func TestParseWhole(t *testing.T) {
	name := filepath.Join("testdata", "whole.toml")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("/etc/ravenboot/whole.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	pattern, err := machine.ParseMACPattern("52:54:00:*")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	want := &Config{
		Server: Server{Address: addr("192.0.2.10"), Interfaces: []string{"eth0", "eth1"}, StateDir: "/etc/ravenboot/state"},
		DHCP: DHCP{Mode: ModeServer, Port: 6767, ProxyPort: 4012, Subnets: []lease.Subnet{
			{
				Network: netip.MustParsePrefix("192.0.2.0/24"),
				Ranges:  []lease.Range{{First: addr("192.0.2.100"), Last: addr("192.0.2.200")}},
				Router:  []netip.Addr{addr("192.0.2.1")}, DNS: []netip.Addr{addr("192.0.2.1"), addr("198.51.100.53")},
				NTP: []netip.Addr{addr("192.0.2.2")}, Domain: "lab.example.org",
				Lease: 30 * time.Minute, T1: 10 * time.Minute, T2: 20 * time.Minute,
			},
			{
				Network: netip.MustParsePrefix("198.51.100.0/25"),
				Ranges:  []lease.Range{{First: addr("198.51.100.10"), Last: addr("198.51.100.19")}, {First: addr("198.51.100.30"), Last: addr("198.51.100.39")}},
				Lease:   time.Hour,
			},
		}},
		TFTP:    TFTP{Listen: "192.0.2.10:6969", BlockSize: 1024, SinglePort: true, MaxTransfers: 10, ScriptForLoader: ScriptNever},
		HTTP:    HTTP{Listen: ":8080", MaxTransfers: 20},
		Cache:   Cache{Enabled: true, Compression: CompressionZstd, Store: "/srv/nix/store", Keep: 20 << 30, KeyName: "lab.example.org-1", MaxTransfers: 8},
		Loaders: Loaders{Dirs: []string{"/usr/lib/ipxe", "/etc/ravenboot/loaders"}},
		Boot: boot.Policy{
			Menu: boot.Menu{Title: "Lab", Timeout: -1, Rounds: 3},
			Profiles: []boot.Profile{
				{Profile: generation.Profile{Name: "lab", Path: "/nix/var/nix/profiles/lab", Keep: 10}, Args: []string{"quiet"}},
				{Profile: generation.Profile{Name: "exam", Path: "/etc/ravenboot/exam", Keep: 0, AllowSecrets: true}},
			},
			Images: []boot.Image{{
				Name: "live", Label: "Debian live", Kernel: "/srv/live/vmlinuz", Initrds: []string{"/srv/live/initrd.img"},
				Args: []string{"boot=live", "fetch={url}/live.squashfs", `title="two words"`}, Files: []string{"/srv/live/live.squashfs"},
				Arch: []machine.Arch{machine.X86_64}, Firmware: []machine.Firmware{machine.BIOS, machine.EFI},
			}, {Name: "shell.efi", Chain: "/srv/shell.efi", Firmware: []machine.Firmware{machine.EFI}}},
			Hosts: []boot.Host{{
				Name: "lab-07", MACs: []machine.MAC{{0x52, 0x54, 0, 0x12, 0x34, 0x56}, {0x52, 0x54, 0, 0x12, 0x34, 0x57}},
				UUID: machine.UUID{0x4c, 0x4c, 0x45, 0x44, 0, 0x42, 0x35, 0x10, 0x80, 0x52, 0xb4, 0xc0, 0x4f, 0x4d, 0x34, 0x32},
				Addr: addr("192.0.2.57"),
				Settings: boot.Settings{
					Profile: "lab", Choice: &boot.Choice{Number: 42, Specialisation: "exam"}, Args: []string{"console=ttyS0", "single"},
					Timeout: new(time.Duration(0)), OnFailure: boot.FailureLocal, LocalBoot: boot.LocalExit, Loader: "ipxe.efi",
					Chainload: boot.ChainloadNever, Arch: machine.ARM64, Firmware: machine.EFI, NulTerminate: new(true),
				},
			}},
			Groups: []boot.Group{
				{Name: "virtual", Match: boot.Match{MAC: &pattern, Subnet: netip.MustParsePrefix("192.0.2.0/24"), Arch: machine.X86_64, Firmware: machine.BIOS},
					Settings: boot.Settings{Profile: "exam"}},
				{Name: "group 2", Match: boot.Match{Arch: machine.ARM64}, Settings: boot.Settings{Choice: &boot.Choice{Kind: boot.KindLocal}}},
			},
			Default: boot.Default{Action: boot.ActionLocal, Settings: boot.Settings{
				Profile: "lab", Choice: &boot.Choice{Kind: boot.KindImage, Image: "live"},
				OnFailure: boot.FailureMenu, LocalBoot: boot.LocalAuto, Chainload: boot.ChainloadAlways,
			}},
		},
		Log: Log{Level: slog.LevelDebug, Format: LogJSON},
	}
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

// Each broken configuration in testdata/broken has all its errors in a golden
// file beside it.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "broken", "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no broken configurations:", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("lab.toml", data)
			if err == nil {
				t.Fatal("was accepted")
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".err", err.Error()+"\n")
		})
	}
}

// What is legal but doubtful is told in warnings, and in nothing else.
func TestDoubtful(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "doubtful", "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no doubtful configurations:", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("lab.toml", data)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".warnings", strings.Join(c.Warnings, "\n")+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (rewrite it with -update):\n%s", file, diff)
	}
}

func TestTooManyErrors(t *testing.T) {
	_, err := Parse("lab.toml", []byte(strings.Repeat("[[host]]\nname = \"a b\"\n", 500)))
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != maxErrors+1 {
		t.Fatalf("%d errors, want %d and a last one that counts the rest", len(errs), maxErrors)
	}
	if got, want := errs[maxErrors].Error(), "lab.toml: and 900 errors more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	t.Run("relative paths begin at the file", func(t *testing.T) {
		file := filepath.Join(dir, "lab.toml")
		write(t, file, "[server]\nstate_dir = \"state\"\n")
		c, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(dir, "state"); c.Server.StateDir != want {
			t.Errorf("state_dir %s, want %s", c.Server.StateDir, want)
		}
	})
	t.Run("absent", func(t *testing.T) {
		_, err := Load(filepath.Join(dir, "absent.toml"))
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "-config") {
			t.Errorf("got %v, want ErrNotExist with advice", err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		file := filepath.Join(dir, "large.toml")
		write(t, file, strings.Repeat("#", MaxFile+1))
		_, err := Load(file)
		if err == nil || !strings.Contains(err.Error(), "large.toml: is larger than") {
			t.Errorf("got %v, want an error about its size", err)
		}
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCacheUpstream(t *testing.T) {
	const key = "cache.lab-1:VGhpcyBpcyBubyBrZXksIG9ubHkgYW4gZXhhbXBsZSE="
	c := mustParse(t, "[cache]\nupstream = \"https://cache.lab/nix/\"\npublic_keys = \""+key+"\"\nkeep = \"500M\"\n[menu]\n").Cache
	want := defaultCache
	want.Upstream, want.PublicKeys, want.Keep = "https://cache.lab/nix", []string{key}, 500<<20
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkParse1000Hosts(b *testing.B) {
	var text strings.Builder
	text.WriteString("[[profile]]\nname = \"lab\"\npath = \"/nix/var/nix/profiles/lab\"\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "[[host]]\nname = \"lab-%d\"\nmac = [\"52:54:00:00:%02x:%02x\"]\nprofile = \"lab\"\ndefault = \"latest\"\nargs = [\"console=ttyS0\"]\n", i, i/256, i%256)
	}
	for b.Loop() {
		if _, err := Parse("lab.toml", []byte(text.String())); err != nil {
			b.Fatal(err)
		}
	}
}
