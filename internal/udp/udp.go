// Package udp has UDP sockets for servers that send as much as they receive.
//
// Go's poller asks the kernel about each socket whether it can be read and
// whether it can be written (EPOLLIN | EPOLLOUT). Each packet that has left
// makes a UDP socket writable once more, so that a thread which waits for
// packets to read is woken for every one that is sent: a sixth of the processor
// of a server that answers packet by packet. A Conn isn't known to the poller;
// whoever reads it waits in poll(2), for something to read and for nothing else.
//
// The package knows nothing of what the packets hold.
package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is a socket for the batches of golang.org/x/net/ipv4 and ipv6, whose
// NewPacketConn takes it. Of net.UDPConn's methods, which are there for them,
// only LocalAddr is of use. Each goroutine that reads holds a thread.
type Conn struct {
	*net.UDPConn // closed
	raw          *rawConn
}

// Take makes a Conn of a socket. conn must not be used any more, and is closed,
// also when there is an error.
func Take(conn *net.UDPConn) (*Conn, error) {
	defer conn.Close()
	from, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	raw := &rawConn{}
	if raw.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	var failed error
	err = from.Control(func(fd uintptr) {
		raw.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, errors.Join(err, unix.Close(raw.wake))
	}
	return &Conn{UDPConn: conn, raw: raw}, nil
}

// SyscallConn is what batches read and write with.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Close closes the socket. Whoever reads gets net.ErrClosed.
func (c *Conn) Close() error { return c.raw.close() }

// rawConn is a socket that is waited for with poll(2).
type rawConn struct {
	fd     int
	wake   int // eventfd(2), which can be read once the socket is closed
	closed atomic.Bool
	used   sync.RWMutex // for writing: to close it
}

// Control is syscall.RawConn's.
func (r *rawConn) Control(use func(fd uintptr)) error {
	r.used.RLock()
	defer r.used.RUnlock()
	if r.closed.Load() {
		return net.ErrClosed
	}
	use(uintptr(r.fd))
	return nil
}

// Read is syscall.RawConn's.
func (r *rawConn) Read(try func(fd uintptr) (done bool)) error { return r.until(unix.POLLIN, try) }

// Write is syscall.RawConn's.
func (r *rawConn) Write(try func(fd uintptr) (done bool)) error { return r.until(unix.POLLOUT, try) }

// until tries until it is done, and waits for an event in between.
func (r *rawConn) until(event int16, try func(fd uintptr) (done bool)) error {
	r.used.RLock()
	defer r.used.RUnlock()
	for {
		if r.closed.Load() {
			return net.ErrClosed
		}
		if try(uintptr(r.fd)) {
			return nil
		}
		// What is wrong with the socket, the next try says; a signal ends the wait
		// too early.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: event}, {Fd: int32(r.wake), Events: unix.POLLIN}}, -1)
	}
}

func (r *rawConn) close() error {
	if r.closed.Swap(true) {
		return net.ErrClosed
	}
	// shutdown(2) would wake the readers as well, and with them those of whoever
	// has the socket, too: systemd keeps it for the next start.
	_, err := unix.Write(r.wake, binary.NativeEndian.AppendUint64(nil, 1))
	r.used.Lock()
	defer r.used.Unlock()
	return errors.Join(err, unix.Close(r.fd), unix.Close(r.wake))
}
