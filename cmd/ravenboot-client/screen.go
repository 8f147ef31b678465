package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"
)

// screen is what an administrator in front of the machine sees.
type screen struct {
	lock     sync.Mutex
	out      io.Writer
	terminal bool // a line can be written over
	open     int  // width of the line that can be written over
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if file, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
		s.terminal = err == nil
	}
	return s
}

// say writes lines that stay.
func (s *screen) say(text string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.endLine()
	for line := range strings.Lines(printable(text)) {
		fmt.Fprintf(s.out, "ravenboot: %s\n", strings.TrimRight(line, "\n"))
	}
}

// show writes a picture as it is, whose columns a prefix would break.
func (s *screen) show(picture string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.endLine()
	fmt.Fprintf(s.out, "\n%s\n\n", strings.TrimRight(printable(picture), "\n"))
}

func (s *screen) endLine() {
	if s.open > 0 {
		fmt.Fprintln(s.out)
		s.open = 0
	}
}

// progress writes a line over the former one on a terminal. Elsewhere it is one
// more line, so the caller must not call it too often.
func (s *screen) progress(line string) {
	if !s.terminal {
		s.say(line)
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	line = "ravenboot: " + printable(line)
	fmt.Fprintf(s.out, "\r%-*s", s.open, line)
	s.open = len(line)
}

// printable takes out what a terminal would take for orders. Servers, caches and
// the labels of disks are quoted in messages.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && unicode.IsControl(c) {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
}
