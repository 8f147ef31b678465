package assets

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// opener opens a regular file. Which links it follows depends on who named the
// path.
type opener func(path string) (*os.File, os.FileInfo, error)

// openExactly opens a path all of whose symlinks were resolved when the
// generation was read. A link in it that is there now has been put there since,
// and may lead anywhere, so it is refused.
func openExactly(path string) (*os.File, os.FileInfo, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Linux before 5.6, or a sandbox that doesn't know the call.
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return regular(os.NewFile(uintptr(fd), path))
}

// openFollowing opens a path that the administrator wrote down. O_NONBLOCK
// keeps a named pipe from holding the request for ever.
func openFollowing(path string) (*os.File, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return regular(file)
}

func regular(file *os.File) (*os.File, os.FileInfo, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", file.Name())
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// etag is a strong validator. The time of a file's last modification is not
// enough for it: Nix sets that to 1 everywhere in the store.
func etag(parts ...any) string {
	tag := make([]byte, 0, 64)
	tag = append(tag, '"')
	for i, part := range parts {
		if i > 0 {
			tag = append(tag, '-')
		}
		switch p := part.(type) {
		case uint64:
			tag = strconv.AppendUint(tag, p, 16)
		case time.Time:
			tag = strconv.AppendInt(tag, p.UnixNano(), 16)
		}
	}
	return string(append(tag, '"'))
}

// fileETag tells one file from another, also where a path in the store was
// collected as garbage and another has taken its inode since.
func fileETag(info os.FileInfo) string {
	size, modified := uint64(info.Size()), info.ModTime()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return etag(stat.Dev, stat.Ino, size, modified, time.Unix(stat.Ctim.Unix()))
	}
	return etag(size, modified)
}
