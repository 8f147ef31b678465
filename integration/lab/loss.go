package lab

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// frameSize holds an Ethernet frame of the segment's MTU with room to spare.
const frameSize = 2048

// lossyLink puts a program between the machine's card and its tap that loses
// the given share of the frames in each direction. `tc netem` does the same in
// the kernel, but not every kernel has it, and none has it in a container that
// may not load modules. It returns QEMU's -netdev.
func (l *Lab) lossyLink(id, tap, socket string, loss float64) string {
	l.t.Helper()
	var network *os.File
	l.check(l.Do(func() (err error) {
		network, err = openTap(tap)
		return err
	}))
	ours, theirs := socket+".net", socket+".card"
	card, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"})
	l.check(err)

	var running sync.WaitGroup
	var lost atomic.Int64
	running.Go(func() {
		carry(loss, &lost, card, func(frame []byte) error {
			_, err := network.Write(frame)
			return err
		})
	})
	running.Go(func() {
		carry(loss, &lost, network, func(frame []byte) error {
			_, err := card.WriteToUnix(frame, &net.UnixAddr{Name: theirs, Net: "unixgram"})
			if err != nil && !errors.Is(err, net.ErrClosed) {
				return nil // the machine is not up yet, or is off: a loose cable
			}
			return err
		})
	})
	l.t.Cleanup(func() {
		card.Close()
		network.Close()
		running.Wait()
		l.t.Logf("%s lost %d frames", id, lost.Load())
		if lost.Load() == 0 {
			l.t.Errorf("a link that loses %.0f %% of the frames has lost none", 100*loss)
		}
	})
	return "dgram,id=" + id + ",local.type=unix,local.path=" + theirs + ",remote.type=unix,remote.path=" + ours
}

// carry hands on what arrives until one side is closed, and counts what it
// loses. The seed is fixed, but
// which frames are lost still depends on how the two ends interleave.
func carry(loss float64, lost *atomic.Int64, from io.Reader, to func([]byte) error) {
	dice := rand.New(rand.NewPCG(2131, 1350))
	frame := make([]byte, frameSize)
	for {
		n, err := from.Read(frame)
		if err != nil {
			return
		}
		if dice.Float64() < loss {
			lost.Add(1)
			continue
		}
		if to(frame[:n]) != nil {
			return
		}
	}
}
