// Package ticket makes and checks tickets: what a machine shows to prove that
// the server has started it, when it reports about itself. A ticket is a word
// of the kernel command line.
//
// It knows MACs, time and one secret. It must not know HTTP, or what a ticket
// is good for.
package ticket

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"ravenboot/internal/machine"
)

// Life is how long a ticket is good for: a machine that waits over night for
// the operator's approval still can say so in the morning.
const Life = 24 * time.Hour

// A ticket is a MAC, the expiry in Unix seconds (big-endian) and the first
// bytes of an HMAC of both. The server keeps no list of those it gave out.
const (
	bodyLength = 6 + 4
	// sumLength is half of SHA-256, the least that RFC 2104 section 5 advises.
	sumLength = sha256.Size / 2
)

// encoding has only characters that mean nothing to iPXE or to a kernel. Strict,
// so that no two texts are the same ticket.
var encoding = base64.RawURLEncoding.Strict()

// Length is that of every ticket, in characters.
var Length = encoding.EncodedLen(bodyLength + sumLength)

// purpose keeps what is signed apart from whatever else the key may sign one
// day.
const purpose = "ravenboot ticket 1\x00"

// Errors of Check. They tell whoever reads them where a machine gets a new one.
var (
	ErrForged  = errors.New("the ticket is none of this server's; boot the machine again from the network to get one")
	ErrExpired = errors.New("the ticket has expired; boot the machine again from the network to get a new one")
)

// Mint makes the ticket of a machine.
func (k *Key) Mint(mac machine.MAC, now time.Time) string {
	var raw [bodyLength + sumLength]byte
	copy(raw[:], mac[:])
	binary.BigEndian.PutUint32(raw[len(mac):], expiry(now))
	copy(raw[bodyLength:], k.sum(raw[:bodyLength]))
	return encoding.EncodeToString(raw[:])
}

// expiry is the end of a ticket made now. A clock that runs in other centuries
// makes tickets that have expired, not ones without end.
func expiry(now time.Time) uint32 {
	end := now.Add(Life).Unix()
	if end < 0 || end > math.MaxUint32 {
		return 0
	}
	return uint32(end)
}

// Check tells which machine a ticket was made for.
func (k *Key) Check(ticket string, now time.Time) (machine.MAC, error) {
	// Before it is decoded: base64 passes line ends over.
	if len(ticket) != Length {
		return machine.MAC{}, ErrForged
	}
	raw, err := encoding.DecodeString(ticket)
	if err != nil || len(raw) != bodyLength+sumLength || !hmac.Equal(raw[bodyLength:], k.sum(raw[:bodyLength])) {
		return machine.MAC{}, ErrForged
	}
	mac := machine.MAC(raw[:6])
	if now.Unix() >= int64(binary.BigEndian.Uint32(raw[len(mac):])) {
		return machine.MAC{}, ErrExpired
	}
	return mac, nil
}

func (k *Key) sum(body []byte) []byte {
	h := hmac.New(sha256.New, k.secret[:])
	h.Write([]byte(purpose))
	h.Write(body)
	return h.Sum(nil)[:sumLength]
}
