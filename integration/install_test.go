//go:build boots

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ravenboot/integration/fixture"
	"ravenboot/integration/lab"
)

// installer makes systems that install themselves. There is one for each run.
var installer struct {
	*fixture.Installer
	sync.Once
}

func newInstaller(t testing.TB) *fixture.Installer {
	t.Helper()
	installer.Do(func() {
		for _, tool := range []string{"ldd", "mkfs.ext4", "mkfs.vfat", "mkswap", "depmod", "systemctl", "udevadm"} {
			lab.Tool(t, tool)
		}
		var err error
		installer.Installer, err = nixStore(t).NewInstaller(lab.ClientBinary(t))
		check(t, err)
		// The server under test asks nix-store about this store.
		for _, setting := range nixStore(t).Environment() {
			name, value, _ := strings.Cut(setting, "=")
			check(t, os.Setenv(name, value))
		}
	})
	if installer.Installer == nil {
		t.Fatal("no installer: the first test that needed it says why")
	}
	return installer.Installer
}

// installed describes system number n. Each has five store paths of its own.
func installed(n int) fixture.Installed {
	return fixture.Installed{
		Name:    fmt.Sprintf("sys-%d", n),
		Version: fmt.Sprintf("26.05.%d", n),
		Label:   fmt.Sprintf("NixOS Lab 26.05.%d", n),
		Params:  strings.Fields(kernelParams),
		Own:     5,
	}
}

// site is a lab whose machine installs itself on its disk.
type site struct {
	*lab.Lab
	t        testing.TB
	firmware lab.Firmware
	profile  *profile
	server   *lab.Server
	disk     string
	key      string // public, of the server's cache
}

// newSite makes a lab with a disk of so many MiB that was never used.
func newSite(t testing.TB, firmware lab.Firmware, diskSize int64) *site {
	t.Helper()
	s := &site{Lab: lab.New(t, 1), t: t, firmware: firmware}
	newInstaller(t)
	s.profile = &profile{filepath.Join(s.Dir(), "profiles", "lab"), t}
	s.disk = filepath.Join(s.Dir(), "disk")
	check(t, os.WriteFile(s.disk, nil, 0o600))
	check(t, os.Truncate(s.disk, diskSize<<20))
	var err error
	s.key, err = nixStore(t).MakeKey("lab-1", filepath.Join(s.StateDir(), "cache.key"))
	check(t, err)
	return s
}

// publish makes a system the profile's next generation.
func (s *site) publish(g fixture.Installed) (toplevel string) {
	s.t.Helper()
	toplevel, err := newInstaller(s.t).Build(g)
	check(s.t, err)
	check(s.t, nixStore(s.t).Set(s.profile.Path, toplevel))
	return toplevel
}

// serve starts the server, with further arguments for the machine's kernel.
func (s *site) serve(menu string, args ...string) {
	s.t.Helper()
	args = append([]string{"ravenboot.public_key=" + s.key}, args...)
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = strconv.Quote(arg)
	}
	s.server = s.Serve(config(dhcpServer, menu, s.profile.toml(), s.cacheConfig(),
		host("lab-01", lab.MAC(1), "args = ["+strings.Join(quoted, ", ")+"]")))
}

func (s *site) cacheConfig() string {
	return fmt.Sprintf("[cache]\nenabled = true\nstore = %q\n", nixStore(s.t).Dir())
}

// boot switches the machine on.
func (s *site) boot(path string) *lab.Machine {
	s.t.Helper()
	return s.Boot(lab.Spec{Firmware: s.firmware, Path: path, Memory: 1024, Disk: s.disk})
}

// up waits until the system is up, and the server knows.
func (s *site) up(m *lab.Machine, name, toplevel string) {
	s.t.Helper()
	m.Expect("RAVENBOOT-ACTIVATED " + name)
	line := m.ExpectMatch(`RAVENBOOT-BOOTED (.*)\n`)[1]
	if !strings.Contains(line, "init="+toplevel+"/init") {
		s.t.Errorf("the command line is %s, want init=%s/init", line, toplevel)
	}
	m.Expect("RAVENBOOT-PROFILE system-")
	m.ExpectMatch(`RAVENBOOT-(STORE|DONE)`)
	s.expectWord("booted", "ok")
}

// word is what a machine said last.
type word struct {
	Machine, Name, Step, Outcome, Text string
	Time                               time.Time
}

// expectWord waits until the server knows that the machine's last word is the
// step's outcome. A machine writes on its screen before it reports.
func (s *site) expectWord(step, outcome string) {
	s.t.Helper()
	s.waitFor("the report "+step+" "+outcome, func() bool {
		got := s.lastWord()
		return got.Step == step && got.Outcome == outcome
	})
}

