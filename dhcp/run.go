package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"
)

// ports are all open sockets.
type ports struct {
	udp []*port
	raw []*packet.Conn
}

// listen opens the sockets of every interface, or none.
func (s *Server) listen(ctx context.Context) (*ports, error) {
	cfg, all := &s.settings.Load().Config, &ports{}
	if cfg.Mode == ModeOff {
		return all, nil
	}
	names := cfg.Interfaces
	if len(names) == 0 {
		var err error
		if names, err = everyInterface(); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		in, err := s.lookUp(name)
		if err == nil {
			err = all.open(ctx, in, cfg, s.log)
		}
		if err != nil {
			all.close()
			return nil, err
		}
	}
	s.listens.Store(new(strings.Join(names, ", ")))
	return all, nil
}

func (all *ports) open(ctx context.Context, in *Interface, cfg *Config, log *stepLog) error {
	raw := openRaw(in, log)
	if raw != nil {
		all.raw = append(all.raw, raw)
	}
	for _, number := range []int{cfg.Port, cfg.ProxyPort} {
		p, err := openPort(ctx, in, number)
		if err != nil {
			return err
		}
		p.raw = raw
		all.udp = append(all.udp, p)
	}
	return nil
}

func (all *ports) close() {
	for _, p := range all.udp {
		p.conn.Close()
	}
	for _, raw := range all.raw {
		raw.Close()
	}
}

// mostInWork is how many packets may be in work at a time. One waits for up to
// 300 ms when an address is tried first, else for a write to the disk.
const mostInWork = 1024

// mostIdle is how many goroutines are kept when there is no work for them.
const mostIdle = 64

// workers bounds the packets in work, and knows when the last is done. Their
// goroutines are used again, because a new one for each packet grows its stack
// each time.
type workers struct {
	slots chan struct{}
	jobs  chan func() // received from by the idle
	idle  atomic.Int32
	group sync.WaitGroup
}

func newWorkers(most int) *workers {
	return &workers{slots: make(chan struct{}, most), jobs: make(chan func())}
}

// try starts f unless too many are at work.
func (w *workers) try(f func()) bool {
	select {
	case w.slots <- struct{}{}:
	default:
		return false
	}
	select {
	case w.jobs <- f:
	default:
		w.group.Go(func() { w.work(f) })
	}
	return true
}

// work does f and what comes after it, until there are enough others to do it.
func (w *workers) work(f func()) {
	for ok := true; ok; {
		f()
		<-w.slots
		if w.idle.Add(1) > mostIdle {
			w.idle.Add(-1)
			return
		}
		f, ok = <-w.jobs
		w.idle.Add(-1)
	}
}

// wait returns when all work is done. Nothing may be tried any more.
func (w *workers) wait() {
	close(w.jobs)
	w.group.Wait()
}

// serve reads from every port until ctx ends or other sockets are wanted.
func (s *Server) serve(ctx context.Context, all *ports) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		for _, p := range all.udp {
			// The reads end, the writes of packets in work still pass.
			_ = p.conn.SetReadDeadline(time.Now())
		}
	})
	defer stop()
	work := newWorkers(mostInWork)
	var readers sync.WaitGroup
	for _, p := range all.udp {
		readers.Go(func() { s.readAll(ctx, p, work) })
	}
	readers.Go(func() {
		defer cancel()
		s.followInterfaces(ctx, all)
	})
	readers.Wait()
	work.wait()
}

// memory is for a packet in work; one byte more than fits tells what is too long.
type memory struct {
	packet [maxPacket + 1]byte
	scratch
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// readAll hands every packet of a port to a worker. Beyond the bound packets are
// dropped, and clients ask again.
func (s *Server) readAll(ctx context.Context, p *port, work *workers) {
	oob := ipv4.NewControlMessage(ipv4.FlagDst)
	// Packets in work are finished after ctx ended.
	working := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		mem := memories.Get().(*memory)
		received, err := p.read(mem.packet[:], oob)
		if err != nil {
			memories.Put(mem)
			s.readFailed(ctx, p, err)
			continue
		}
		started := work.try(func() {
			defer memories.Put(mem)
			s.answer(working, p, received, &mem.scratch)
		})
		if !started {
			memories.Put(mem)
			s.dropped(ctx)
		}
	}
}

func (s *Server) dropped(ctx context.Context) {
	s.settings.Load().Observe("other", outcomeDropped)
	s.log.alarm(ctx, slog.LevelWarn, "a packet was dropped: too many are in work", slog.String("step", "dhcp"),
		slog.String("outcome", outcomeDropped), slog.Int("in_work", mostInWork))
}

// readFailed waits out what ails an interface: one that goes down fails every
// read until it is back.
func (s *Server) readFailed(ctx context.Context, p *port, err error) {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return
	}
	s.log.alarm(ctx, slog.LevelWarn, "can't read packets", slog.String("interface", p.in.Load().Name), slog.Any("error", err))
	pause(ctx, time.Second)
}

func (s *Server) answer(ctx context.Context, p *port, received Packet, mem *scratch) {
	reply, ok := s.handle(ctx, received, mem)
	if !ok {
		return
	}
	if err := p.send(reply); err != nil {
		s.log.alarm(ctx, slog.LevelWarn, "a reply could not be sent", slog.String("step", "dhcp"),
			slog.String("outcome", outcomeFailed), slog.String("interface", received.Interface.Name),
			slog.String("to", reply.To.String()), slog.Any("error", err))
	}
}

// followInterfaces keeps up with addresses that come and go: a server that
// starts before its own interface is configured must not need a restart. It
// returns when ctx ends, when the configuration wants other sockets, and when an
// interface is another one than before: a socket that was bound to the old one
// hears nothing.
func (s *Server) followInterfaces(ctx context.Context, all *ports) {
	const every = 2 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for all.same(s.lookUp, s.log) {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			return
		case <-tick.C:
		}
	}
}

// same takes up what changed on the interfaces, unless one is another now.
func (all *ports) same(lookUp func(string) (*Interface, error), log *stepLog) bool {
	for _, p := range all.udp {
		old := p.in.Load()
		in, err := lookUp(old.Name)
		switch {
		case err != nil: // it is gone, perhaps for a moment
		case in.Index != old.Index:
			return false
		case in.MAC != old.MAC || !slices.Equal(in.Addrs, old.Addrs):
			log.Info("interface changed", slog.String("interface", in.Name), slog.Int("port", int(p.number)),
				slog.Any("addresses", in.Addrs))
			p.in.Store(in)
		}
	}
	return true
}
