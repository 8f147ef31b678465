package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// TFTP's packet types (RFC 1350 section 5, RFC 2347).
const (
	opRead  = 1
	opData  = 3
	opAck   = 4
	opError = 5
	opOACK  = 6
)

const (
	patience  = time.Second // until a packet is sent again
	mostTries = 10          // of the same packet
)

// load is all downloads.
type load struct {
	server     netip.AddrPort
	file       string
	blksize    int
	content    []byte    // what the first download brought
	complete   bool      // content is whole
	left       int       // downloads to begin
	until      time.Time // when to begin no more
	done       int
	resent     int
	epoll      int
	downloads  map[int32]*download // by socket
	packet     [65536]byte
	lastResend time.Time
}

// download is one transfer, a socket of its own.
type download struct {
	fd       int
	to       unix.SockaddrInet4
	server   bool // to is the transfer's port, not the one that listens
	block    uint16
	blksize  int
	out      []byte // what was sent last
	sent     time.Time
	tries    int
	received int
}

// run does all downloads that are left, c at a time.
func (l *load) run(c int) (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(l.epoll)
	l.downloads = map[int32]*download{}
	for range min(c, l.left) {
		if err := l.begin(); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, 256)
	for len(l.downloads) > 0 {
		n, err := unix.EpollWait(l.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i := range max(n, 0) {
			if d := l.downloads[events[i].Fd]; d != nil {
				if err := l.receive(d); err != nil {
					return err
				}
			}
		}
		if err := l.resend(); err != nil {
			return err
		}
	}
	return nil
}

// begin sends the request of another download.
func (l *load) begin() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	d := &download{fd: fd, blksize: 512}
	d.to = unix.SockaddrInet4{Port: int(l.server.Port()), Addr: l.server.Addr().As4()}
	d.out = binary.BigEndian.AppendUint16(nil, opRead)
	for _, s := range []string{l.file, "octet", "tsize", "0", "blksize", strconv.Itoa(l.blksize)} {
		d.out = append(append(d.out, s...), 0)
	}
	l.left--
	l.downloads[int32(fd)] = d
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return err
	}
	return d.send()
}

func (d *download) send() error {
	d.sent = time.Now()
	return unix.Sendto(d.fd, d.out, 0, &d.to)
}

// receive takes the one packet that a server in lock-step has under way.
func (l *load) receive(d *download) error {
	n, from, err := unix.Recvfrom(d.fd, l.packet[:], 0)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		return err
	}
	if sender, ok := from.(*unix.SockaddrInet4); ok && !d.server {
		d.to, d.server = *sender, true
	}
	return l.handle(d, l.packet[:n])
}

func (l *load) handle(d *download, p []byte) error {
	if len(p) < 4 {
		return fmt.Errorf("packet of %d bytes", len(p))
	}
	switch op := binary.BigEndian.Uint16(p); op {
	case opOACK:
		if err := d.options(p[2:]); err != nil {
			return err
		}
		return d.acknowledge(0)
	case opData:
		return l.data(d, binary.BigEndian.Uint16(p[2:]), p[4:])
	case opError:
		return fmt.Errorf("error %d: %s", binary.BigEndian.Uint16(p[2:]), bytes.TrimRight(p[4:], "\x00"))
	default:
		return fmt.Errorf("packet of type %d", op)
	}
}

// options reads what the server has agreed to.
func (d *download) options(p []byte) error {
	fields := bytes.Split(p, []byte{0})
	for i := 0; i+1 < len(fields); i += 2 {
		if string(fields[i]) != "blksize" {
			continue
		}
		n, err := strconv.Atoi(string(fields[i+1]))
		if err != nil {
			return fmt.Errorf("blksize %q", fields[i+1])
		}
		d.blksize = n
	}
	return nil
}

func (l *load) data(d *download, block uint16, data []byte) error {
	if block != d.block+1 {
		return nil // a repetition
	}
	d.block = block
	if err := l.compare(d, data); err != nil {
		return err
	}
	d.received += len(data)
	if err := d.acknowledge(block); err != nil {
		return err
	}
	if len(data) == d.blksize {
		return nil
	}
	return l.end(d)
}

func (d *download) acknowledge(block uint16) error {
	d.out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(d.out[:0], opAck), block)
	d.tries = 0
	return d.send()
}

// compare checks a block against the first download, which is made alone.
func (l *load) compare(d *download, data []byte) error {
	if !l.complete {
		l.content = append(l.content, data...)
		return nil
	}
	if end := d.received + len(data); end > len(l.content) || !bytes.Equal(data, l.content[d.received:end]) {
		return fmt.Errorf("download %d: block %d differs from that of the first download", l.done, d.block)
	}
	return nil
}

// end begins another download after one that is complete.
func (l *load) end(d *download) error {
	if l.complete && d.received != len(l.content) {
		return fmt.Errorf("download %d: %d bytes, the first one had %d", l.done, d.received, len(l.content))
	}
	l.complete = true
	l.done++
	delete(l.downloads, int32(d.fd))
	unix.Close(d.fd)
	if l.left > 0 && time.Now().Before(l.until) {
		return l.begin()
	}
	return nil
}

// resend repeats what was not answered.
func (l *load) resend() error {
	now := time.Now()
	if now.Sub(l.lastResend) < patience/10 {
		return nil
	}
	l.lastResend = now
	for _, d := range l.downloads {
		if now.Sub(d.sent) < patience {
			continue
		}
		if d.tries++; d.tries > mostTries {
			return fmt.Errorf("no answer after block %d", d.block)
		}
		l.resent++
		if err := d.send(); err != nil {
			return err
		}
	}
	return nil
}
