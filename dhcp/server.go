package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Server answers DHCP and PXE on some interfaces.
type Server struct {
	decider   Decider
	log       *stepLog
	settings  atomic.Pointer[settings]
	handed    *history
	diagnosis *diagnosis
	// lookUp is interfaceByName, unless a test's server is in a network of its own.
	lookUp func(name string) (*Interface, error)

	ready   chan struct{}
	listens atomic.Pointer[string]
}

// settings is what a reload replaces, all at once.
type settings struct {
	Config
	addresses Addresses
}

// New makes a server. addresses is needed in mode server only.
func New(cfg Config, decider Decider, addresses Addresses, log *slog.Logger) (*Server, error) {
	return newServer(cfg, decider, addresses, log, time.Now)
}

func newServer(cfg Config, decider Decider, addresses Addresses, log *slog.Logger, now func() time.Time) (*Server, error) {
	s := &Server{
		decider:   decider,
		log:       newStepLog(log, now),
		handed:    newHistory(now),
		diagnosis: newDiagnosis(now),
		lookUp:    interfaceByName,
		ready:     make(chan struct{}),
	}
	if err := s.configure(cfg, addresses); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) configure(cfg Config, addresses Addresses) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if cfg.Mode == ModeServer && addresses == nil {
		return errors.New("dhcp: mode \"server\" needs at least one [[dhcp.subnet]]")
	}
	s.settings.Store(&settings{Config: cfg, addresses: addresses})
	return nil
}

// SetConfig replaces configuration and addresses for all packets from now on.
// Sockets stay as they are: the error says so when other interfaces or ports
// are wanted, and then nothing has changed.
func (s *Server) SetConfig(cfg Config, addresses Addresses) error {
	next, err := cfg.complete()
	if err != nil {
		return err
	}
	old := &s.settings.Load().Config
	if next.Port != old.Port || next.ProxyPort != old.ProxyPort ||
		strings.Join(next.Interfaces, " ") != strings.Join(old.Interfaces, " ") ||
		(next.Mode == ModeOff) != (old.Mode == ModeOff) {
		return errors.New("dhcp: other interfaces or ports, and turning DHCP on or off, take effect at the next start")
	}
	return s.configure(next, addresses)
}

// Ready is closed once all sockets are open.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// String says what the server does, and once it is ready, where.
func (s *Server) String() string {
	cfg := s.settings.Load()
	if cfg.Mode == ModeOff {
		return "dhcp off"
	}
	where := "not listening yet"
	if l := s.listens.Load(); l != nil {
		where = *l
	}
	return fmt.Sprintf("dhcp %s, ports %d and %d on %s", cfg.Mode, cfg.Port, cfg.ProxyPort, where)
}

// Run serves until ctx ends. It then reads no more, finishes the packets that
// it has, and closes its sockets. An interface that is removed and made again
// gets new sockets.
func (s *Server) Run(ctx context.Context) error {
	cfg := s.settings.Load().Config
	if cfg.Mode == ModeOff {
		close(s.ready)
		<-ctx.Done()
		return nil
	}
	names := cfg.Interfaces
	if len(names) == 0 {
		var err error
		if names, err = everyInterface(); err != nil {
			return err
		}
	}
	all, err := s.listen(ctx, names)
	if err != nil {
		return err
	}
	s.listens.Store(new(strings.Join(names, ", ")))
	close(s.ready)
	for {
		s.serve(ctx, all)
		all.close()
		if all = s.listenAgain(ctx, names); all == nil {
			return nil
		}
	}
}

// listenAgain opens the sockets anew after an interface was replaced, as soon as
// all interfaces are there; nil once ctx has ended.
func (s *Server) listenAgain(ctx context.Context, names []string) *ports {
	for ctx.Err() == nil {
		all, err := s.listen(ctx, names)
		if err == nil {
			s.log.Info("an interface was replaced; listening again", slog.Any("interfaces", names))
			return all
		}
		s.log.alarm(ctx, slog.LevelWarn, "an interface was replaced, and can't be listened on yet", slog.Any("error", err))
		pause(ctx, time.Second)
	}
	return nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
