package assets

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"ravenboot/assets/lockstep"
	"ravenboot/internal/machine"
)

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

func newTransfer(name string, from netip.AddrPort, local netip.Addr, begun time.Time) *transfer {
	x := &transfer{request: parseName(name), raw: name, from: from, local: local, kind: "loader", begun: begun}
	if x.name == autoexecName {
		x.kind = "script"
	}
	return x
}

func transferOf(r *lockstep.Request) *transfer {
	return newTransfer(r.Name, r.Remote, r.Local, r.Begun)
}

// Open finds the content of a file. It is lockstep's to call, as are Ended,
// Write, Busy and Text.
func (t *TFTP) Open(_ context.Context, r *lockstep.Request) ([]byte, error) {
	x := transferOf(r)
	if x.kind == "loader" && t.wantsScript(x, r) {
		return t.scripts.Autoexec(t.ctx, x.mac, x.local), nil
	}
	return t.content(x)
}

// content finds what a name stands for.
func (t *TFTP) content(x *transfer) ([]byte, error) {
	if x.kind == "script" {
		return t.scripts.Autoexec(t.ctx, x.mac, x.local), nil
	}
	loader, err := t.loaders.Open(x.name)
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

// wantsScript reports whether an iPXE is to be given the script in place of
// the loader that it asks for.
func (t *TFTP) wantsScript(x *transfer, r *lockstep.Request) bool {
	if !t.config.ScriptForLoader || !askedByIPXE(r.Options) || !t.loaders.Has(x.name) {
		return false
	}
	x.kind, x.why = "script", "an iPXE asks for a loader again: it is given the script, which ends the loop"
	return true
}

// Ended logs how a transfer went.
func (t *TFTP) Ended(r *lockstep.Request, result lockstep.Result) {
	x := transferOf(r)
	if x.kind == "loader" {
		t.wantsScript(x, r)
	}
	t.noteEnd(x, result.Bytes, result.Err)
}

// Busy logs a request that got no answer.
func (t *TFTP) Busy(r *lockstep.Request) {
	t.note(transferOf(r), "busy", "as many transfers as [tftp] max_transfers allows are under way; the machine will ask again", 0)
}

// Write refuses a file.
func (t *TFTP) Write(r *lockstep.Request) error {
	t.note(transferOf(r), "refused", errReadOnly.Error(), 0)
	return errReadOnly
}

// Text hands a request to pin/tftp.
func (t *TFTP) Text(packet []byte, r *lockstep.Request) {
	if !t.text.take(packet, r) {
		t.Busy(r)
	}
}

// openText answers a request that went to pin/tftp.
func (t *TFTP) openText(r *lockstep.Request, to io.ReaderFrom) error {
	x := transferOf(r)
	data, err := t.content(x)
	if err != nil {
		return err
	}
	n, err := to.ReadFrom(bytes.NewReader(data))
	t.noteEnd(x, n, err)
	return nil
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

// noteEnd logs how a transfer went.
func (t *TFTP) noteEnd(x *transfer, n int64, err error) {
	switch {
	case err == nil:
		t.note(x, "sent", x.why, n)
	case errors.Is(err, lockstep.ErrProbe):
		t.note(x, "probe", err.Error(), 0)
	default:
		t.note(x, "failed", err.Error(), n)
	}
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
