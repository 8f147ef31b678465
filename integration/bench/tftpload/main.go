// Command tftpload downloads a file over TFTP many times, many at a time, and
// prints how many downloads a second the server did. The first download is made
// alone; every byte of the others is compared with it.
//
// It runs on one thread, around epoll, so that it leaves the other processors
// to the server and costs the same beside every server.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:69", "the server")
	file := flag.String("file", "snponly.efi", "the file's `name`")
	n := flag.Int("n", 500, "downloads in all, at most")
	lasts := flag.Duration("lasts", time.Minute, "begin no more after this `time`")
	c := flag.Int("c", 50, "downloads at a time")
	blksize := flag.Int("blksize", 1468, "block size to ask for, in `bytes`")
	want := flag.String("sha256", "", "what the file's `sum` must be, in hex")
	flag.Parse()
	if flag.NArg() > 0 || *n < 1 || *c < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*addr, *want, *lasts, load{file: *file, left: *n, blksize: *blksize}, *c); err != nil {
		fmt.Fprintln(os.Stderr, "tftpload:", err)
		os.Exit(1)
	}
}

func run(addr, want string, lasts time.Duration, l load, c int) error {
	server, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return err
	}
	l.server = server.AddrPort()
	if l.server = netip.AddrPortFrom(l.server.Addr().Unmap(), l.server.Port()); !l.server.Addr().Is4() {
		return fmt.Errorf("%s is no IPv4 address", addr)
	}
	runtime.LockOSThread()
	n := l.left
	l.left = 1
	if err := l.run(1); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(l.content))
	if want != "" && sum != want {
		return fmt.Errorf("the file's SHA-256 is %s, want %s", sum, want)
	}
	l.left, l.done, l.until = n, 0, time.Now().Add(lasts)
	begun, cpu := time.Now(), cpuTime()
	if err := l.run(c); err != nil {
		return err
	}
	took := time.Since(begun)
	fmt.Printf("%.1f transfers/s, %d transfers of %d bytes in %.2f s, %d resent, client CPU %.2f s, sha256 %s\n",
		float64(l.done)/took.Seconds(), l.done, len(l.content), took.Seconds(), l.resent, (cpuTime() - cpu).Seconds(), sum)
	return nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
