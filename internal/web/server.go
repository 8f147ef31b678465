package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is an HTTP listener with its handler: the boot side, or the admin
// side.
type Server struct {
	name     string
	addr     string
	listener net.Listener
	http     http.Server
	ready    chan struct{}
}

// Time-outs against clients that hold connections and send nothing. Downloads
// have deadlines of their own, which move with their progress, so there is no
// WriteTimeout.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	mostHeader        = 16 << 10 // bytes
	drainTime         = 10 * time.Second
)

// NewServer makes a server on addr ("192.0.2.10:80" or ":80"), or on a listener
// that systemd has opened. name is what logs call it.
func NewServer(name, addr string, listener net.Listener, handler http.Handler, log *slog.Logger) *Server {
	return &Server{
		name: name, addr: addr, listener: listener, ready: make(chan struct{}),
		http: http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readHeaderTimeout,
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
			return fmt.Errorf("%s: %w; another server may have the port, or ports below 1024 may need CAP_NET_BIND_SERVICE", s.name, err)
		}
		s.listener = l
	}
	close(s.ready)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		err := s.http.Shutdown(drain)
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: downloads were cut off after %v", s.name, drainTime), s.http.Close())
		}
		stopped <- err
	}()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return <-stopped
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
