package assets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"ravenboot/assets/lockstep"
	"ravenboot/internal/machine"
)

// Scripts is asked for the script that an iPXE runs before it does anything of
// its own. mac is zero where the file name didn't tell it, local is the
// server's address that the machine asked. The answer is never empty.
type Scripts interface {
	Autoexec(ctx context.Context, mac machine.MAC, local netip.Addr) []byte
}

// TFTPConfig says how files are sent by TFTP.
type TFTPConfig struct {
	Listen string         // host:port, where Conn is nil
	Conn   net.PacketConn // a socket that is already open, as from systemd
	// BlockSize is the largest block that is agreed to, in bytes (RFC 2348); 0
	// takes 1468. What the interface's MTU carries is a limit of its own.
	BlockSize int
	// SinglePort answers from the listening port, for clients behind NAT and
	// servers in containers (docker-netbootxyz#39).
	SinglePort bool
	// MaxTransfers is how many files are sent at a time; 0 takes 256.
	MaxTransfers int
	// ScriptForLoader answers an iPXE that asks for a loader with the script.
	// It breaks the loop of a DHCP server that hands the loader to everyone, and
	// is of use only where no DHCP server tells iPXE apart.
	ScriptForLoader bool
	// Observe, if not nil, is told of every transfer that ended.
	Observe func(protocol, kind, result string, bytes int64)
}

const (
	defaultBlockSize = 1468 // 1500 less the headers of IPv4, UDP and TFTP
	defaultTransfers = 256
	// graceTime is how long transfers may go on when the server stops: a loader
	// takes a second or two.
	graceTime = 10 * time.Second
)

// TFTP serves loaders, and the script that goes with them, by TFTP (RFC 1350,
// with the options of RFC 2347 to 2349). It never takes a file.
//
// Package lockstep sends what firmware asks for, in mode "octet"; pin/tftp takes
// the mode "netascii". pin/tftp could do both, but asks the system for a socket,
// and the runtime for a timer and a wake-up of a goroutine, for every transfer
// and packet, which costs half as much again; in single-port mode a late packet
// of a client can end the program; and it doesn't tell the options, by which
// iPXE is known.
type TFTP struct {
	config  TFTPConfig
	loaders *Loaders
	scripts Scripts
	log     *slog.Logger
	conn    *net.UDPConn
	ready   chan struct{}
	ctx     context.Context // of Run
	text    *textServer
}

// NewTFTP makes a TFTP server. Nothing is opened yet.
func NewTFTP(config TFTPConfig, loaders *Loaders, scripts Scripts, log *slog.Logger) *TFTP {
	if config.BlockSize == 0 {
		config.BlockSize = defaultBlockSize
	}
	if config.MaxTransfers == 0 {
		config.MaxTransfers = defaultTransfers
	}
	if config.Observe == nil {
		config.Observe = func(string, string, string, int64) {}
	}
	return &TFTP{
		config: config, loaders: loaders, scripts: scripts, log: log, ready: make(chan struct{}),
	}
}

// Run serves until ctx ends.
func (t *TFTP) Run(ctx context.Context) error {
	conn, err := t.open()
	if err != nil {
		return err
	}
	server, err := lockstep.New(conn, lockstep.Config{
		BlockSize: t.config.BlockSize, SinglePort: t.config.SinglePort, MaxTransfers: t.config.MaxTransfers,
		Grace: graceTime,
	}, t)
	if err != nil {
		return fmt.Errorf("tftp: %w", err)
	}
	t.conn, t.ctx = conn, ctx
	t.text = newTextServer(t.openText)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, t.text.shutdown)
	go t.text.serve()
	close(t.ready)
	return server.Serve(ctx)
}

func (t *TFTP) open() (*net.UDPConn, error) {
	conn := t.config.Conn
	if conn == nil {
		var err error
		if conn, err = net.ListenPacket("udp", t.config.Listen); err != nil {
			return nil, fmt.Errorf("tftp: %w; another server may have the port, or ports below 1024 may need CAP_NET_BIND_SERVICE", err)
		}
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("tftp: the socket that was handed over is no UDP socket but %T", conn)
	}
	return udp, nil
}

// Ready is closed once the server listens.
func (t *TFTP) Ready() <-chan struct{} { return t.ready }

// Addr is where the server listens; valid once it is ready.
func (t *TFTP) Addr() net.Addr { return t.conn.LocalAddr() }

// String says what it is and where it listens.
func (t *TFTP) String() string {
	select {
	case <-t.ready:
		return "tftp on " + t.conn.LocalAddr().String()
	default:
		return "tftp on " + t.config.Listen
	}
}

// What a machine is told when it gets no file. Firmware shows such a text on
// the screen, at best.
var (
	errNotOffered = errors.New("file not found")
	errReadOnly   = errors.New("this server is read-only")
	errBusy       = errors.New("server busy, try again")
)
