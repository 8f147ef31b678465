package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Server is an HTTP listener with its handler: the boot side, or the admin
// side.
type Server struct {
	name     string
	addr     string
	listener net.Listener
	http     http.Server
	log      *slog.Logger
	drain    time.Duration
	ready    chan struct{}
}

// Time-outs against clients that hold connections and send nothing, or read
// nothing. Downloads set deadlines of their own, which move with their progress.
const (
	readHeaderTimeout = 10 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	mostHeader        = 16 << 10 // bytes
	drainTime         = 10 * time.Second
)

// NewServer makes a server on addr ("192.0.2.10:80" or ":80"), or on a listener
// that systemd has opened. name is what logs call it.
func NewServer(name, addr string, listener net.Listener, handler http.Handler, log *slog.Logger) *Server {
	return &Server{
		name: name, addr: addr, listener: listener, log: log, drain: drainTime, ready: make(chan struct{}),
		http: http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readHeaderTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    mostHeader,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
}

// Run serves until ctx ends, then lets downloads go on for a while.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return fmt.Errorf("%s: %w%s", s.name, err, listenAdvice(err))
		}
		s.listener = l
	}
	close(s.ready)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- s.shutDown()
	}()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return <-stopped
}

// listenAdvice says what to do about a port that can't be had.
func listenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another server has the port, `ss -ltnp` shows which"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; no interface has the address, `ip address` shows them"
	}
	return ""
}

// shutDown lets downloads end. Those that don't in time are no failure of the
// server: their machines ask again.
func (s *Server) shutDown() error {
	drain, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	err := s.http.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("downloads were cut off", "service", s.name, "reason", "the server stops, and they took longer than "+s.drain.String())
		return s.http.Close()
	}
	return err
}

// Ready is closed once the server accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where the server listens; valid once it is ready.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// String says what it is and where it listens.
func (s *Server) String() string {
	if s.listener == nil {
		return s.name + " on " + s.addr
	}
	return s.name + " on " + s.listener.Addr().String()
}
