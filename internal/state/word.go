package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"ravenboot/internal/machine"
)

// Word is what a machine said last, in the form that whoever put it gave it.
type Word struct {
	MAC  machine.MAC // one record for each
	Text []byte
}

// wordBucket holds a record for each machine. The key is the MAC.
var wordBucket = []byte("machines")

// A record is a version, the text and a CRC-32 of the key and all of this.
const wordVersion = 1

// Words is every word that was put and not deleted, by MAC. A garbled record is
// left out, with a warning.
func (s *State) Words() ([]Word, error) {
	var words []Word
	err := s.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(wordBucket).ForEach(func(key, value []byte) error {
			w, err := decodeWord(key, value)
			if err != nil {
				s.log.Warn("report left out", "outcome", "ignored", "file", s.path, "key", fmt.Sprintf("%x", key), "reason", err)
				return nil
			}
			words = append(words, w)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read machines' reports of %s: %w", s.path, err)
	}
	return words, nil
}

// PutWord replaces the record of w.MAC. It returns at once; Wait of the result
// tells when the word is on the disk.
func (s *State) PutWord(w Word) *Commit {
	key, value := encodeWord(w)
	return s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(wordBucket).Put(key, value) })
}

// DeleteWord removes the record of a machine, if there is one.
func (s *State) DeleteWord(mac machine.MAC) *Commit {
	return s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(wordBucket).Delete(mac[:]) })
}

func encodeWord(w Word) (key, value []byte) {
	key = w.MAC[:]
	value = make([]byte, 0, 1+len(w.Text)+4)
	value = append(append(value, wordVersion), w.Text...)
	return key, binary.BigEndian.AppendUint32(value, checksum(key, value))
}

func decodeWord(key, value []byte) (Word, error) {
	var w Word
	if len(key) != len(w.MAC) {
		return w, fmt.Errorf("the key has %d bytes, no MAC address", len(key))
	}
	if len(value) < 1+4 {
		return w, fmt.Errorf("the record has %d bytes", len(value))
	}
	body, sum := value[:len(value)-4], binary.BigEndian.Uint32(value[len(value)-4:])
	if sum != checksum(key, body) {
		return w, errors.New("the checksum does not match")
	}
	if body[0] != wordVersion {
		return w, fmt.Errorf("the record is of version %d, this program knows %d", body[0], wordVersion)
	}
	// The database's memory is gone when the transaction ends.
	return Word{MAC: machine.MAC(key), Text: bytes.Clone(body[1:])}, nil
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(key), crc32.IEEETable, body)
}
