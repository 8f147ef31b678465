package assets

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/pin/tftp/v3"

	"ravenboot/internal/machine"
)

func refuseWrite(string, io.WriterTo) error { return errReadOnly }

// transfer is one read request.
type transfer struct {
	request
	raw   string // the name as it was sent
	from  netip.AddrPort
	local netip.Addr
	kind  string // "loader" or "script", for logs and metrics
	why   string // it is given what it didn't ask for
	begun time.Time
}

// read answers one read request. The error goes to the machine.
func (t *TFTP) read(name string, to io.ReaderFrom) error {
	x := &transfer{request: parseName(name), raw: name, kind: "loader", begun: time.Now()}
	out := to.(tftp.OutgoingTransfer)
	remote := out.RemoteAddr()
	x.from = remote.AddrPort()
	if info, ok := to.(tftp.RequestPacketInfo); ok {
		local, _ := netip.AddrFromSlice(info.LocalIP())
		x.local = local.Unmap()
	}
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	default:
		t.note(x, "busy", "as many transfers as [tftp] max_transfers allows are under way", 0)
		return errBusy
	}
	data, err := t.content(x, to)
	if err != nil {
		return err
	}
	out.SetSize(int64(len(data)))
	n, err := to.ReadFrom(&stoppable{Reader: bytes.NewReader(data), done: t.ctx.Done()})
	t.noteEnd(x, n, len(data), err)
	return nil
}

// content finds what a name stands for.
func (t *TFTP) content(x *transfer, to io.ReaderFrom) ([]byte, error) {
	if x.name == autoexecName {
		x.kind = "script"
		return t.scripts.Autoexec(t.ctx, x.mac, x.local), nil
	}
	loader, err := t.loaders.Open(x.name)
	if err == nil && t.config.ScriptForLoader && askedByIPXE(to) {
		// iPXE tells what it fetched by its content, so it runs the script.
		x.kind, x.why = "script", "an iPXE asks for a loader again: it is given the script, which ends the loop"
		return t.scripts.Autoexec(t.ctx, x.mac, x.local), nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.note(x, "not found", "TFTP offers "+t.offer(), 0)
		return nil, errNotOffered
	case err != nil:
		t.note(x, "not found", err.Error(), 0)
		return nil, errNotOffered
	}
	return loader.Data, nil
}

func (t *TFTP) offer() string {
	var names []string
	for _, l := range t.loaders.List() {
		if _, known := aliases[l.Name]; known {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "no loader at all; run `ravenboot check`"
	}
	return strings.Join(names, ", ") + " and " + autoexecName
}

// stoppable ends a transfer when the server stops.
type stoppable struct {
	*bytes.Reader
	done <-chan struct{}
}

func (s *stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.done:
		return 0, errStopping
	default:
		return s.Reader.Read(p)
	}
}

// noteEnd logs how a transfer went.
func (t *TFTP) noteEnd(x *transfer, n int64, size int, err error) {
	switch {
	case err == nil:
		t.note(x, "sent", x.why, n)
	case n == 0 && isProbe(err):
		t.note(x, "probe", "it asked for the size only", 0)
	default:
		t.note(x, "failed", err.Error(), n)
	}
}

// isProbe reports whether a transfer ended because the machine wanted to know
// no more than the size: it answers the options with an error packet. OVMF does
// that with code 8, before it asks again in earnest (pin/tftp#125).
func isProbe(err error) bool {
	return strings.HasPrefix(err.Error(), "sending block 0: code=")
}

// note logs and counts a transfer, one line for each.
func (t *TFTP) note(x *transfer, outcome, reason string, n int64) {
	t.config.Observe("tftp", x.kind, outcome, n)
	level := slog.LevelInfo
	switch outcome {
	case "probe":
		level = slog.LevelDebug
	case "sent":
	default:
		level = slog.LevelWarn
	}
	if !t.log.Enabled(t.ctx, level) {
		return
	}
	t.log.LogAttrs(t.ctx, level, "tftp",
		slog.String("machine", macName(x.mac)),
		slog.String("step", x.kind),
		slog.String("outcome", outcome),
		slog.String("reason", reason),
		slog.String("file", x.raw),
		slog.String("address", x.from.Addr().Unmap().String()),
		slog.Int64("bytes", n),
		slog.Duration("duration", time.Since(x.begun)))
}

func macName(m machine.MAC) string {
	if m.IsZero() {
		return ""
	}
	return m.String()
}
