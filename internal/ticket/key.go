package ticket

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	if err := makeKey(filepath.Join(stateDir, KeyFile)); err != nil {
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
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (%v): whoever has it can report for every machine; delete it, and a new one is made at the next start",
			file, info.Mode().Perm())
	}
	secret, err := io.ReadAll(io.LimitReader(f, keyLength+1))
	if err != nil {
		return nil, err
	}
	if len(secret) != keyLength {
		return nil, fmt.Errorf("%s does not have %d bytes; delete it, and a new one is made at the next start", file, keyLength)
	}
	return &Key{secret: [keyLength]byte(secret)}, nil
}

// makeKey writes a new key. When two processes do so at once, the first wins:
// a file that is there is never replaced.
func makeKey(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("%w; set state_dir to a directory that this user may write to", err)
	}
	temporary, err := writeBeside(file, NewKey().secret[:])
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// writeBeside writes a file of mode 0600 in the directory of file, and returns
// its name once its content is on the disk.
func writeBeside(file string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
