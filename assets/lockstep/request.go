package lockstep

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Opcodes (RFC 1350 section 5, RFC 2347).
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOACK  = 6
)

// Block sizes in bytes (RFC 1350 section 2, RFC 2348).
const (
	plainBlock    = 512
	smallestBlock = 8
	largestBlock  = 65464
)

// mostOptions bounds what is read of a request; firmware sends three.
const mostOptions = 16

// Option is one option of a request, the name in lower case.
type Option struct{ Name, Value string }

// Request is a machine's request to read a file.
type Request struct {
	Name    string // as it was sent
	Mode    string // in lower case; "octet" but for netascii's few users
	Options []Option
	Remote  netip.AddrPort
	Local   netip.Addr // what the machine asked; not valid if the system doesn't tell
	Begun   time.Time
}

var errMalformed = errors.New("malformed request")

// parseRequest reads an RRQ or WRQ. What follows the last whole option is
// passed over, as firmware sends fixed buffers.
func parseRequest(p []byte) (op byte, r Request, err error) {
	if len(p) < 2 || p[0] != 0 || p[1] != opRead && p[1] != opWrite {
		return 0, r, errMalformed
	}
	op, p = p[1], p[2:]
	var whole bool
	if r.Name, p, whole = field(p); !whole {
		return 0, r, errMalformed
	}
	if r.Mode, p, whole = field(p); !whole {
		return 0, r, errMalformed
	}
	r.Mode = strings.ToLower(r.Mode)
	for len(r.Options) < mostOptions {
		var o Option
		if o.Name, p, whole = field(p); !whole || o.Name == "" {
			break
		}
		if o.Value, p, whole = field(p); !whole {
			break
		}
		o.Name = strings.ToLower(o.Name)
		r.Options = append(r.Options, o)
	}
	return op, r, nil
}

// field takes a string that ends with a NUL.
func field(p []byte) (s string, rest []byte, whole bool) {
	end := bytes.IndexByte(p, 0)
	if end < 0 {
		return "", p, false
	}
	return string(p[:end]), p[end+1:], true
}

// negotiate answers a request's options: the OACK packet, nil if there is
// nothing to agree to, and the block size. limit is the largest block. Options
// come back in their order; what isn't known is left out (RFC 2347).
func (r *Request) negotiate(size, limit int) (oack []byte, block int) {
	block = plainBlock
	seen := map[string]bool{}
	for _, o := range r.Options {
		n, err := strconv.Atoi(o.Value)
		if seen[o.Name] || err != nil {
			continue
		}
		seen[o.Name] = true
		switch {
		case o.Name == "blksize" && n >= smallestBlock && n <= largestBlock:
			block = min(n, limit)
			oack = appendOption(oack, o.Name, block)
		case o.Name == "tsize" && n >= 0:
			oack = appendOption(oack, o.Name, size)
		}
	}
	return oack, block
}

func appendOption(oack []byte, name string, value int) []byte {
	if oack == nil {
		oack = []byte{0, opOACK}
	}
	oack = append(append(oack, name...), 0)
	return append(strconv.AppendInt(oack, int64(value), 10), 0)
}

// Error codes that the server sends (RFC 1350, appendix).
const (
	codeOther    = 0
	codeNotFound = 1
	codeAccess   = 2
)

func errorPacket(code byte, text string) []byte {
	return append(append([]byte{0, opError, 0, code}, text...), 0)
}
