package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The network of the wire. Its addresses are of the block for such measurements
// (RFC 2544).
const (
	farAddr  = "198.19.0.1"
	nearAddr = "198.19.0.2"
)

const (
	wireRate = 1e9 // bits a second
	// wireDelay is what a packet takes one way, so that there and back is 1 ms.
	wireDelay = 500 * time.Microsecond
	// wireQueue is how long the queue before the wire may become, in time: a
	// switch's port has a megabyte. What comes then is dropped, by which TCP learns
	// how fast the wire is.
	wireQueue = 8 * time.Millisecond
)

// wire is a gigabit between two namespaces. The kernel's own emulation (tc netem)
// is not in every kernel, so this program carries the packets: TCP at both ends
// is the kernel's, from end to end, with the losses and windows of such a wire.
type wire struct {
	far, near string // namespaces: the server's, and the machine's
	carrier   *process
}

func (b *bench) wire() (*wire, error) {
	far, err := b.space()
	if err != nil {
		return nil, err
	}
	near, err := b.space()
	if err != nil {
		return nil, err
	}
	w := &wire{far: far, near: near}
	if w.carrier, err = b.start("", b.self, "carry", far, near); err != nil {
		return nil, err
	}
	// Before the addresses are there, the far one is unreachable.
	err = w.carrier.until(func() error {
		return exec.CommandContext(b.ctx, "ip", "netns", "exec", near, b.self, "reach", farAddr+":9").Run()
	})
	if err != nil {
		w.carrier.stop()
		return nil, err
	}
	return w, nil
}

// atMachine is a command, at the machine's end of a wire if there is one.
func (w *wire) atMachine(argv ...string) []string {
	if w == nil {
		return argv
	}
	return append([]string{"ip", "netns", "exec", w.near}, argv...)
}

// counting has something use the wire, and counts what came to the machine's
// end. The kernel counts segments that travel as one packet as one, so nearly
// without their headers.
func (w *wire) counting(use func() (sample, error)) (sample, error) {
	before, err := w.arrived()
	if err != nil {
		return sample{}, err
	}
	s, err := use()
	if err != nil {
		return s, err
	}
	after, err := w.arrived()
	s.carried = after - before
	return s, err
}

func (w *wire) arrived() (bytes float64, err error) {
	argv := w.atMachine("cat", "/sys/class/net/wire1/statistics/rx_bytes")
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// reach ADDR is an error unless ADDR's machine answers, be it with a refusal.
func reach(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], time.Second)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Close()
}

// carry SPACE SPACE is the wire's process.
func carry(spaces []string) error {
	var ends [2]int
	for i, space := range spaces[:2] {
		name := fmt.Sprint("wire", i)
		fd, err := openTUN(name)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		ends[i] = fd
		for _, command := range []string{
			"link set " + name + " netns " + space,
			"-n " + space + " address add " + []string{farAddr, nearAddr}[i] + "/24 dev " + name,
			"-n " + space + " link set " + name + " up txqueuelen 1000",
		} {
			if err := ip(command); err != nil {
				return err
			}
		}
	}
	failed := make(chan error)
	for i := range ends {
		go func() { failed <- forward(ends[i], ends[1-i]) }()
	}
	return <-failed
}

// openTUN makes a network device whose packets are read and written here. It
// takes TCP's segments as network cards do, up to 64 kB in one, with a header
// that says how to cut them (struct virtio_net_hdr): otherwise carrying them
// would cost more than what is measured.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, err
	}
	return fd, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4)
}

const (
	virtioHeader = 10
	maxPacket    = virtioHeader + 65535
)

// flying is a packet on the wire.
type flying struct {
	bytes []byte
	due   time.Time // when its last bit comes out
}

// forward carries packets one way.
func forward(from, to int) error {
	onWire := make(chan flying, 4096)
	spare := make(chan []byte, cap(onWire))
	go deliver(to, onWire, spare)
	var free time.Time // when the last bit of the queue is on the wire
	for {
		buffer := take(spare)
		n, err := unix.Read(from, buffer)
		if err != nil {
			return err
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > wireQueue {
			give(spare, buffer)
			continue
		}
		free = free.Add(lasts(buffer[:n]))
		onWire <- flying{buffer[:n], free.Add(wireDelay)}
	}
}

func deliver(to int, onWire <-chan flying, spare chan<- []byte) {
	for p := range onWire {
		// Go's own timers are as coarse as epoll's, a millisecond.
		for wait := time.Until(p.due); wait > 20*time.Microsecond; wait = time.Until(p.due) {
			pause := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&pause, nil) // the loop looks at the clock
		}
		// A packet for a side that is going away is lost, as on a wire.
		_, _ = unix.Write(to, p.bytes)
		give(spare, p.bytes[:maxPacket])
	}
}

// take is a buffer that was used before, or a new one.
func take(spare <-chan []byte) []byte {
	select {
	case buffer := <-spare:
		return buffer
	default:
		return make([]byte, maxPacket)
	}
}

func give(spare chan<- []byte, buffer []byte) {
	select {
	case spare <- buffer:
	default:
	}
}

// lasts is how long the wire is busy with a packet. Each segment that a card
// would make of it has the packet's headers, and Ethernet's: 14 bytes of header,
// 4 of checksum, 8 before and 12 behind.
func lasts(packet []byte) time.Duration {
	const ethernet = 38
	headers := int(binary.LittleEndian.Uint16(packet[2:]))
	segment := int(binary.LittleEndian.Uint16(packet[4:]))
	size := len(packet) - virtioHeader
	segments := 1
	if packet[1] != 0 && segment > 0 {
		segments = (size - headers + segment - 1) / segment
	}
	bits := float64(8 * (size + (segments-1)*headers + segments*ethernet))
	return time.Duration(bits / wireRate * float64(time.Second))
}
