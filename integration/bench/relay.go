package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a gigabit's wire carries of TCP: of 1,538 bytes that a full frame takes,
// preamble and gap included, 1,448 are the stream's.
const gigabit = 1e9 / 8 * 1448 / 1538 // bytes a second

// wireDelay is what a packet takes one way.
const wireDelay = 500 * time.Microsecond

// relay LISTEN TARGET is a wire between clients and a server, for kernels without
// netem: it passes connections on, delayed, and all of one direction together no
// faster than a gigabit. At its end it prints how many bytes went to clients.
func relay(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() { <-ended; l.Close() }()
	up, down := &wire{}, &wire{}
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			_, err = fmt.Println(down.carried.Load())
			return err
		}
		if err != nil {
			return err
		}
		go join(client.(*net.TCPConn), args[1], up, down)
	}
}

// join connects a client to the server.
func join(client *net.TCPConn, target string, up, down *wire) {
	defer client.Close()
	time.Sleep(2 * wireDelay) // what the handshake would have taken
	c, err := net.Dial("tcp", target)
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { up.carry(server, client) })
	both.Go(func() { down.carry(client, server) })
	both.Wait()
}

// wire is one direction, which all connections share.
type wire struct {
	carried atomic.Int64
	lock    sync.Mutex
	free    time.Time // when it has sent all that it has taken
}

// late is how far behind its time a wire may be and make up for it: a process
// is woken later than it wanted to be.
const late = 2 * time.Millisecond

// take waits for the wire's turn to send n bytes.
func (w *wire) take(n int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if earliest := time.Now().Add(-late); w.free.Before(earliest) {
		w.free = earliest
	}
	w.free = w.free.Add(time.Duration(float64(n) / gigabit * float64(time.Second)))
	nap(time.Until(w.free))
}

// nap sleeps no longer than it must: Go's timers wait in epoll, in whole
// milliseconds.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	rest := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&rest, nil)
}

// parcel is what was sent at a time, on its way.
type parcel struct {
	bytes   []byte
	arrives time.Time
}

// carry passes one direction of a connection on until its end. What is on the
// way is bounded by what a connection's window would hold.
func (w *wire) carry(to, from *net.TCPConn) {
	const most = 16 << 10
	onTheWay := make(chan parcel, 64)
	go func() {
		defer close(onTheWay)
		for {
			buffer := make([]byte, most)
			n, err := from.Read(buffer)
			if n > 0 {
				w.take(n)
				onTheWay <- parcel{buffer[:n], time.Now().Add(wireDelay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range onTheWay {
		nap(time.Until(p.arrives))
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.CloseRead()
			for range onTheWay { // its sender must not wait for ever
			}
			return
		}
		w.carried.Add(int64(len(p.bytes)))
	}
	_ = to.CloseWrite()
}