// lastWord is empty for a machine that said nothing yet.
func (s *site) lastWord() word {
	s.t.Helper()
	var words []word
	check(s.t, json.Unmarshal([]byte(s.get("http://127.0.0.1:9080/api/v1/machines")), &words))
	for _, w := range words {
		if w.Machine == lab.MAC(1) {
			return w
		}
	}
	return word{}
}

func (s *site) get(url string) string {
	s.t.Helper()
	client := s.Client()
	client.Timeout = 10 * time.Second
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	check(s.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(s.t, err)
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s: %s", url, answer.Status, text)
	}
	return string(text)
}

// fetched is how many bytes of NARs the server has sent since it started.
func (s *site) fetched() int64 {
	s.t.Helper()
	return s.sent(`kind="nar"`)
}

// sent is the same of all that has these labels, in the order of /metrics.
func (s *site) sent(labels string) (sum int64) {
	s.t.Helper()
	pattern := regexp.MustCompile(`(?m)^ravenboot_transfer_bytes_total\{` + labels + `.*\} (.*)$`)
	for _, match := range pattern.FindAllStringSubmatch(s.get("http://127.0.0.1:9080/metrics"), -1) {
		n, err := strconv.ParseFloat(match[1], 64)
		check(s.t, err)
		sum += int64(n)
	}
	return sum
}

// newPaths is the size of the NARs of what one system has and another lacks.
func (s *site) newPaths(toplevel, before string) (count int, size int64) {
	s.t.Helper()
	there := map[string]bool{}
	if before != "" {
		paths, err := nixStore(s.t).Closure(before)
		check(s.t, err)
		for _, path := range paths {
			there[path] = true
		}
	}
	paths, err := nixStore(s.t).Closure(toplevel)
	check(s.t, err)
	var missing []string
	for _, path := range paths {
		if !there[path] {
			missing = append(missing, path)
		}
	}
	size, err = nixStore(s.t).NarSize(missing)
	check(s.t, err)
	return len(missing), size
}

func TestInstall(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			installAndUpdate(t, firmware, "native")
		})
	}
}

// installAndUpdate takes one machine from a blank disk to its first system, an
// unchanged boot, an update and the older system, each by what the menu says.
func installAndUpdate(t *testing.T, firmware lab.Firmware, engine string) {
	s := newSite(t, firmware, 1500)
	first := s.publish(withEngine(installed(1), engine))
	s.serve(quickMenu, "lab.verify=yes", "ravenboot.engine="+engine)

	m := s.boot("blank disk, engine " + engine)
	m.Expect("/dev/vda is set up; it was blank")
	s.up(m, "sys-1", first)
	count, size := s.newPaths(first, "")
	m.Expect(fmt.Sprintf("valid, closure of %d paths", count))
	m.Expect("RAVENBOOT-GC kept the system")
	m.Off()
	if got := s.fetched(); got != size {
		t.Errorf("%d bytes of NARs were fetched, want the closure's %d", got, size)
	}

	s.server.Stop()
	s.Restart(s.server)
	m = s.boot("the same disk again, engine " + engine)
	m.Expect("/dev/vda is as declared")
	s.up(m, "sys-1", first)
	m.Off()
	if got := s.fetched(); got != 0 {
		t.Errorf("%d bytes of NARs were fetched for a system that is there", got)
	}

	second := s.publish(withEngine(installed(2), engine))
	m = s.boot("update of 5 paths, engine " + engine)
	s.up(m, "sys-2", second)
	m.Off()
	count, size = s.newPaths(second, first)
	if got := s.fetched(); count != 5 || got != size {
		t.Errorf("%d bytes were fetched, want the %d of %d paths, which are 5", got, size, count)
	}

	s.server.Stop()
	s.serve(slowMenu, "lab.verify=yes", "ravenboot.engine="+engine)
	m = s.boot("the older system by keys, engine " + engine)
	m.ExpectMenu("26.05.2", "26.05.1")
	m.Send(lab.Down)
	m.Send(lab.Enter)
	s.up(m, "sys-1", first)
	m.Off()
	if got := s.fetched(); got != 0 {
		t.Errorf("%d bytes of NARs were fetched for a system that is there", got)
	}
}

// withEngine puts Nix into the initrd where the engine needs it.
func withEngine(g fixture.Installed, engine string) fixture.Installed {
	g.Nix = engine == "nix"
	return g
}

// TestInstallByNix is the same with the Nix in the initrd.
func TestInstallByNix(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			installAndUpdate(t, firmware, "nix")
		})
	}
}

