// Package statefile keeps small files in the state directory: secrets, which only
// the server's user may read, and what is replaced whole. What it has written is
// on the disk before it returns.
//
// The package must not know what the files are for.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadSecret reads a file, but at most so many bytes. Of one that others can read
// the error says so, with what follows from that and what to do.
func ReadSecret(file string, most int64, otherwise string) ([]byte, error) {
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
		return nil, fmt.Errorf("%s can be read by others (%v): %s", file, info.Mode().Perm(), otherwise)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// Create writes a file of mode 0600, and makes its directory. When two processes
// do so at once, the first wins: a file that is there is never replaced.
func Create(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("%w; set state_dir to a directory that this user may write to", err)
	}
	temporary, err := writeBeside(file, content)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// Replace writes a file of mode 0600, which has the former content or the new,
// whenever the power fails.
func Replace(file string, content []byte) error {
	temporary, err := writeBeside(file, content)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, file); err != nil {
		return errors.Join(err, os.Remove(temporary))
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
