package udp

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

func listen(t *testing.T, address string) (*Conn, *net.UDPAddr) {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	former, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := Take(former)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // many tests do it themselves
	if _, err := former.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket that was taken: %v, want that it is closed", err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr)
}

func TestPackets(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			conn, at := listen(t, address)
			var batch batchConn = ipv4.NewPacketConn(conn)
			if at.IP.To4() == nil {
				batch = ipv6.NewPacketConn(conn)
			}
			client, err := net.DialUDP("udp", nil, at)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			answered := make(chan error)
			go func() { answered <- echo(batch, 3) }()
			for _, text := range []string{"one", "two", "three"} {
				if _, err := client.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 100)
				n, err := client.Read(got)
				if err != nil || string(got[:n]) != text {
					t.Fatalf("%q, %v; want %q", got[:n], err, text)
				}
			}
			if err := <-answered; err != nil {
				t.Error(err)
			}
		})
	}
}

// echo sends back so many packets.
func echo(conn batchConn, packets int) error {
	for packets > 0 {
		in := []ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}}, {Buffers: [][]byte{make([]byte, 100)}}}
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			return err
		}
		for i := range n {
			in[i].Buffers[0] = in[i].Buffers[0][:in[i].N]
		}
		if _, err := conn.WriteBatch(slices.Clip(in[:n]), 0); err != nil {
			return err
		}
		packets -= n
	}
	return nil
}

// A reader that waits must end, and nobody may use the socket afterwards, whose
// number may be another's by then.
func TestCloseEndsReaders(t *testing.T) {
	conn, _ := listen(t, "127.0.0.1:0")
	batch := ipv4.NewPacketConn(conn)
	const readers = 4
	ended := make(chan error, readers)
	for range readers {
		go func() {
			_, err := batch.ReadBatch([]ipv4.Message{{Buffers: [][]byte{make([]byte, 10)}}}, 0)
			ended <- err
		}()
	}
	time.Sleep(20 * time.Millisecond) // so that some wait already
	if err := conn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for range readers {
		select {
		case err := <-ended:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("a reader ended with %v, want %v", err, net.ErrClosed)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a reader still waits")
		}
	}
	if _, err := batch.WriteBatch([]ipv4.Message{{Buffers: [][]byte{{1}}, Addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}}}, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing: %v, want %v", err, net.ErrClosed)
	}
	if err := conn.raw.Control(func(uintptr) { t.Error("the socket is used after Close") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control: %v, want %v", err, net.ErrClosed)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again: %v, want %v", err, net.ErrClosed)
	}
}

func TestCloseWhileWriting(t *testing.T) {
	conn, at := listen(t, "127.0.0.1:0")
	batch := ipv4.NewPacketConn(conn)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				_, err := batch.WriteBatch([]ipv4.Message{{Buffers: [][]byte{{1}}, Addr: at}}, 0)
				if errors.Is(err, net.ErrClosed) {
					return
				}
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	if err := conn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	writers.Wait()
}

func readable(t *testing.T, conn *Conn) (yes bool) {
	t.Helper()
	err := conn.raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		yes = n != 0 || err != nil
	})
	if err != nil {
		t.Error(err)
	}
	return yes
}

// systemd keeps a socket that it has handed over, for the next start.
func TestCloseLeavesTheSocketToOthers(t *testing.T) {
	former, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := former.File()
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	at := former.LocalAddr().(*net.UDPAddr)
	for range 2 { // a start, and the next
		again, err := net.FilePacketConn(kept)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := Take(again.(*net.UDPConn))
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() { read <- echo(ipv4.NewPacketConn(conn), 1) }()
		time.Sleep(10 * time.Millisecond)
		if readable(t, conn) {
			t.Error("it can be read before anything has come")
		}
		client, err := net.DialUDP("udp4", nil, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("packet")); err != nil {
			t.Error(err)
		}
		if err := <-read; err != nil {
			t.Error(err)
		}
		client.Close()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
