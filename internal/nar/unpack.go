package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// window is how much of an archive is held at a time, in bytes. Content is
	// written to its file from there: with smaller windows large files cost more
	// system calls, and with larger ones the processor's cache is left.
	window = 256 << 10
	// maxToken is the longest string that an archive may have, in bytes: what
	// Linux takes for the target of a symlink (PATH_MAX, with its NUL).
	maxToken = 4095
	// maxFileName is the longest name in a directory, in bytes (NAME_MAX).
	maxFileName = 255
)

// storeTime is what Nix sets every file's time to.
var storeTime = []unix.Timespec{{Sec: 1}, {Sec: 1}}

// ErrFormat is in the error of an archive that is not one.
var ErrFormat = errors.New("not a Nix archive")

// Unpack makes the store object NAME in a directory out of an archive, with the
// modes and times of a Nix store. Nothing outside of DIR/NAME is touched,
// whatever the archive says, and NAME must not be there yet. After an error,
// what has been made so far is left for the caller to remove.
//
// It reads from src to its end, which must be that of the archive. An error of
// src is in the error, so that the caller can tell a broken connection from a
// broken archive, which has ErrFormat.
func Unpack(src io.Reader, dir *os.File, name string) error {
	buffer := windows.Get().(*[window]byte)
	defer windows.Put(buffer)
	u := unpacker{src: src, buffer: buffer[:], asMade: map[uint32]bool{}}
	if err := u.expect("nix-archive-1"); err != nil {
		return err
	}
	if err := u.node(int(dir.Fd()), name, 0); err != nil {
		return err
	}
	return u.end()
}

var windows = sync.Pool{New: func() any { return new([window]byte) }}

// unpacker reads an archive. buffer[from:to] has arrived and is not yet used.
type unpacker struct {
	src      io.Reader
	buffer   []byte
	from, to int
	asMade   map[uint32]bool // whether files made with a mode have it
}

// node makes a file, directory or symlink.
func (u *unpacker) node(dir int, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: more than %d directories deep", ErrFormat, maxDepth)
	}
	if err := u.expect("(", "type"); err != nil {
		return err
	}
	kind, err := u.token()
	if err != nil {
		return err
	}
	switch string(kind) {
	case "regular":
		err = u.regular(dir, name)
	case "symlink":
		err = u.symlink(dir, name)
	case "directory":
		return u.directory(dir, name, depth)
	default:
		return fmt.Errorf("%w: type %q", ErrFormat, kind)
	}
	if err != nil {
		return err
	}
	return u.expect(")")
}

func (u *unpacker) regular(dir int, name string) error {
	mode := uint32(0o444)
	word, err := u.token()
	if err == nil && string(word) == "executable" {
		mode = 0o555
		if err = u.expect(""); err == nil {
			word, err = u.token()
		}
	}
	if err != nil {
		return err
	}
	if string(word) != "contents" {
		return fmt.Errorf("%w: %q where contents belong", ErrFormat, word)
	}
	return u.file(dir, name, mode)
}

func (u *unpacker) file(dir int, name string, mode uint32) error {
	size, err := u.number()
	if err != nil {
		return err
	}
	fd, err := openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
	if err != nil {
		return err
	}
	err = u.content(fd, size)
	if err == nil {
		err = u.setMode(fd, mode)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return setTime(dir, name)
}

// setMode gives a file the mode that it was made with, of which the umask or an
// ACL of the directory may have taken something. What they take of one file they
// take of all, so one look saves a system call for each of the others.
func (u *unpacker) setMode(fd int, mode uint32) error {
	asMade, known := u.asMade[mode]
	if !known {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return err
		}
		asMade = stat.Mode&0o7777 == mode
		u.asMade[mode] = asMade
	}
	if asMade {
		return nil
	}
	return unix.Fchmod(fd, mode)
}

// content writes the next size bytes to a file, and passes over their padding.
func (u *unpacker) content(fd int, size uint64) error {
	for left := size; left > 0; {
		if u.from == u.to {
			if err := u.fill(1); err != nil {
				return err
			}
		}
		part := u.buffer[u.from:u.to]
		part = part[:min(uint64(len(part)), left)]
		if err := writeAll(fd, part); err != nil {
			return err
		}
		u.from += len(part)
		left -= uint64(len(part))
	}
	return u.padding(size)
}

