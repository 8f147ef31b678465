//go:build boots

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"ravenboot/integration/lab"
)

// BenchmarkPowerOn boots a machine in two ways in turn: by ravenboot, from its
// disk, and as labsync does it, from an image of the whole system that it fetches
// into its memory at each boot. A round is a first boot, one with nothing new, and
// one after an update of 5 paths, each in both ways. The clock starts at the power
// switch and stops when the server has the machine's report that it is up.
//
//	go test -tags boots -run '^$' -bench PowerOn -benchtime 3x -timeout 40m ./integration
//
// makes three rounds, and prints a table of medians for each firmware.
func BenchmarkPowerOn(b *testing.B) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		b.Run(firmware.String(), func(b *testing.B) {
			p := newPowerOn(b, firmware)
			for b.Loop() {
				p.round()
			}
			p.print()
			for _, kind := range p.kinds {
				b.ReportMetric(kind.median(powered.whole), strings.ReplaceAll(kind.name, ", ", "-")+"-s")
			}
			b.ReportMetric(0, "ns/op") // a round's, which means nothing
		})
	}
}

// powerOn is a site whose server offers two systems in both ways.
type powerOn struct {
	*site
	systems [2]published
	kinds   []*bootKind
}

// published is one of the systems.
type published struct {
	name, toplevel string
	image          string // file
	paths          int
	imageSize      int64
}

// bootKind is a row of the table.
type bootKind struct {
	name   string
	system int  // which of the two
	image  bool // labsync's way
	disk   string
	news   int   // store paths that the machine lacks
	bytes  int64 // of their NARs
	boots  []powered
}

// powered is what was measured of a boot.
type powered struct {
	chosen  time.Duration // from the power switch to the script that loads the kernel
	network time.Duration // from there until the initrd has an address
	up      time.Duration // from there until the server knows that the system is up
	sent    int64         // bytes that the server sent
}

func (p powered) whole() float64 { return (p.chosen + p.network + p.up).Seconds() }

// sharedPaths makes a system of the size of a small NixOS without a desktop.
const sharedPaths = 20

func newPowerOn(b *testing.B, firmware lab.Firmware) *powerOn {
	b.Helper()
	lab.Tool(b, "mksquashfs")
	p := &powerOn{site: newSite(b, firmware, 2000)}
	for i := range p.systems {
		g := installed(i + 1)
		g.Own, g.Ballast, g.Shared = 4, 10, sharedPaths
		p.systems[i] = p.offer(g.Name, p.publish(g))
	}
	firstPaths, firstBytes := p.newPaths(p.systems[0].toplevel, "")
	newPaths, newBytes := p.newPaths(p.systems[1].toplevel, p.systems[0].toplevel)
	p.kinds = []*bootKind{
		{name: "first, ravenboot", disk: "/dev/vda is set up; it was blank", news: firstPaths, bytes: firstBytes},
		{name: "first, squashfs", image: true},
		{name: "unchanged, ravenboot", disk: "/dev/vda is as declared"},
		{name: "unchanged, squashfs", image: true},
		{name: "updated, ravenboot", disk: "/dev/vda is as declared", system: 1, news: newPaths, bytes: newBytes},
		{name: "updated, squashfs", system: 1, image: true},
	}
	if newPaths != 5 {
		b.Fatalf("the second system has %d paths of its own, want 5", newPaths)
	}
	return p
}

// offer makes a system's image, too.
func (p *powerOn) offer(name, toplevel string) published {
	p.t.Helper()
	s := published{name: name, toplevel: toplevel, image: filepath.Join(p.Dir(), name+".squashfs")}
	check(p.t, nixStore(p.t).SystemSquashfs(toplevel, s.image))
	info, err := os.Stat(s.image)
	check(p.t, err)
	s.imageSize = info.Size()
	s.paths, _ = p.newPaths(toplevel, "")
	return s
}

// round boots every kind once, from a new disk on.
func (p *powerOn) round() {
	p.t.Helper()
	check(p.t, os.Truncate(p.disk, 0))
	check(p.t, os.Truncate(p.disk, 2000<<20))
	for _, kind := range p.kinds {
		kind.boots = append(kind.boots, p.measure(kind))
	}
}

// measure boots the machine once, with a server that has sent nothing yet.
func (p *powerOn) measure(kind *bootKind) (m powered) {
	p.t.Helper()
	system := p.systems[kind.system]
	p.offerOnly(kind)
	defer p.server.Stop()

	started := time.Now()
	machine := p.boot(kind.name)
	if kind.image {
		machine.Expect("RAVENBOOT-NETWORK")
	} else {
		machine.Expect("RAVENBOOT-STAGE1")
	}
	network := time.Now()
	p.expectStage1(machine, kind)
	p.expectSystem(machine, system)
	var last word
	p.waitFor("the report that "+system.name+" is up", func() bool {
		last = p.lastWord()
		return last.Step == "booted" && last.Time.After(started)
	})
	if last.Outcome != "ok" {
		p.t.Errorf("%s: the machine reports %s", kind.name, last.Outcome)
	}
	machine.Off()

	chosen := p.scriptTime()
	if chosen.Before(started) {
		p.t.Errorf("%s: the server logged no script for this boot", kind.name)
	}
	m = powered{chosen.Sub(started), network.Sub(chosen), last.Time.Sub(network), p.sent("")}
	if got := p.fetched(); got != kind.bytes {
		p.t.Errorf("%s: %d bytes of NARs were fetched, want %d", kind.name, got, kind.bytes)
	}
	return m
}

