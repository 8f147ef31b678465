package nar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/nix-community/go-nix/pkg/wire"
	"golang.org/x/sys/unix"
)

// maxDepth is how many directories may lie in each other: each is an open file
// while what is in it is read.
const maxDepth = 256

// Reader reads the NAR of a store object as if it were a file. Every file is
// opened by its name in the directory that holds it, and no symlink is
// followed, so that nothing but the store object is ever opened.
//
// Seeking costs nothing before the next Read. Reading on behind a gap looks at
// the files in it without opening them; going back starts again.
type Reader struct {
	storeDir, base string
	size           int64 // what Seek takes for the end
	offset         int64 // where the next Read is to read

	at      int64        // where the walk is
	frame   bytes.Buffer // what the walk has written and is not yet read
	file    content      // what follows frame, if its left is above 0
	stack   []directory  // the store, and the directories that the walk is in
	started bool
}

// directory is one that the walk is in.
type directory struct {
	fd    int
	names []string // that are still to come, sorted
}

// content is a regular file in the last directory of the stack.
type content struct {
	name       string
	fd         int // -1 while it is not open
	size, left int64
}

// NewReader makes a reader of the NAR of storeDir/base. Size is that of the
// NAR in bytes, which only Seek needs. The caller must Close the reader.
func NewReader(storeDir, base string, size int64) *Reader {
	return &Reader{storeDir: storeDir, base: base, size: size, file: content{fd: -1}}
}

// Name is the path of the store object.
func (r *Reader) Name() string { return r.storeDir + "/" + r.base }

// Close closes what is open. The reader may still be read: it starts again.
func (r *Reader) Close() error {
	r.closeFile()
	for _, d := range r.stack {
		unix.Close(d.fd)
	}
	r.stack, r.started, r.at, r.file.left = nil, false, 0, 0
	r.frame.Reset()
	return nil
}

func (r *Reader) closeFile() {
	if r.file.fd >= 0 {
		unix.Close(r.file.fd)
		r.file.fd = -1
	}
}

// Seek is io.Seeker's.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a NAR")
	}
	r.offset = offset
	return offset, nil
}

