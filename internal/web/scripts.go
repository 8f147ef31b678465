package web

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"ravenboot/internal/boot"
	"ravenboot/internal/logging"
	"ravenboot/internal/machine"
)

// Decider is asked at every script. It must answer from memory.
type Decider interface {
	Menu(machine.Machine) boot.MenuPlan
	Boot(m machine.Machine, entry string) (boot.BootPlan, error)
}

// ScriptsConfig says what the addresses in scripts are made of.
type ScriptsConfig struct {
	// Address, if valid, stands in every URL instead of the address that the
	// machine asked.
	Address netip.Addr
	// HTTPPort is where machines reach the boot side: for scripts that don't
	// come by HTTP.
	HTTPPort int
	// Ticket makes the ticket that a machine reports with. Nil where the server
	// takes no reports.
	Ticket func(machine.MAC) string
	// Observe is told each script's kind and result, for metrics.
	Observe func(kind, result string)
}

// Scripts answers /boot.ipxe, and makes the scripts that machines get by other
// ways.
type Scripts struct {
	decider Decider
	config  ScriptsConfig
	log     *slog.Logger
	scratch sync.Pool
}

// NewScripts makes a Scripts.
func NewScripts(decider Decider, config ScriptsConfig, log *slog.Logger) *Scripts {
	if config.Observe == nil {
		config.Observe = func(string, string) {}
	}
	return &Scripts{decider: decider, config: config, log: log, scratch: sync.Pool{New: func() any { return new(scratch) }}}
}

// Script is a rendered script and what is to be said of it.
type Script struct {
	Text   []byte
	Status int    // HTTP status
	Kind   string // "identify", "menu", "boot" or "error"
	Entry  string // what boots, or is preselected
	Reason string
}

// result is the status for logs and metrics.
func (s *Script) result() string {
	switch {
	case s.Status < 400:
		return "ok"
	case s.Status == http.StatusNotFound:
		return "refused"
	}
	return "bad request"
}

// BaseURL is the address of the boot side, without a slash at its end.
func BaseURL(addr netip.Addr, port int) string {
	if port == 80 {
		if addr.Is6() {
			return "http://[" + addr.String() + "]"
		}
		return "http://" + addr.String()
	}
	return "http://" + netip.AddrPortFrom(addr, uint16(port)).String()
}

// ServeHTTP answers a request for /boot.ipxe.
func (s *Scripts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	base := s.baseURL(r)
	query, err := ParseQuery(r.URL.Query(), from.Addr())
	mem := s.scratch.Get().(*scratch)
	defer s.scratch.Put(mem)
	var script Script
	if err != nil {
		script = badQuery(err, base)
	} else {
		script = s.render(query, base, mem)
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(script.Text)))
	w.WriteHeader(script.Status)
	if r.Method != http.MethodHead {
		// A machine that has gone away asks again.
		_, _ = w.Write(script.Text)
	}
	s.note(r.Context(), &query, &script, from.Addr().Unmap())
}

// baseURL is the boot side as the machine reached it: under the address that
// it asked, because firmware may hide DNS from iPXE (ipxe#1316), so names are
// of no use to it.
func (s *Scripts) baseURL(r *http.Request) string {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if local == nil {
		return BaseURL(s.config.Address, s.config.HTTPPort)
	}
	addr := s.config.Address
	if !addr.IsValid() {
		addr = local.AddrPort().Addr().Unmap()
	}
	return BaseURL(addr, local.Port)
}

func (s *Scripts) note(ctx context.Context, q *Query, script *Script, from netip.Addr) {
	s.config.Observe(script.Kind, script.result())
	level := slog.LevelInfo
	if script.Status >= 400 {
		level = slog.LevelWarn
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	name := ""
	if !q.Machine.MAC.IsZero() {
		name = q.Machine.MAC.String()
	}
	logging.Line(ctx, s.log, level, "script",
		slog.String("machine", name),
		slog.String("step", "script"),
		slog.String("outcome", script.Kind),
		slog.String("reason", script.Reason),
		slog.String("entry", script.Entry),
		slog.String("address", from.String()))
}

// Autoexec is the autoexec.ipxe of a machine (its MAC is zero where the name
// of the file didn't tell it), for an iPXE that reached the server's address
// local. It never fails.
func (s *Scripts) Autoexec(ctx context.Context, mac machine.MAC, local netip.Addr) []byte {
	addr := s.config.Address
	if !addr.IsValid() {
		addr = local
	}
	script := autoexec(BaseURL(addr, s.config.HTTPPort))
	query := Query{Machine: machine.Machine{MAC: mac}}
	s.note(ctx, &query, &script, netip.Addr{})
	return script.Text
}

func badQuery(err error, base string) Script {
	return failure(http.StatusBadRequest, fmt.Sprintf("bad request: %v", err), base)
}
