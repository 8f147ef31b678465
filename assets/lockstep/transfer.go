package lockstep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
)

// A machine that doesn't acknowledge is sent the same again, after 250 ms and
// then twice as long each time up to 6 s. Most ROMs wait longer before they
// repeat themselves, so it is the server that makes up for losses.
//
// A client may ignore a block that it has (RFC 1123 4.2.3.1), acknowledge it
// again only when nothing has come for a while, and take the repetition for
// something that came (atftp, 5 s). Where its acknowledgement is lost, it would
// be kept quiet by pauses that are all shorter than that.
//
// The OACK is the exception. A machine that lacks it repeats its request; one
// that has it, and whose acknowledgement was lost, may take another for an error
// (atftp), or begin again in the middle (curl). So it is sent again late, between
// the moments when clients repeat themselves, for those that never do.
const (
	resendFirst = 250 * time.Millisecond
	resendMost  = 6 * time.Second
	resendOACK  = 8 * time.Second
	patience    = 17 * time.Second // without a sign of life
	// unanswered is when a transfer whose machine has said nothing but the
	// request, which anybody can send in another's name, makes room for others.
	unanswered = time.Second
)

// Outcomes of a transfer.
var (
	// ErrProbe is the end of a transfer of which the machine wanted the size
	// only: it answers the options with an error. OVMF does that with code 8
	// before it asks again in earnest (pin/tftp#125).
	ErrProbe = errors.New("it asked for the size only")
	// ErrSilent is the end of a transfer with a machine that is gone.
	ErrSilent = errors.New("no acknowledgement")
	// ErrLastSilent is the same at the end: whoever has all of a file may go on
	// before its last packet gets through.
	ErrLastSilent = errors.New("no acknowledgement of the last block; the machine may have the file")
	// ErrReplaced is the end of a transfer whose machine has begun another from
	// the same port.
	ErrReplaced = errors.New("it asked again")
	// ErrStopped is the end of a transfer when the server stops.
	ErrStopped = errors.New("the server stops")
)

// Result is how a transfer ended.
type Result struct {
	Bytes  int64 // acknowledged
	Resent int   // packets
	Err    error // nil when the whole file was acknowledged
}

// transfer is one file on its way to one machine. Block 0 is the OACK.
type transfer struct {
	request  Request
	content  []byte
	oack     []byte
	size     int // of a block
	block    int // sent and not acknowledged; not cut to 16 bits
	due      time.Time
	tries    int
	heard    time.Time // when the machine last moved on
	resent   int
	answered bool // something was acknowledged
	addr     *net.UDPAddr
	control  []byte // ancillary data: from which address to send, on a shared port
	header   [4]byte
	buffers  [2][]byte
}

func newTransfer(r Request, content []byte, limit int) *transfer {
	t := &transfer{request: r, content: content, addr: net.UDPAddrFromAddrPort(r.Remote), heard: r.Begun}
	t.oack, t.size = r.negotiate(len(content), limit)
	if t.oack == nil {
		t.block = 1
	}
	return t
}

// message is the packet that is under way.
func (t *transfer) message(now time.Time) ipv4.Message {
	t.due = now.Add(min(resendMost, resendFirst<<min(t.tries, 8)))
	m := ipv4.Message{Addr: t.addr, OOB: t.control}
	if t.block == 0 {
		t.due = now.Add(resendOACK)
		t.buffers[0] = t.oack
		m.Buffers = t.buffers[:1]
		return m
	}
	t.header = [4]byte{0, opData}
	binary.BigEndian.PutUint16(t.header[2:], uint16(t.block))
	begin := min((t.block-1)*t.size, len(t.content))
	t.buffers[0] = t.header[:]
	t.buffers[1] = t.content[begin:min(begin+t.size, len(t.content))]
	m.Buffers = t.buffers[:]
	return m
}

// errorMessage is the packet that ends the transfer.
func (t *transfer) errorMessage(err error) ipv4.Message {
	return ipv4.Message{Addr: t.addr, OOB: t.control, Buffers: [][]byte{errorPacket(codeOther, err.Error())}}
}

// acknowledged moves on to the next block, if this is the acknowledgement of
// the one that is under way. Others are late: answering them would double
// every packet from then on (RFC 1123 4.2.3.1).
func (t *transfer) acknowledged(block uint16, now time.Time) (moved, ended bool) {
	if block != uint16(t.block) {
		return false, false
	}
	ended = t.last()
	t.block++
	t.tries, t.heard, t.answered = 0, now, true
	return true, ended
}

// last reports whether the last block is under way, which is a short one.
func (t *transfer) last() bool { return t.block > 0 && t.block*t.size > len(t.content) }

// silent is the outcome when the machine doesn't answer any more.
func (t *transfer) silent() error {
	if t.last() {
		return ErrLastSilent
	}
	return ErrSilent
}

// repeats reports whether a request is the one that began this transfer, sent
// again before anything was acknowledged.
func (t *transfer) repeats(again *transfer) bool {
	return !t.answered && t.request.Name == again.request.Name && slices.Equal(t.request.Options, again.request.Options)
}

// sent is how many bytes were acknowledged.
func (t *transfer) sent() int64 {
	return int64(min(max(t.block-1, 0)*t.size, len(t.content)))
}

// refused is the outcome of an ERROR packet.
func (t *transfer) refused(p []byte) error {
	if t.block == 0 {
		return ErrProbe
	}
	text := p[4:]
	if end := strings.IndexByte(string(text), 0); end >= 0 {
		text = text[:end]
	}
	return fmt.Errorf("the machine sent error %d: %q", binary.BigEndian.Uint16(p[2:]), text)
}