// Read is io.Reader's. It fills p as far as the NAR goes.
func (r *Reader) Read(p []byte) (n int, err error) {
	if r.offset < r.at {
		r.Close()
	}
	for n < len(p) && err == nil {
		switch {
		case r.at < r.offset && r.pending():
			err = r.skip(r.offset - r.at)
		case r.frame.Len() > 0:
			k, _ := r.frame.Read(p[n:])
			n += k
			r.advance(k)
		case r.file.left > 0:
			var k int
			k, err = r.readFile(p[n:])
			n += k
			r.advance(k)
		default:
			err = r.step()
		}
	}
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// AtEnd tells whether a Reader that was read up to its size has come to the end
// of the NAR there, and not before or after.
func (r *Reader) AtEnd() (bool, error) {
	n, err := r.Read(make([]byte, 1))
	if n > 0 || err == nil {
		return false, nil
	}
	if errors.Is(err, io.EOF) {
		return r.at == r.size, nil
	}
	return false, err
}

func (r *Reader) advance(n int) {
	r.at += int64(n)
	r.offset += int64(n)
}

func (r *Reader) pending() bool { return r.frame.Len() > 0 || r.file.left > 0 }

// skip leaves out up to n bytes of what is pending.
func (r *Reader) skip(n int64) error {
	framed := min(n, int64(r.frame.Len()))
	r.frame.Next(int(framed))
	r.at += framed
	if r.frame.Len() > 0 {
		return nil
	}
	passed := min(n-framed, r.file.left)
	r.at += passed
	return r.passed(passed)
}

// readFile reads from the file that the walk is at.
func (r *Reader) readFile(p []byte) (int, error) {
	f := &r.file
	if f.fd < 0 {
		fd, err := r.open(f.name, unix.O_NONBLOCK)
		if err != nil {
			return 0, err
		}
		f.fd = fd
	}
	p = p[:min(int64(len(p)), f.left)]
	n, err := pread(f.fd, p, f.size-f.left)
	if err != nil {
		return 0, r.fault("read", f.name, err)
	}
	if n == 0 {
		return 0, r.fault("read", f.name, fmt.Errorf("it became shorter than %d bytes: %w", f.size, io.ErrUnexpectedEOF))
	}
	return n, r.passed(int64(n))
}

func pread(fd int, p []byte, offset int64) (int, error) {
	for {
		n, err := unix.Pread(fd, p, offset)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// passed counts n bytes of the file as done, and ends it after the last.
func (r *Reader) passed(n int64) error {
	if n == 0 {
		return nil
	}
	r.file.left -= n
	if r.file.left > 0 {
		return nil
	}
	r.closeFile()
	r.endFile()
	return nil
}

// endFile writes what follows a file's content: zeros up to a multiple of 8,
// and the end of its node.
func (r *Reader) endFile() {
	if over := r.file.size % 8; over != 0 {
		r.frame.Write(make([]byte, 8-over))
	}
	r.endNode()
}

// Open finds the store object, which the first Read does otherwise, so that a
// missing one is known before anything is promised.
func (r *Reader) Open() error {
	if r.started {
		return nil
	}
	return r.start()
}

// step walks on to the next node. io.EOF says that there is none.
func (r *Reader) step() error {
	if !r.started {
		return r.start()
	}
	inner := len(r.stack) - 1
	if inner <= 0 {
		return io.EOF
	}
	dir := &r.stack[inner]
	if len(dir.names) == 0 {
		unix.Close(dir.fd)
		r.stack = r.stack[:inner]
		r.endNode()
		return nil
	}
	name := dir.names[0]
	dir.names = dir.names[1:]
	r.write("entry", "(", "name", name, "node")
	return r.node(name)
}

func (r *Reader) start() error {
	fd, err := unix.Open(r.storeDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: r.storeDir, Err: err}
	}
	r.started = true
	r.stack = append(r.stack, directory{fd: fd})
	r.write("nix-archive-1")
	return r.node(r.base)
}

// node writes the node of a name in the last directory, up to its content.
func (r *Reader) node(name string) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(r.dir(), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return r.fault("stat", name, err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return r.regular(name, &stat)
	case unix.S_IFLNK:
		return r.symlink(name, &stat)
	case unix.S_IFDIR:
		return r.directory(name)
	}
	return r.fault("read", name, errors.New("it is neither file, directory nor symlink"))
}

func (r *Reader) regular(name string, stat *unix.Stat_t) error {
	r.write("(", "type", "regular")
	if stat.Mode&unix.S_IXUSR != 0 {
		r.write("executable", "")
	}
	r.write("contents")
	// Writing to a bytes.Buffer doesn't fail.
	_ = wire.WriteUint64(&r.frame, uint64(stat.Size))
	r.file = content{name: name, fd: -1, size: stat.Size, left: stat.Size}
	if stat.Size == 0 {
		r.endFile()
	}
	return nil
}

func (r *Reader) symlink(name string, stat *unix.Stat_t) error {
	target := make([]byte, stat.Size+1)
	n, err := unix.Readlinkat(r.dir(), name, target)
	if err != nil {
		return r.fault("readlink", name, err)
	}
	if int64(n) != stat.Size {
		return r.fault("readlink", name, errors.New("it changed"))
	}
	r.write("(", "type", "symlink", "target", string(target[:n]))
	r.endNode()
	return nil
}

func (r *Reader) directory(name string) error {
	if len(r.stack) > maxDepth {
		return r.fault("open", name, fmt.Errorf("it lies more than %d directories deep", maxDepth))
	}
	fd, err := r.open(name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		unix.Close(fd)
		return r.fault("readdir", name, err)
	}
	r.write("(", "type", "directory")
	r.stack = append(r.stack, directory{fd, names})
	return nil
}

// readNames lists a directory in the order of a NAR, which is that of the bytes.
func readNames(fd int) ([]string, error) {
	own, err := unix.Dup(fd)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(own), "")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// open opens a name in the last directory, and never what a symlink leads to.
func (r *Reader) open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(r.dir(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, r.fault("open", name, err)
		}
		return fd, nil
	}
}

func (r *Reader) dir() int { return r.stack[len(r.stack)-1].fd }

func (r *Reader) fault(op, name string, err error) error {
	return fmt.Errorf("%s/%s: %w", r.storeDir, r.base, &os.PathError{Op: op, Path: name, Err: err})
}

// endNode closes a node and, but for the outermost, the entry that holds it.
func (r *Reader) endNode() {
	r.write(")")
	if len(r.stack) > 1 {
		r.write(")")
	}
}

func (r *Reader) write(tokens ...string) {
	for _, token := range tokens {
		// Writing to a bytes.Buffer doesn't fail.
		_ = wire.WriteString(&r.frame, token)
	}
}
