package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: what is written to its tty can be read from it.
func terminal(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pty.Close() })
	number, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return pty, tty
}

// tell writes what a download does.
func tell(s *screen) {
	s.say("2 store paths to fetch")
	s.progress("0 of 2 paths, standing still")
	s.progress("1 of 2 paths")
	s.say("a server is away\ntrying again")
	s.progress("2 of 2 paths")
	s.show("a\nb\n")
	s.say("done")
}

func TestScreenOnATerminal(t *testing.T) {
	pty, tty := terminal(t)
	s := newScreen(tty)
	tell(s)
	const want = "ravenboot: 2 store paths to fetch\r\n" +
		"\rravenboot: 0 of 2 paths, standing still" +
		"\rravenboot: 1 of 2 paths                \r\n" +
		"ravenboot: a server is away\r\nravenboot: trying again\r\n" +
		"\rravenboot: 2 of 2 paths\r\n\r\na\r\nb\r\n\r\nravenboot: done\r\n"
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := pty.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if string(got) != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestScreenOnAPipe(t *testing.T) {
	var out bytes.Buffer
	tell(newScreen(&out))
	const want = "ravenboot: 2 store paths to fetch\nravenboot: 0 of 2 paths, standing still\nravenboot: 1 of 2 paths\n" +
		"ravenboot: a server is away\nravenboot: trying again\nravenboot: 2 of 2 paths\n\na\nb\n\nravenboot: done\n"
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if newScreen(pipe).terminal {
		t.Error("a pipe is taken for a terminal")
	}
}

// What a server or a disk says must not give orders to the console.
func TestScreenShowsNoOrders(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	const orders = "\x1b[2J \r \a \x7f \u009b31m \xff ä\ttab"
	s.say(orders)
	s.show(orders)
	s.progress(orders)
	if got := out.String(); strings.ContainsAny(got, "\x1b\r\a\x7f\u009b") || strings.Count(got, "ä\ttab") != 3 || strings.Contains(got, "\xff") {
		t.Errorf("got %q", got)
	}
}
