package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The network behind the link. Addresses are of the block for such measurements
// (RFC 2544).
const (
	linkServer = "198.19.0.1"
	linkClient = "198.19.0.2"
	linkRate   = 1e9 // bits a second
	linkDelay  = time.Millisecond
)

// link is a cable of a gigabit between two namespaces. The kernel's own emulation
// (tc netem) is not in every kernel, so this program carries the packets: TCP on
// both sides is the kernel's, and sees what it would see on such a cable.
type link struct {
	server, client string // namespaces
	carrier        *process
}

func (b *bench) link() (*link, error) {
	l := &link{}
	for _, name := range []*string{&l.server, &l.client} {
		space := fmt.Sprintf("rbbench-%d-%d", os.Getpid(), len(b.spaces))
		if err := ip("netns add " + space); err != nil {
			return nil, err
		}
		b.spaces = append(b.spaces, space)
		if err := ip("-n " + space + " link set lo up"); err != nil {
			return nil, err
		}
		*name = space
	}
	var err error
	l.carrier, err = b.start("", b.self, "carry", l.server, l.client)
	if err != nil {
		return nil, err
	}
	return l, l.carrier.until(func() error {
		return exec.Command("ip", "netns", "exec", l.client, "ping", "-c1", "-W1", linkServer).Run()
	})
}

// received is how many bytes have come to the client's side, IP headers and all.
func (l *link) received() (int64, error) {
	out, err := exec.Command("ip", "netns", "exec", l.client, "cat", "/sys/class/net/wire1/statistics/rx_bytes").Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

// carry SPACE SPACE is the link's process.
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
			"-n " + space + " address add " + []string{linkServer, linkClient}[i] + "/24 dev " + name,
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
	maxFrame = 10 + 65535 // a header and the longest packet
	// linkQueue is how long the queue before the cable may become, in time: a
	// switch's port has a megabyte. What comes then is dropped, by which TCP learns
	// how fast the cable is.
	linkQueue = 8 * time.Millisecond
)

// frame is a packet on the cable.
type frame struct {
	bytes []byte
	due   time.Time // when its last bit comes out
}

// forward carries packets one way.
func forward(from, to int) error {
	cable := make(chan frame, 4096)
	spare := make(chan []byte, cap(cable))
	failed := make(chan error, 1)
	go func() { failed <- deliver(to, cable, spare) }()
	var free time.Time // when the last bit of the queue is on the cable
	for {
		var buffer []byte
		select {
		case buffer = <-spare:
		default:
			buffer = make([]byte, maxFrame)
		}
		n, err := unix.Read(from, buffer[:maxFrame])
		if err != nil {
			return err
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > linkQueue {
			spare <- buffer
			continue
		}
		free = free.Add(onWire(buffer[:n]))
		select {
		case cable <- frame{buffer[:n], free.Add(linkDelay)}:
		case err := <-failed:
			return err
		}
	}
}

func deliver(to int, cable <-chan frame, spare chan<- []byte) error {
	for f := range cable {
		// Go's own timers are as coarse as epoll's, a millisecond.
		for wait := time.Until(f.due); wait > 20*time.Microsecond; wait = time.Until(f.due) {
			pause := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&pause, nil) // the loop looks at the clock
		}
		// A packet for a side that is going away is lost, as on a cable.
		_, _ = unix.Write(to, f.bytes)
		select {
		case spare <- f.bytes:
		default:
		}
	}
	return nil
}

// onWire is how long the cable is busy with a packet. Each segment that a card
// would make of it has the packet's headers, and Ethernet's: 14 bytes of header,
// 4 of checksum, 8 before and 12 behind.
func onWire(packet []byte) time.Duration {
	const virtio, ethernet = 10, 38
	headers := int(binary.LittleEndian.Uint16(packet[2:]))
	segment := int(binary.LittleEndian.Uint16(packet[4:]))
	size := len(packet) - virtio
	segments := 1
	if packet[1] != 0 && segment > 0 {
		segments = (size - headers + segment - 1) / segment
	}
	bits := float64(8 * (size + (segments-1)*headers + segments*ethernet))
	return time.Duration(bits / linkRate * float64(time.Second))
}
