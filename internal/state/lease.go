package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.etcd.io/bbolt"

	"ravenboot/internal/machine"
)

// Lease is the record of an address that a machine was given.
type Lease struct {
	Addr netip.Addr // IPv4; one record for each address
	MAC  machine.MAC
	// Expires is kept in whole seconds, rounded up. A record outlives it, so
	// that the machine finds its address again.
	Expires time.Time
}

// leaseBucket holds a record for each address. The key is the address, in four
// bytes: leases that are given out one after the other lie side by side, so a
// transaction of many new ones writes few pages.
var leaseBucket = []byte("leases")

// A record is a version, the MAC, the expiry in Unix seconds (big-endian) and
// a CRC-32 of the key and all of this, because bbolt has no checksum for data.
const (
	leaseVersion = 1
	leaseLength  = 1 + 6 + 8 + 4
)

// Leases is every lease that was put and not deleted, by address. A garbled
// record is left out, with a warning.
func (s *State) Leases() ([]Lease, error) {
	var leases []Lease
	err := s.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(leaseBucket).ForEach(func(key, value []byte) error {
			l, err := decodeLease(key, value)
			if err != nil {
				s.log.Warn("lease left out", "outcome", "ignored", "file", s.path, "key", fmt.Sprintf("%x", key), "reason", err)
				return nil
			}
			leases = append(leases, l)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read leases of %s: %w", s.path, err)
	}
	return leases, nil
}

func (s *State) view(read func(*bbolt.Tx) error) (err error) {
	defer recoverDamage(&err)()
	return s.db.View(read)
}

// PutLease replaces the record of l.Addr. It returns at once; Wait of the
// result tells when the lease is on the disk.
func (s *State) PutLease(l Lease) *Commit {
	if !l.Addr.Is4() {
		return Committed(fmt.Errorf("lease of %v: only IPv4 addresses are kept", l.Addr))
	}
	key, value := encodeLease(l)
	return s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(leaseBucket).Put(key, value) })
}

// DeleteLease removes the record of addr, if there is one.
func (s *State) DeleteLease(addr netip.Addr) *Commit {
	return s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(leaseBucket).Delete(addr.AsSlice()) })
}

func encodeLease(l Lease) (key, value []byte) {
	key = l.Addr.AsSlice()
	value = make([]byte, 0, leaseLength)
	value = append(value, leaseVersion)
	value = append(value, l.MAC[:]...)
	value = binary.BigEndian.AppendUint64(value, uint64(roundUp(l.Expires)))
	return key, binary.BigEndian.AppendUint32(value, checksum(key, value))
}

func decodeLease(key, value []byte) (Lease, error) {
	addr, ok := netip.AddrFromSlice(key)
	if !ok || !addr.Is4() {
		return Lease{}, fmt.Errorf("the key has %d bytes, no IPv4 address", len(key))
	}
	if len(value) != leaseLength {
		return Lease{}, fmt.Errorf("the record has %d bytes, not %d", len(value), leaseLength)
	}
	body, sum := value[:leaseLength-4], binary.BigEndian.Uint32(value[leaseLength-4:])
	if sum != checksum(key, body) {
		return Lease{}, errors.New("the checksum does not match")
	}
	if body[0] != leaseVersion {
		return Lease{}, fmt.Errorf("the record is of version %d, this program knows %d", body[0], leaseVersion)
	}
	l := Lease{Addr: addr, Expires: time.Unix(int64(binary.BigEndian.Uint64(body[7:])), 0)}
	l.MAC = machine.MAC(body[1:7])
	return l, nil
}

// roundUp is t in Unix seconds, never before t.
func roundUp(t time.Time) int64 {
	seconds := t.Unix()
	if t.Nanosecond() > 0 {
		seconds++
	}
	return seconds
}
