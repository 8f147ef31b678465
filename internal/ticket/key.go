package ticket

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"ravenboot/internal/statefile"
)

// KeyFile is the key's name in the state directory.
const KeyFile = "ticket.key"

const keyLength = 32 // bytes; RFC 2104 section 3 asks for no less than the hash's

// Key is the secret that tickets are made with.
type Key struct{ secret [keyLength]byte }

// NewKey makes a key that is kept nowhere.
func NewKey() *Key {
	k := new(Key)
	rand.Read(k.secret[:]) // never fails, by its documentation
	return k
}

// OpenKey reads the key from the state directory, and makes both where they are
// missing.
func OpenKey(stateDir string) (*Key, error) {
	k, err := ReadKey(stateDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := statefile.Create(filepath.Join(stateDir, KeyFile), NewKey().secret[:]); err != nil {
		return nil, fmt.Errorf("key of tickets: %w", err)
	}
	return ReadKey(stateDir)
}

// ReadKey reads the key from the state directory.
func ReadKey(stateDir string) (*Key, error) {
	k, err := readKey(filepath.Join(stateDir, KeyFile))
	if err != nil {
		return nil, fmt.Errorf("key of tickets: %w", err)
	}
	return k, nil
}

func readKey(file string) (*Key, error) {
	secret, err := statefile.ReadSecret(file, keyLength+1,
		"whoever has it can report for every machine; delete it, and a new one is made at the next start")
	if err != nil {
		return nil, err
	}
	if len(secret) != keyLength {
		return nil, fmt.Errorf("%s does not have %d bytes; delete it, and a new one is made at the next start", file, keyLength)
	}
	return &Key{secret: [keyLength]byte(secret)}, nil
}
