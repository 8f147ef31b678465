package boot

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

type fakeGenerations map[string][]generation.Generation

func (f fakeGenerations) Generations(profile string) []generation.Generation { return f[profile] }

type fakeLoaders []string

func (f fakeLoaders) Has(name string) bool {
	for _, have := range f {
		if have == name {
			return true
		}
	}
	return false
}

func mac(s string) machine.MAC {
	m, err := machine.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func pattern(s string) *machine.MACPattern {
	p, err := machine.ParseMACPattern(s)
	if err != nil {
		panic(err)
	}
	return &p
}

func choice(s string) *Choice {
	c, err := ParseChoice(s)
	if err != nil {
		panic(err)
	}
	return &c
}

func someGenerations(profile string, numbers ...int) []generation.Generation {
	var all []generation.Generation
	for _, n := range numbers {
		g := generation.Generation{
			Profile: profile, Number: n, Date: time.Date(2026, 11, n%28+1, 12, 0, 0, 0, time.UTC), Current: n == 41,
			System: generation.System{
				Toplevel: fmt.Sprintf("/nix/store/%s-%d", profile, n), System: "x86_64-linux",
				Label: "NixOS Yarara 26.05 (Linux 6.18)", KernelParams: []string{"loglevel=4"},
			},
			KernelVersion: "6.18",
		}
		g.Specialisations = []generation.Specialisation{{Name: "exam", System: g.System}}
		all = append(all, g)
	}
	return all
}

func labPolicy() Policy {
	short := 2 * time.Second
	return Policy{
		Menu: Menu{Title: "Lab", Timeout: 5 * time.Second, Shell: true, Rounds: 3},
		Profiles: []Profile{
			{Profile: generation.Profile{Name: "lab"}, Args: []string{"profile"}},
			{Profile: generation.Profile{Name: "srv"}},
		},
		Images: []Image{
			{Name: "memtest", Label: "Memory test", Kernel: "/m", Firmware: []machine.Firmware{machine.BIOS}},
			{Name: "pi-rescue", Kernel: "/p", Arch: []machine.Arch{machine.ARM64}},
		},
		Hosts: []Host{
			{Name: "lab-01", MACs: []machine.MAC{mac("52:54:00:00:00:01"), mac("52:54:00:00:01:01")},
				UUID:     mustUUID("4c4c4544-0042-3510-8052-b4c04f4d3432"),
				Settings: Settings{Choice: choice("41"), Args: []string{"host"}, Timeout: &short}},
			{Name: "srv-01", MACs: []machine.MAC{mac("52:54:00:00:00:02")},
				Settings: Settings{Profile: "lab", Choice: choice("srv/7/exam"), Loader: "ipxe.efi"}},
			{Name: "gone", MACs: []machine.MAC{mac("52:54:00:00:00:03")}, Settings: Settings{Choice: choice("12")}},
			{Name: "pi", MACs: []machine.MAC{mac("dc:a6:32:00:00:01")},
				Settings: Settings{Arch: machine.ARM64, Firmware: machine.EFI, OnFailure: FailureLocal}},
		},
		Groups: []Group{
			{Name: "group lab", Match: Match{MAC: pattern("52:54:00:*")}, Settings: Settings{Profile: "lab", Args: []string{"group"}}},
			{Name: "group annex", Match: Match{Subnet: netip.MustParsePrefix("198.51.100.0/24")}, Settings: Settings{Profile: "srv"}},
			{Name: "group arm", Match: Match{Arch: machine.ARM64, Firmware: machine.EFI}, Settings: Settings{Choice: choice("pi-rescue")}},
		},
		Default: Default{Action: ActionMenu, Settings: Settings{Profile: "lab", Args: []string{"default"}}},
	}
}

func mustUUID(s string) machine.UUID {
	u, err := machine.ParseUUID(s)
	if err != nil {
		panic(err)
	}
	return u
}

func labDecider(p Policy) *Decider {
	return New(p, fakeGenerations{"lab": someGenerations("lab", 42, 41), "srv": someGenerations("srv", 7)},
		fakeLoaders{"undionly.kpxe", "snponly.efi", "ipxe.efi", "ipxe-arm64.efi"})
}

func TestWhoGetsWhat(t *testing.T) {
	unknown := mac("02:00:00:00:00:09")
	for _, row := range []struct {
		name        string
		machine     machine.Machine
		wantName    string
		wantDefault string
		wantReason  string
	}{
		{"host by its MAC", machine.Machine{MAC: mac("52:54:00:00:00:01")}, "lab-01", "lab/41", "host lab-01 matches"},
		{"host by its second MAC", machine.Machine{MAC: mac("52:54:00:00:01:01")}, "lab-01", "lab/41", "host lab-01"},
		{"host by another NIC's MAC", machine.Machine{MAC: unknown, Others: []machine.MAC{mac("52:54:00:00:01:01")}}, "lab-01", "lab/41", "host lab-01"},
		{"host by UUID", machine.Machine{MAC: unknown, UUID: mustUUID("4c4c4544-0042-3510-8052-b4c04f4d3432")}, "lab-01", "lab/41", "host lab-01"},
		{"host by UUID in the other byte order", machine.Machine{MAC: unknown, UUID: mustUUID("44454c4c-4200-1035-8052-b4c04f4d3432")}, "lab-01", "lab/41", "host lab-01"},
		{"a board without a UUID is no host", machine.Machine{MAC: unknown, UUID: mustUUID("ffffffff-ffff-ffff-ffff-ffffffffffff")}, "", "lab/42", "[default] decides"},
		{"another profile's specialisation", machine.Machine{MAC: mac("52:54:00:00:00:02")}, "srv-01", "srv/7/exam", `default "srv/7/exam" is srv/7/exam`},
		{"a default that is gone", machine.Machine{MAC: mac("52:54:00:00:00:03")}, "gone", "lab/42", `default "12" is not on offer`},
		{"group by MAC", machine.Machine{MAC: mac("52:54:00:99:99:99")}, "", "lab/42", "group lab matches"},
		{"group by subnet", machine.Machine{MAC: unknown, Addr: netip.MustParseAddr("198.51.100.7")}, "", "srv/7", "group annex matches"},
		{"group by architecture and firmware", machine.Machine{MAC: unknown, Arch: machine.ARM64, Firmware: machine.EFI}, "", "pi-rescue", "group arm matches"},
		{"nothing matches", machine.Machine{MAC: unknown}, "", "lab/42", "no host or group matches"},
	} {
		t.Run(row.name, func(t *testing.T) {
			plan := labDecider(labPolicy()).Menu(row.machine)
			if got := plan.Entries[plan.Default].ID; got != row.wantDefault || plan.Name != row.wantName {
				t.Errorf("machine %q gets %s, want %q and %s", plan.Name, got, row.wantName, row.wantDefault)
			}
			if !strings.Contains(plan.Reason, row.wantReason) {
				t.Errorf("reason %q, want %q in it", plan.Reason, row.wantReason)
			}
		})
	}
}

func TestMenuEntries(t *testing.T) {
	d := labDecider(labPolicy())
	for _, row := range []struct {
		name    string
		machine machine.Machine
		want    []string
	}{
		{"BIOS", machine.Machine{MAC: mac("52:54:00:00:00:01"), Arch: machine.X86_64, Firmware: machine.BIOS},
			[]string{"lab/42", "lab/42/exam", "lab/41", "lab/41/exam", "memtest", "local", "shell", "reboot", "poweroff"}},
		{"EFI", machine.Machine{MAC: mac("52:54:00:00:00:01"), Arch: machine.X86_64, Firmware: machine.EFI},
			[]string{"lab/42", "lab/42/exam", "lab/41", "lab/41/exam", "local", "shell", "reboot", "poweroff"}},
		{"arm64 sees no x86 generation", machine.Machine{MAC: mac("52:54:00:00:00:01"), Arch: machine.ARM64, Firmware: machine.EFI},
			[]string{"pi-rescue", "local", "shell", "reboot", "poweroff"}},
		{"32-bit sees no 64-bit generation", machine.Machine{MAC: mac("52:54:00:00:00:01"), Arch: machine.I386, Firmware: machine.BIOS},
			[]string{"memtest", "local", "shell", "reboot", "poweroff"}},
	} {
		var got []string
		for _, e := range d.Menu(row.machine).Entries {
			got = append(got, e.ID)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}

func TestMenuFollowsTheGenerations(t *testing.T) {
	gens := fakeGenerations{"lab": someGenerations("lab", 41)}
	d := New(labPolicy(), gens, fakeLoaders{})
	m := machine.Machine{MAC: mac("02:00:00:00:00:09")}
	if got := d.Menu(m).Entries[0].ID; got != "lab/41" {
		t.Fatalf("first entry %s", got)
	}
	gens["lab"] = someGenerations("lab", 42, 41)
	if got := d.Menu(m).Entries[0].ID; got != "lab/42" {
		t.Errorf("first entry %s after 42 was published", got)
	}
	gens["lab"] = nil
	plan := d.Menu(m)
	if got := plan.Entries[plan.Default].ID; got != "local" || !strings.Contains(plan.Reason, "nor is any generation") {
		t.Errorf("default %s without generations, reason %q", got, plan.Reason)
	}
}

func TestUnknownMachines(t *testing.T) {
	unknown := machine.Machine{MAC: mac("02:00:00:00:00:09")}
	pxe := Request{Machine: unknown, Clients: []machine.Client{{Firmware: machine.BIOS, Arch: machine.X86_64}}}
	for _, row := range []struct {
		action          Action
		refused, direct bool
		start           StartKind
	}{
		{ActionMenu, false, false, StartLoader},
		{ActionLocal, false, true, StartLoader},
		{ActionIgnore, true, false, StartNothing},
	} {
		policy := labPolicy()
		policy.Default.Action = row.action
		d := labDecider(policy)
		plan := d.Menu(unknown)
		if plan.Refused != row.refused || plan.Direct != row.direct {
			t.Errorf("%s: refused %v, direct %v", row.action, plan.Refused, plan.Direct)
		}
		if plan.Direct && plan.Entries[plan.Default].Kind != KindLocal {
			t.Errorf("%s boots %s", row.action, plan.Entries[plan.Default].ID)
		}
		if start := d.Start(pxe); start.Kind != row.start || start.Reason == "" {
			t.Errorf("%s: start %v, reason %q", row.action, start.Kind, start.Reason)
		}
		if _, err := d.Boot(unknown, "lab/42"); (err != nil) != row.refused {
			t.Errorf("%s: boot: %v", row.action, err)
		}
		known := machine.Machine{MAC: mac("52:54:00:00:00:01")}
		if plan := d.Menu(known); plan.Refused || plan.Direct {
			t.Errorf("%s reaches a host of the configuration", row.action)
		}
	}
}

func TestArgsAddUp(t *testing.T) {
	plan, err := labDecider(labPolicy()).Boot(machine.Machine{MAC: mac("52:54:00:00:00:01")}, "latest")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"profile", "default", "group", "host"}, plan.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if plan.Entry.ID != "lab/42" || plan.Timeout != 2*time.Second || plan.OnFailure != FailureRetry || plan.Rounds != 3 {
		t.Errorf("plan %+v", plan)
	}
}

func TestBoot(t *testing.T) {
	d := labDecider(labPolicy())
	m := machine.Machine{MAC: mac("52:54:00:00:00:01"), Arch: machine.X86_64, Firmware: machine.EFI}
	for id, want := range map[string]string{
		"latest": "lab/42", "current": "lab/41", "41": "lab/41", "lab/latest": "lab/42", "lab/42/exam": "lab/42/exam",
		"latest/exam": "lab/42/exam", "srv/7": "srv/7", "local": "local", "shell": "shell", "reboot": "reboot", "poweroff": "poweroff",
	} {
		plan, err := d.Boot(m, id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
		} else if plan.Entry.ID != want {
			t.Errorf("%s boots %q, want %s", id, plan.Entry.ID, want)
		}
	}
	for id, want := range map[string]string{
		"7": "not on offer", "lab/43": "not on offer", "lab/42/none": "not on offer", "nothing": "not on offer",
		"memtest": "does not fit", "": "names no entry", "lab/": "names no entry", "lab/42/exam/x": "names no entry",
		"lab/x": "names no entry", strings.Repeat("x/", 500): "names no entry",
	} {
		_, err := d.Boot(m, id)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%q: error %v, want %q", id, err, want)
		}
	}
}

func TestDefaultsPinTheirGenerations(t *testing.T) {
	policy := labPolicy()
	got := map[string][]int{}
	for _, p := range policy.GenerationProfiles() {
		got[p.Name] = p.Pinned
	}
	want := map[string][]int{"lab": {41, 12}, "srv": {41, 7, 12}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pinned (-want +got):\n%s", diff)
	}
}

func TestShellCanBeTurnedOff(t *testing.T) {
	policy := labPolicy()
	policy.Menu.Shell = false
	d := labDecider(policy)
	m := machine.Machine{MAC: mac("52:54:00:00:00:01")}
	for _, e := range d.Menu(m).Entries {
		if e.Kind == KindShell {
			t.Error("the menu has a shell")
		}
	}
	if _, err := d.Boot(m, "shell"); err == nil {
		t.Error("the shell can be asked for")
	}
}

func TestStart(t *testing.T) {
	able := &machine.IPXE{Told: true, HTTP: true, Menu: true, BzImage: true}
	noHTTP := &machine.IPXE{Told: true, Menu: true, BzImage: true}
	bios := machine.Client{Firmware: machine.BIOS, Arch: machine.X86_64}
	efi := machine.Client{Firmware: machine.EFI, Arch: machine.X86_64}
	with := func(c machine.Client, x *machine.IPXE) machine.Client { c.IPXE = x; return c }
	for _, row := range []struct {
		name       string
		mac        string
		chainload  Chainload
		clients    []machine.Client
		handed     int
		wantKind   StartKind
		wantLoader string
		wantReason string
	}{
		{"BIOS", "02:00:00:00:00:09", "", []machine.Client{bios}, 0, StartLoader, "undionly.kpxe", "loader for bios x86_64"},
		{"EFI", "02:00:00:00:00:09", "", []machine.Client{efi}, 0, StartLoader, "snponly.efi", "loader for efi x86_64"},
		{"arm64, whose first choice is not there", "02:00:00:00:00:09", "", []machine.Client{{Firmware: machine.EFI, Arch: machine.ARM64}}, 0, StartLoader, "ipxe-arm64.efi", "arm64"},
		{"IA32 EFI has no loader in Debian", "02:00:00:00:00:09", "", []machine.Client{{Firmware: machine.EFI, Arch: machine.I386}}, 0, StartNothing, "", "none of snponly-i386.efi, ipxe-i386.efi"},
		{"the first of several that there is a loader for", "02:00:00:00:00:09", "",
			[]machine.Client{{Firmware: machine.EFI, Arch: machine.I386}, efi}, 0, StartLoader, "snponly.efi", "efi x86_64"},
		{"a Raspberry Pi's ROM", "02:00:00:00:00:09", "", []machine.Client{{Firmware: machine.RaspberryPi, Arch: machine.ARM64}}, 0, StartNothing, "", "Raspberry Pi"},
		{"a Raspberry Pi's UEFI that calls itself BIOS", "dc:a6:32:00:00:01", "", []machine.Client{bios}, 0, StartLoader, "ipxe-arm64.efi", "host pi"},
		{"a host's own loader", "52:54:00:00:00:02", "", []machine.Client{efi}, 0, StartLoader, "ipxe.efi", `loader = "ipxe.efi" is set`},
		{"able iPXE", "02:00:00:00:00:09", ChainloadAuto, []machine.Client{with(bios, able)}, 0, StartScript, "", "has what boot scripts need"},
		{"iPXE without HTTP", "02:00:00:00:00:09", ChainloadAuto, []machine.Client{with(bios, noHTTP)}, 0, StartLoader, "undionly.kpxe", "lacks HTTP"},
		{"iPXE without HTTP, again after a reset", "02:00:00:00:00:09", ChainloadAuto, []machine.Client{with(bios, noHTTP)}, 2, StartLoader, "undionly.kpxe", "lacks HTTP"},
		{"iPXE in a loop", "02:00:00:00:00:09", ChainloadAuto, []machine.Client{with(bios, noHTTP)}, 3, StartScript, "", "loop"},
		{"iPXE never chainloaded", "02:00:00:00:00:09", ChainloadNever, []machine.Client{with(bios, noHTTP)}, 0, StartScript, "", `chainload = "never"`},
		{"iPXE always chainloaded", "02:00:00:00:00:09", ChainloadAlways, []machine.Client{with(bios, able)}, 0, StartLoader, "undionly.kpxe", `chainload = "always"`},
		{"our own loader after that", "02:00:00:00:00:09", ChainloadAlways, []machine.Client{with(bios, able)}, 1, StartScript, "", `chainload = "always"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy := labPolicy()
			policy.Default.Chainload = row.chainload
			r := Request{Machine: machine.Machine{MAC: mac(row.mac)}, Clients: row.clients, Handed: row.handed}
			got := labDecider(policy).Start(r)
			if got.Kind != row.wantKind || got.Loader != row.wantLoader || !strings.Contains(got.Reason, row.wantReason) {
				t.Errorf("%v %q because %q; want %v %q and %q", got.Kind, got.Loader, got.Reason, row.wantKind, row.wantLoader, row.wantReason)
			}
		})
	}
}

func TestGenerationLabel(t *testing.T) {
	g := someGenerations("lab", 41)[0]
	if got, want := generationLabel(&g), "lab 41  2026-11-14  NixOS Yarara 26.05 (Linux 6.18) *"; got != want {
		t.Errorf("label %q, want %q", got, want)
	}
	g.Label, g.Current = "exam room", false
	if got, want := generationLabel(&g), "lab 41  2026-11-14  exam room (Linux 6.18)"; got != want {
		t.Errorf("label %q, want %q", got, want)
	}
}

func FuzzChoice(f *testing.F) {
	for _, s := range []string{"latest", "42", "lab/42", "lab/42/exam", "memtest", "local", "lab/latest/exam", "0", "007", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChoice(s)
		if err != nil {
			return
		}
		if again, err := ParseChoice(c.String()); err != nil || again != c {
			t.Errorf("%q is %+v, which prints as %q, which is %+v, %v", s, c, c.String(), again, err)
		}
	})
}

func thousandHosts() *Decider {
	policy := labPolicy()
	for i := range 1000 {
		policy.Hosts = append(policy.Hosts, Host{
			Name: fmt.Sprintf("pc-%d", i), MACs: []machine.MAC{{2, 0, 0, 1, byte(i >> 8), byte(i)}},
			Settings: Settings{Profile: "lab"},
		})
	}
	var numbers []int
	for n := 60; n > 40; n-- {
		numbers = append(numbers, n)
	}
	return New(policy, fakeGenerations{"lab": someGenerations("lab", numbers...)}, fakeLoaders{"snponly.efi"})
}

func BenchmarkStart(b *testing.B) {
	d := thousandHosts()
	r := Request{
		Machine: machine.Machine{MAC: machine.MAC{2, 0, 0, 1, 1, 7}},
		Clients: []machine.Client{{Firmware: machine.EFI, Arch: machine.X86_64}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if d.Start(r).Kind != StartLoader {
			b.Fatal("no loader")
		}
	}
}

func BenchmarkMenu(b *testing.B) {
	d := thousandHosts()
	m := machine.Machine{MAC: machine.MAC{2, 0, 0, 1, 1, 7}, Arch: machine.X86_64, Firmware: machine.EFI}
	b.ReportAllocs()
	for b.Loop() {
		if len(d.Menu(m).Entries) < 20 {
			b.Fatal("no menu")
		}
	}
}
