package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	changed chan struct{} // other sockets are wanted
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
		changed:   make(chan struct{}, 1),
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
// Where other interfaces or ports are wanted, Run opens them. On an error
// nothing has changed.
func (s *Server) SetConfig(cfg Config, addresses Addresses) error {
	old := s.settings.Load()
	if !slices.Equal(cfg.Interfaces, old.Interfaces) {
		for _, name := range cfg.Interfaces {
			if _, err := s.lookUp(name); err != nil {
				return err
			}
		}
	}
	if err := s.configure(cfg, addresses); err != nil {
		return err
	}
	if !s.settings.Load().sameSockets(&old.Config) {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return nil
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
// it has, and closes its sockets. Sockets are opened anew when the configuration
// wants others, or an interface was removed and made again; only the first time
// does it give up if they can't be.
func (s *Server) Run(ctx context.Context) error {
	ready := false
	for ctx.Err() == nil {
		all, err := s.listen(ctx)
		switch {
		case err != nil && !ready:
			return err
		case err != nil:
			s.log.alarm(ctx, slog.LevelError, "can't listen for DHCP any more; trying on", slog.Any("error", err))
			pause(ctx, time.Second)
			continue
		case ready:
			s.log.Info("listening anew", slog.String("on", s.String()))
		default:
			close(s.ready)
			ready = true
		}
		s.serve(ctx, all)
		all.close()
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
