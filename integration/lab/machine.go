package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Patience is how long a machine may take from one thing it says to the next.
// A boot takes about 20 s on an idle machine; the rest is for busy ones.
const Patience = 240 * time.Second

// Spec describes a machine. The zero value is a BIOS machine with one network
// card and no disk.
type Spec struct {
	Firmware Firmware
	Path     string // how it boots, in words, for the table of results
	NICs     []NIC  // none means one card, with the MAC MAC(1)
	Memory   int    // MiB, 0 means 512
	UUID     string // SMBIOS system UUID, as the machine's firmware reports it
	Disk     string // argument of -drive: a raw image, or fat:rw:DIR; "" has none
}

// NIC is a network card.
type NIC struct {
	MAC     string
	Segment string  // bridge that it is plugged into; "" means Segment
	NoBoot  bool    // the firmware does not boot from it
	Loss    float64 // share of frames that the link loses, in each direction
}

// MAC is the address of the lab's card number n, in QEMU's own range.
func MAC(n int) string { return fmt.Sprintf("52:54:00:12:34:%02x", n) }

// Machine is a machine that has been switched on.
type Machine struct {
	*Console
	*Process

	l       *Lab
	spec    Spec
	monitor *monitor
	started time.Time
	took    time.Duration // until it switched itself off; 0 while it is on
}

// Boot switches a machine on. When the test ends it is switched off, and its
// line of the table of results is written.
func (l *Lab) Boot(spec Spec) *Machine {
	l.t.Helper()
	l.machines++
	name := fmt.Sprintf("machine%d", l.machines)
	if len(spec.NICs) == 0 {
		spec.NICs = []NIC{{MAC: MAC(1)}}
	}
	dir := filepath.Join(l.dir, name)
	l.check(os.Mkdir(dir, 0o755))
	serial, control := l.listen(dir, "serial"), l.listen(dir, "qmp")
	defer serial.Close()
	defer control.Close()

	m := &Machine{l: l, spec: spec, started: time.Now()}
	m.Process = l.Start(l.Namespace, name, append([]string{spec.Firmware.program()}, l.arguments(spec, dir)...)...)
	m.Console = newConsole(l.accept(m, serial))
	var err error
	m.monitor, err = newMonitor(l.accept(m, control))
	l.check(err)
	l.t.Cleanup(m.finish)
	return m
}

func (l *Lab) arguments(spec Spec, dir string) []string {
	memory := spec.Memory
	if memory == 0 {
		memory = 512
	}
	args := []string{
		"-accel", "tcg", "-m", fmt.Sprint(memory), "-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "unix:" + filepath.Join(dir, "serial"),
		"-qmp", "unix:" + filepath.Join(dir, "qmp"),
		"-no-reboot",
	}
	args = append(args, spec.Firmware.arguments(l.t, dir)...)
	if spec.Firmware != ARM64 {
		args = append(args, "-vga", "std")
	}
	if spec.UUID != "" {
		args = append(args, "-uuid", spec.UUID)
	}
	for i, nic := range spec.NICs {
		args = append(args, l.card(spec.Firmware, nic, i, dir)...)
	}
	if spec.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,file="+spec.Disk,
			"-device", "virtio-blk-pci,drive=disk,bootindex=9")
	}
	return args
}

// card plugs a network card in: QEMU's arguments for it, and the cable.
func (l *Lab) card(firmware Firmware, nic NIC, i int, dir string) []string {
	id, tap := fmt.Sprintf("n%d", i), fmt.Sprintf("m%dn%d", l.machines, i)
	segment := nic.Segment
	if segment == "" {
		segment = Segment
	}
	l.Tap(tap, segment)
	backend := "tap,id=" + id + ",ifname=" + tap + ",script=no,downscript=no"
	if nic.Loss > 0 {
		backend = l.lossyLink(id, tap, filepath.Join(dir, id), nic.Loss)
	}
	device := "virtio-net-pci,netdev=" + id + ",mac=" + nic.MAC
	if firmware != BIOS || nic.NoBoot {
		device += ",romfile="
	}
	if !nic.NoBoot {
		device += fmt.Sprintf(",bootindex=%d", i+1)
	}
	return []string{"-netdev", backend, "-device", device}
}

func (l *Lab) listen(dir, name string) net.Listener {
	l.t.Helper()
	listener, err := net.Listen("unix", filepath.Join(dir, name))
	l.check(err)
	return listener
}

// accept waits for QEMU to call. QEMU calls before the machine starts, so not a
// character is lost.
func (l *Lab) accept(m *Machine, listener net.Listener) net.Conn {
	l.t.Helper()
	l.check(listener.(*net.UnixListener).SetDeadline(time.Now().Add(30 * time.Second)))
	conn, err := listener.Accept()
	if err != nil {
		l.t.Fatalf("QEMU did not start: %v\n%s", err, m.Log())
	}
	l.t.Cleanup(func() { conn.Close() })
	return conn
}

func (l *Lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// Expect waits until the machine has printed the text, after whatever the last
// Expect found.
func (m *Machine) Expect(text string) {
	m.l.t.Helper()
	m.ExpectMatch(regexp.QuoteMeta(text))
}

// ExpectMatch does the same with a regular expression, and returns what its
// groups matched.
func (m *Machine) ExpectMatch(pattern string) []string {
	m.l.t.Helper()
	match := m.find(regexp.MustCompile(pattern), Patience)
	if match == nil {
		what := fmt.Sprintf("within %v", Patience)
		if m.Process.wait(time.Second) {
			what = "before it was switched off"
		}
		m.l.t.Fatalf("%s did not print %q %s", m.Name, pattern, what)
	}
	return match
}

// ExpectMenu waits until the machine shows a menu with the lines, in this
// order, and reads its keyboard.
func (m *Machine) ExpectMenu(lines ...string) {
	m.l.t.Helper()
	for _, line := range lines {
		m.Expect(line)
	}
	// The menu is painted before iPXE looks at the keyboard, and a key that
	// comes between the two is lost on some firmware.
	time.Sleep(time.Second)
}

// Send types on the machine's serial line.
func (m *Machine) Send(keys string) {
	m.l.t.Helper()
	_, err := m.conn.Write([]byte(keys))
	m.l.check(err)
}

// Keys as a VT100 sends them.
const (
	Up     = "\x1b[A"
	Down   = "\x1b[B"
	Enter  = "\r"
	Escape = "\x1b"
)

// Off waits until the machine has switched itself off.
func (m *Machine) Off() {
	m.l.t.Helper()
	if !m.Process.wait(Patience) {
		m.l.t.Fatalf("%s is still on after %v", m.Name, Patience)
	}
	m.took = time.Since(m.started)
}

// finish records how the boot went and, if it failed, what was on the screen.
func (m *Machine) finish() {
	failed := m.l.t.Failed()
	took := m.took
	if took == 0 {
		took = time.Since(m.started)
	}
	report(Result{m.spec.Firmware, m.spec.Path, testName(m.l.t), took, !failed})
	m.l.keep(m.Name+".console", []byte(m.Transcript()))
	if !failed {
		return
	}
	m.l.t.Logf("%s printed:\n%s", m.Name, lastLines(m.Transcript()))
	if m.Ended() || m.spec.Firmware == ARM64 { // the virt board has no screen
		return
	}
	picture, err := m.monitor.screen(filepath.Join(m.l.dir, m.Name+".ppm"))
	if err != nil {
		m.l.t.Logf("%s: no picture of the screen: %v", m.Name, err)
		return
	}
	m.l.keep(m.Name+".png", picture)
}

func testName(t testing.TB) string { return strings.TrimPrefix(t.Name(), "Test") }
