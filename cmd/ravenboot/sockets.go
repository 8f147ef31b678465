package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
)

// sockets are those that systemd has opened for the program, by the names that
// the socket units give them (FileDescriptorName=). One that is given counts
// for more than the configuration's listen: whoever wrote the unit meant it.
type sockets struct {
	http, admin net.Listener
	tftp        net.PacketConn
}

func systemdSockets() (sockets, error) {
	var s sockets
	for _, f := range activation.Files(true) {
		if err := s.take(f); err != nil {
			return s, fmt.Errorf("socket %q from systemd: %w", f.Name(), err)
		}
	}
	return s, nil
}

// take finds the service of a socket. What it returns works on a copy of the
// descriptor.
func (s *sockets) take(f *os.File) error {
	defer f.Close()
	switch f.Name() {
	case "http":
		return takeListener(&s.http, f)
	case "admin":
		return takeListener(&s.admin, f)
	case "tftp":
		if s.tftp != nil {
			return errTwice
		}
		conn, err := net.FilePacketConn(f)
		if err != nil {
			return fmt.Errorf("%w; TFTP takes a UDP socket (ListenDatagram=)", err)
		}
		s.tftp = conn
		return nil
	}
	return errors.New("no service takes it; the names are http, admin and tftp (FileDescriptorName=)")
}

func takeListener(to *net.Listener, f *os.File) error {
	if *to != nil {
		return errTwice
	}
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("%w; HTTP takes a TCP socket (ListenStream=)", err)
	}
	*to = l
	return nil
}

// errTwice: the second would be open and answer nobody.
var errTwice = errors.New("there are two of this name; one listens on IPv4 and IPv6 alike, as in dist/")

// httpPort is where machines reach the boot side, 0 where it is off.
func (s *server) httpPort() int {
	if s.sockets.http != nil {
		return portOf(s.sockets.http.Addr().String())
	}
	return portOf(s.config.HTTP.Listen)
}

// tftpPort is where machines reach TFTP, 0 where it is off.
func (s *server) tftpPort() int {
	if s.sockets.tftp != nil {
		return portOf(s.sockets.tftp.LocalAddr().String())
	}
	return portOf(s.config.TFTP.Listen)
}