// TestInstallBySystemd boots an initrd whose first program is systemd, with the
// units and the network that nixos/client.nix puts into NixOS's. What is foreign
// on the disk differs: without a partition that has the root's name, the root's
// device is waited for; with one, it is there from the start, and another.
func TestInstallBySystemd(t *testing.T) {
	for _, test := range []struct {
		firmware lab.Firmware
		foreign  func(t *testing.T, disk string)
	}{
		{lab.BIOS, thesis},
		{lab.UEFI, otherRoot},
	} {
		t.Run(test.firmware.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.firmware, 1500)
			g := installed(1)
			g.Systemd = true
			toplevel := s.publish(g)
			s.serve(quickMenu)

			m := s.boot("systemd's initrd, blank disk")
			m.Expect("/dev/vda is set up; it was blank")
			s.up(m, "sys-1", toplevel)
			m.Off()
			if _, size := s.newPaths(toplevel, ""); s.fetched() != size {
				t.Errorf("%d bytes of NARs were fetched, want the closure's %d", s.fetched(), size)
			}

			s.server.Stop()
			s.Restart(s.server)
			m = s.boot("systemd's initrd, the same disk again")
			m.Expect("/dev/vda is as declared")
			s.up(m, "sys-1", toplevel)
			m.Off()
			if got := s.fetched(); got != 0 {
				t.Errorf("%d bytes of NARs were fetched for a system that is there", got)
			}

			s.server.Stop()
			s.serve(quickMenu, "lab.verify=yes")
			check(t, os.Truncate(s.disk, 0))
			check(t, os.Truncate(s.disk, 1500<<20))
			test.foreign(t, s.disk)
			before := checksum(t, s.disk)
			m = s.boot("systemd's initrd, foreign disk: refused, approved, erased")
			m.Expect("/dev/vda is foreign")
			m.Expect("thesis")
			m.Expect("ravenboot approve " + lab.MAC(1))
			s.expectWord("layout", "refused")
			time.Sleep(fixture.DeviceTimeout + 5*time.Second)
			if got := checksum(t, s.disk); got != before {
				t.Error("the disk was changed before anybody approved")
			}
			s.RunRavenboot(s.server, "approve", "lab-01")
			m.Expect("/dev/vda is set up; it was foreign")
			// It would have been written over the last line of the refusal.
			if _, screen, _ := strings.Cut(m.Transcript(), "/dev/vda is foreign"); strings.Contains(screen, "start job is running") {
				t.Error("systemd wrote on the screen while the machine asked")
			}
			s.up(m, "sys-1", toplevel)
			m.Expect("valid, closure of")
			m.Off()
		})
	}
}

// thesis makes a disk of one file system, without partitions.
func thesis(t *testing.T, disk string) {
	t.Helper()
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-L", "thesis", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// otherRoot makes a disk whose only partition has the name of the declared
// root's, and a file system, but another place.
func otherRoot(t *testing.T, disk string) {
	t.Helper()
	table := exec.Command("sfdisk", "-q", disk)
	table.Stdin = strings.NewReader("label: gpt\nstart=2048, size=600MiB, name=nixos\n")
	if out, err := table.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-L", "thesis", "-E", "offset=1048576", disk, "600M").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestInstallInterrupted kills the server in the middle of a download, which
// goes on when there is one again, and then cuts the machine's power.
func TestInstallInterrupted(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, firmware, 1500)
			g := installed(1)
			g.Ballast = 40
			toplevel := s.publish(g)
			proxy := s.proxy()
			s.serve(quickMenu, "lab.verify=yes", "ravenboot.url="+proxy.URL)

			proxy.pace(8 << 20)
			m := s.boot("server killed, then power cut, during the download")
			m.Expect("store paths to fetch")
			s.waitFor("half of the download", func() bool { return proxy.nars.Load() > 40<<20 })
			s.server.Kill()
			m.Expect("trying again")
			s.Restart(s.server)
			s.waitFor("some paths as a whole", func() bool { return proxy.ends.Load() > 20<<20 })
			kept := proxy.ends.Load()
			// What has arrived is on the disk a few seconds later.
			proxy.pace(64 << 10)
			time.Sleep(15 * time.Second)
			m.Kill()

			proxy.pace(0)
			proxy.nars.Store(0)
			m = s.boot("the boot after that")
			m.Expect("/dev/vda is as declared")
			s.up(m, "sys-1", toplevel)
			count, size := s.newPaths(toplevel, "")
			m.Expect(fmt.Sprintf("valid, closure of %d paths", count))
			m.Off()
			// Half is for a slow machine, which hadn't come to write the last of it.
			if again := proxy.nars.Load(); again > size-kept/2 {
				t.Errorf("%d of %d bytes were fetched again, though paths of %d had come long before the power was cut", again, size, kept)
			}
		})
	}
}

