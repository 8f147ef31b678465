package assets

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pin/tftp/v3"

	"ravenboot/internal/machine"
)

// Scripts is asked for the autoexec.ipxe of a machine.
type Scripts interface {
	Autoexec(ctx context.Context, mac machine.MAC, local netip.Addr) []byte
}

// TFTPConfig says how files are sent.
type TFTPConfig struct {
	Listen          string
	Conn            net.PacketConn
	BlockSize       int
	SinglePort      bool
	MaxTransfers    int
	ScriptForLoader bool
	Observe         func(protocol, kind, result string, bytes int64)
}

// TFTP serves loaders.
type TFTP struct {
	config  TFTPConfig
	loaders *Loaders
	scripts Scripts
	log     *slog.Logger
	ready   chan struct{}
}

// NewTFTP makes a TFTP server.
func NewTFTP(config TFTPConfig, loaders *Loaders, scripts Scripts, log *slog.Logger) *TFTP {
	return &TFTP{config: config, loaders: loaders, scripts: scripts, log: log, ready: make(chan struct{})}
}

// Ready is closed once the server listens.
func (t *TFTP) Ready() <-chan struct{} { return t.ready }

// String says where it listens.
func (t *TFTP) String() string { return "tftp on " + t.config.Listen }

// Run serves until ctx ends.
func (t *TFTP) Run(ctx context.Context) error {
	s := tftp.NewServer(t.read, nil)
	s.SetTimeout(2 * time.Second)
	addr, err := net.ResolveUDPAddr("udp", t.config.Listen)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	close(t.ready)
	go func() { <-ctx.Done(); s.Shutdown() }()
	return s.Serve(conn)
}

func (t *TFTP) read(name string, rf io.ReaderFrom) error {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	l, ok := (*t.loaders.found.Load())[base]
	if !ok {
		return os.ErrNotExist
	}
	file, err := os.Open(l.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	rf.(tftp.OutgoingTransfer).SetSize(l.Size)
	_, err = rf.ReadFrom(file)
	return err
}
