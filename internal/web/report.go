package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/machines"
	"ravenboot/internal/report"
	"ravenboot/internal/ticket"
)

// Reports answers POST /report: a machine about itself, by its ticket.
type Reports struct {
	tickets  *ticket.Key
	machines *machines.Machines
	observe  func(step, outcome string)
	log      *slog.Logger
}

// NewReports makes a Reports. observe is told each report's step and outcome,
// for metrics; a site's own steps are all "other" there.
func NewReports(tickets *ticket.Key, known *machines.Machines, observe func(step, outcome string), log *slog.Logger) *Reports {
	return &Reports{tickets: tickets, machines: known, observe: observe, log: log}
}

// ServeHTTP answers in the words of RFC 6750 where the ticket is not in order.
func (s *Reports) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := from.Addr().Unmap()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "only POST is answered here", http.StatusMethodNotAllowed)
		return
	}
	mac, err := s.machineOf(w, r)
	if err != nil {
		s.refuse(w, r, mac, addr, http.StatusUnauthorized, err)
		return
	}
	said, status, err := readReport(w, r)
	if err != nil {
		s.refuse(w, r, mac, addr, status, err)
		return
	}
	answer, err := s.machines.Record(r.Context(), mac, said, addr, time.Now())
	var tooOften machines.TooOften
	switch {
	case errors.As(err, &tooOften):
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(tooOften.Wait.Seconds()))))
		s.refuse(w, r, mac, addr, http.StatusTooManyRequests, err)
		return
	case err != nil:
		s.refuse(w, r, mac, addr, http.StatusInternalServerError, err)
		return
	}
	s.note(r.Context(), mac, addr, &said, answer)
	writeJSON(w, http.StatusOK, answer.Reply)
}

// errNoTicket is the error of a request that shows none.
var errNoTicket = errors.New("no ticket; send the one of the kernel command line (ravenboot.ticket=) as: Authorization: Bearer TICKET")

func (s *Reports) machineOf(w http.ResponseWriter, r *http.Request) (machine.MAC, error) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return machine.MAC{}, errNoTicket
	}
	mac, err := s.tickets.Check(strings.TrimSpace(token), time.Now())
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	return mac, err
}

// readReport reads the body. The status belongs to the error.
func readReport(w http.ResponseWriter, r *http.Request) (report.Report, int, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, report.MaxSize))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return report.Report{}, http.StatusRequestEntityTooLarge, errors.New("the report is longer than " + strconv.Itoa(report.MaxSize) + " bytes; send less text")
	}
	if err != nil {
		return report.Report{}, http.StatusBadRequest, err
	}
	said, err := report.Parse(body)
	return said, http.StatusBadRequest, err
}

func (s *Reports) refuse(w http.ResponseWriter, r *http.Request, mac machine.MAC, from netip.Addr, status int, err error) {
	name := ""
	if !mac.IsZero() {
		name = mac.String()
	}
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "report not taken",
		slog.String("machine", name), slog.String("step", "report"), slog.Int("outcome", status),
		slog.String("reason", err.Error()), slog.String("address", from.String()))
	http.Error(w, err.Error(), status)
}

// note logs news, and at the level debug what only repeats them.
func (s *Reports) note(ctx context.Context, mac machine.MAC, from netip.Addr, said *report.Report, answer machines.Answer) {
	s.observe(stepLabel(said.Step), string(said.Outcome))
	level := slog.LevelDebug
	switch {
	case !answer.News:
	case said.Outcome == report.Failed || said.Outcome == report.Refused:
		level = slog.LevelWarn
	default:
		level = slog.LevelInfo
	}
	firstLine, _, _ := strings.Cut(said.Text, "\n")
	attrs := []slog.Attr{
		slog.String("machine", mac.String()), slog.String("step", said.Step), slog.String("outcome", string(said.Outcome)),
		slog.String("reason", firstLine), slog.String("address", from.String()),
	}
	if said.Outcome == report.Refused {
		attrs = append(attrs, slog.Bool("approved", answer.Approved))
	}
	s.log.LogAttrs(ctx, level, "report", attrs...)
}

// stepLabel bounds what steps metrics see: machines choose the words.
func stepLabel(step string) string {
	switch step {
	case report.Layout, report.Closure, report.Booted:
		return step
	}
	return "other"
}

// writeJSON answers with a value. It is marshalled first, so that a failure is
// no half answer.
func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	// Who has gone away asks again.
	_, _ = w.Write(append(text, '\n'))
}