// TestInstallRefusesWhatIsNotSigned alters what is on its way, in turn: content,
// signature, and none at all. Each is named on the screen, and the machine goes
// on once all is well.
func TestInstallRefusesWhatIsNotSigned(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, firmware, 1500)
			toplevel := s.publish(installed(1))
			proxy := s.proxy()
			s.serve(quickMenu, "lab.verify=yes", "ravenboot.url="+proxy.URL)

			proxy.alter("/nar/", func(nar []byte) []byte {
				return bytes.ReplaceAll(nar, []byte("text 2 of sys"), []byte("text 3 of sys"))
			})
			m := s.boot("NAR altered, wrong signature, no signature, then all well")
			m.ExpectMatch(`closure failed: \S*-own-2: its content is not what was signed`)
			proxy.alter(".narinfo", otherSignature)
			m.ExpectMatch(`closure failed: \S*-nixos-system-lab-26.05.1: no signature by a trusted key: it is signed by "lab-1"`)
			proxy.alter(".narinfo", noSignature)
			m.ExpectMatch(`closure failed: \S*-nixos-system-lab-26.05.1: no signature by a trusted key: it is not signed`)
			s.expectWord("closure", "failed")
			proxy.alter("", nil)
			s.up(m, "sys-1", toplevel)
			m.Expect("valid, closure of")
			m.Off()
		})
	}
}

var signatureLine = regexp.MustCompile(`(?m)^(Sig: lab-1:.{20})(.)(.*\n)`)

// otherSignature changes a signature's bits.
func otherSignature(narinfo []byte) []byte {
	return signatureLine.ReplaceAllFunc(narinfo, func(line []byte) []byte {
		parts := signatureLine.FindSubmatch(line)
		other := []byte("A")
		if bytes.Equal(parts[2], other) {
			other = []byte("B")
		}
		return slices.Concat(parts[1], other, parts[3])
	})
}

func noSignature(narinfo []byte) []byte { return signatureLine.ReplaceAll(narinfo, nil) }

// TestInstallAsksBeforeItErases boots with a disk of somebody else's.
func TestInstallAsksBeforeItErases(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, firmware, 1500)
			toplevel := s.publish(installed(1))
			s.serve(quickMenu)
			thesis(t, s.disk)
			before := checksum(t, s.disk)

			m := s.boot("foreign disk: refused, approved, erased")
			m.Expect("/dev/vda is foreign")
			m.Expect("thesis")
			m.Expect("ravenboot approve " + lab.MAC(1))
			s.expectWord("layout", "refused")
			if got := checksum(t, s.disk); got != before {
				t.Error("the disk was changed before anybody approved")
			}
			s.RunRavenboot(s.server, "approve", "lab-01")
			m.Expect("/dev/vda is set up; it was foreign")
			s.up(m, "sys-1", toplevel)
			m.Off()
		})
	}
}

// TestInstallOnSmallDisk fills a disk with systems: the old ones make room for
// the new, and one that is too large is refused in plain words.
func TestInstallOnSmallDisk(t *testing.T) {
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(firmware.String(), func(t *testing.T) {
			t.Parallel()
			installOnSmallDisk(t, newSite(t, firmware, 520))
		})
	}
}

func installOnSmallDisk(t *testing.T, s *site) {
	large := func(n, ballast int) fixture.Installed {
		g := installed(n)
		g.Ballast = ballast
		return g
	}
	s.serve(quickMenu, "lab.verify=yes", "ravenboot.on_failure=shell")
	for n := 1; n <= 2; n++ {
		toplevel := s.publish(large(n, 80))
		m := s.boot(fmt.Sprintf("small disk, system %d", n))
		s.up(m, fmt.Sprintf("sys-%d", n), toplevel)
		m.Off()
	}
	toplevel := s.publish(large(3, 80))
	m := s.boot("small disk, an old system makes room")
	m.Expect("removed generations 1")
	s.up(m, "sys-3", toplevel)
	m.Expect("valid, closure of")
	m.Off()

	s.publish(large(4, 400))
	m = s.boot("small disk, a system that is too large")
	m.Expect("the disk is full")
	m.Expect("give it a larger disk, or a smaller system")
	m.Expect("RAVENBOOT-FAILED closure")
	m.Off()
}

func checksum(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("sha256sum", file).Output()
	check(t, err)
	return string(out)
}

func (s *site) waitFor(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(lab.Patience); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %v for %s", lab.Patience, what)
		}
	}
}