// offerOnly starts a server whose menu preselects what is to be booted.
func (p *powerOn) offerOnly(kind *bootKind) {
	p.t.Helper()
	system := p.systems[kind.system]
	entry := fmt.Sprintf("lab/%d", kind.system+1)
	if kind.image {
		entry = system.name
	}
	parts := []string{dhcpServer, quickMenu, p.profile.toml(), p.cacheConfig(),
		host("lab-01", lab.MAC(1), fmt.Sprintf("args = [%q]\ndefault = %q", "ravenboot.public_key="+p.key, entry))}
	kernel, initrd := nixStore(p.t).ImageFiles()
	for _, s := range p.systems {
		parts = append(parts, fmt.Sprintf("[[image]]\nname = %q\nkernel = %q\ninitrd = [%q]\nfiles = [%q]\nargs = %q\n",
			s.name, kernel, initrd, s.image,
			"init="+s.toplevel+"/init "+kernelParams+" labtest.squashfs={url}/"+filepath.Base(s.image)))
	}
	p.server = p.Serve(config(parts...))
}

// expectStage1 waits until the initrd has done what is its own to do.
func (p *powerOn) expectStage1(m *lab.Machine, kind *bootKind) {
	p.t.Helper()
	if kind.image {
		system := p.systems[kind.system]
		m.Expect(fmt.Sprintf("RAVENBOOT-IMAGE %d bytes, %d paths", system.imageSize, system.paths))
		return
	}
	m.Expect(kind.disk)
	if kind.news > 0 {
		m.Expect(fmt.Sprintf("%d store paths to fetch", kind.news))
	}
	m.Expect("RAVENBOOT-HANDOVER")
}

// expectSystem waits until the system's own first program runs.
func (p *powerOn) expectSystem(m *lab.Machine, system published) {
	p.t.Helper()
	m.Expect("RAVENBOOT-ACTIVATED " + system.name)
	if line := m.ExpectMatch(`RAVENBOOT-BOOTED (.*)\n`)[1]; !strings.Contains(line, "init="+system.toplevel+"/init") {
		p.t.Errorf("the command line is %s, want init=%s/init", line, system.toplevel)
	}
}

// scriptTime is when the machine asked for the script that loads its kernel, by
// the server's log, which goes on where that of the server before ended.
func (p *powerOn) scriptTime() time.Time {
	p.t.Helper()
	var last struct{ Time time.Time }
	for line := range strings.Lines(p.server.Log()) {
		if strings.Contains(line, `"step":"script","outcome":"boot"`) {
			check(p.t, json.Unmarshal([]byte(line), &last))
		}
	}
	return last.Time
}

func (k *bootKind) median(of func(powered) float64) float64 {
	sorted := k.sorted(of)
	return sorted[len(sorted)/2]
}

func (k *bootKind) sorted(of func(powered) float64) []float64 {
	var values []float64
	for _, one := range k.boots {
		values = append(values, of(one))
	}
	slices.Sort(values)
	return values
}

// print writes the table in Markdown.
func (p *powerOn) print() {
	first := p.kinds[0]
	fmt.Printf("\n**Power-on to `booted`, %s, %d paths, %.0f MB of NARs, seconds**\n\n", p.firmware, first.news, float64(first.bytes)/1e6)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| boot\t| seconds\t| to the entry\t| to stage 1's network\t| to `booted`\t| MB sent\t| MB of memory\t| from - to\t|\n")
	fmt.Fprintln(w, strings.Repeat("|---\t", 8)+"|")
	for _, kind := range p.kinds {
		memory := 0.0
		if kind.image {
			memory = float64(p.systems[kind.system].imageSize) / 1e6
		}
		sorted := kind.sorted(powered.whole)
		fmt.Fprintf(w, "| %s\t| %.1f\t| %.1f\t| %.1f\t| %.1f\t| %.1f\t| %.1f\t| %.1f - %.1f\t|\n", kind.name, kind.median(powered.whole),
			kind.median(func(m powered) float64 { return m.chosen.Seconds() }),
			kind.median(func(m powered) float64 { return m.network.Seconds() }),
			kind.median(func(m powered) float64 { return m.up.Seconds() }),
			kind.median(func(m powered) float64 { return float64(m.sent) / 1e6 }), memory, sorted[0], sorted[len(sorted)-1])
	}
	w.Flush()
}
