package lab

import (
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Console is a machine's serial line: what it prints, without the control
// sequences that firmware and iPXE paint their screens with, and its keyboard.
type Console struct {
	conn net.Conn

	mu     sync.Mutex
	text   strings.Builder
	esc    escape
	read   int           // how much of text Expect has consumed
	change chan struct{} // closed and replaced when text grows or ends
	ended  bool
}

func newConsole(conn net.Conn) *Console {
	c := &Console{conn: conn, change: make(chan struct{})}
	go c.listen()
	return c
}

func (c *Console) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buf)
		c.mu.Lock()
		for _, b := range buf[:n] {
			c.esc.strip(&c.text, b)
		}
		c.ended = err != nil
		close(c.change)
		c.change = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Transcript is everything the machine has printed so far.
func (c *Console) Transcript() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// find waits until the part of the transcript that no earlier find has
// consumed matches, and consumes it up to the end of the match. It returns the
// submatches, or nil when the time is up or the machine is off.
func (c *Console) find(re *regexp.Regexp, timeout time.Duration) []string {
	late := time.After(timeout)
	for {
		c.mu.Lock()
		unread := c.text.String()[c.read:]
		change, ended := c.change, c.ended
		match := re.FindStringSubmatchIndex(unread)
		if match != nil {
			c.read += match[1]
		}
		c.mu.Unlock()
		if match != nil {
			return submatches(unread, match)
		}
		if ended {
			return nil
		}
		select {
		case <-change:
		case <-late:
			return nil
		}
	}
}

func submatches(text string, index []int) []string {
	found := make([]string, 0, len(index)/2)
	for i := 0; i < len(index); i += 2 {
		if index[i] < 0 {
			found = append(found, "")
			continue
		}
		found = append(found, text[index[i]:index[i+1]])
	}
	return found
}

// escape strips ECMA-48 control sequences. Moving the cursor to another place
// becomes a line break, so that words of different lines don't run together.
type escape struct {
	inside   bool // after ESC
	sequence bool // after ESC [
}

func (e *escape) strip(out *strings.Builder, b byte) {
	switch {
	case e.sequence:
		if b < 0x40 || b > 0x7e { // parameters; the final byte is in 0x40-0x7e
			return
		}
		e.inside, e.sequence = false, false
		if b == 'H' || b == 'f' {
			breakLine(out)
		}
	case e.inside:
		e.sequence = b == '['
		e.inside = e.sequence
	case b == 0x1b:
		e.inside = true
	case b == '\n':
		breakLine(out)
	case b >= ' ' || b == '\t':
		out.WriteByte(b)
	}
}

func breakLine(out *strings.Builder) {
	if text := out.String(); text != "" && text[len(text)-1] != '\n' {
		out.WriteByte('\n')
	}
}