func (u *unpacker) symlink(dir int, name string) error {
	if err := u.expect("target"); err != nil {
		return err
	}
	target, err := u.token()
	if err != nil {
		return err
	}
	if len(target) == 0 || bytes.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("%w: target %q of a symlink", ErrFormat, target)
	}
	if err := unix.Symlinkat(string(target), dir, name); err != nil {
		return err
	}
	return setTime(dir, name)
}

func (u *unpacker) directory(dir int, name string, depth int) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return err
	}
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = u.entries(fd, depth)
	if err == nil {
		err = unix.Fchmod(fd, 0o555)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return setTime(dir, name)
}

// entries makes what is in a directory, up to the end of its node.
func (u *unpacker) entries(dir, depth int) error {
	last := ""
	for {
		word, err := u.token()
		if err != nil {
			return err
		}
		if string(word) == ")" {
			return nil
		}
		if string(word) != "entry" {
			return fmt.Errorf("%w: %q where an entry belongs", ErrFormat, word)
		}
		name, err := u.entryName(last)
		if err != nil {
			return err
		}
		if err := u.node(dir, name, depth+1); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := u.expect(")"); err != nil {
			return err
		}
		last = name
	}
}

// entryName reads an entry up to its node. Names stand in order, so that none
// comes twice.
func (u *unpacker) entryName(last string) (string, error) {
	if err := u.expect("(", "name"); err != nil {
		return "", err
	}
	word, err := u.token()
	if err != nil {
		return "", err
	}
	name := string(word)
	switch {
	case name == "" || name == "." || name == ".." || len(name) > maxFileName || bytes.ContainsAny(word, "/\x00"):
		return "", fmt.Errorf("%w: name %.300q", ErrFormat, name)
	case name <= last:
		return "", fmt.Errorf("%w: %q after %q", ErrFormat, name, last)
	}
	return name, u.expect("node")
}

// expect reads the given strings.
func (u *unpacker) expect(words ...string) error {
	for _, want := range words {
		got, err := u.token()
		if err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("%w: %.300q where %q belongs", ErrFormat, got, want)
		}
	}
	return nil
}

// token reads a string. It is good until the next call.
func (u *unpacker) token() ([]byte, error) {
	size, err := u.number()
	if err != nil {
		return nil, err
	}
	if size > maxToken {
		return nil, fmt.Errorf("%w: a string of %d bytes", ErrFormat, size)
	}
	whole := int(size+7) &^ 7
	if err := u.fill(whole); err != nil {
		return nil, err
	}
	text := u.buffer[u.from : u.from+whole]
	u.from += whole
	return text[:size], checkZero(text[size:])
}

func (u *unpacker) number() (uint64, error) {
	if err := u.fill(8); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(u.buffer[u.from:])
	u.from += 8
	return n, nil
}

func (u *unpacker) padding(size uint64) error {
	n := int(-size & 7)
	if err := u.fill(n); err != nil {
		return err
	}
	text := u.buffer[u.from : u.from+n]
	u.from += n
	return checkZero(text)
}

func checkZero(padding []byte) error {
	for _, b := range padding {
		if b != 0 {
			return fmt.Errorf("%w: padding that is not zero", ErrFormat)
		}
	}
	return nil
}

// fill sees to it that n bytes are there, n being at most a window.
func (u *unpacker) fill(n int) error {
	if u.to-u.from >= n {
		return nil
	}
	copy(u.buffer, u.buffer[u.from:u.to])
	u.to -= u.from
	u.from = 0
	for u.to < n {
		k, err := u.src.Read(u.buffer[u.to:])
		u.to += k
		if u.to >= n {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends too early: %w", ErrFormat, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end sees to it that nothing follows.
func (u *unpacker) end() error {
	if u.from < u.to {
		return fmt.Errorf("%w: more after its end", ErrFormat)
	}
	n, err := io.ReadFull(u.src, u.buffer[:1])
	if n > 0 {
		return fmt.Errorf("%w: more after its end", ErrFormat)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func setTime(dir int, name string) error {
	return unix.UtimesNanoAt(dir, name, storeTime, unix.AT_SYMLINK_NOFOLLOW)
}

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
