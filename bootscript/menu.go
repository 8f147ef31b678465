package bootscript

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Menu is a machine's boot menu.
type Menu struct {
	Title   string
	Machine string // its name, or its MAC
	MAC     string
	Address string // its own
	Server  string // the server's
	Items   []Item
	Default string // ID of the item that boots by itself
	// Timeout is the countdown to Default. 0 boots at once, unless a key is
	// held; below 0 waits for ever.
	Timeout time.Duration
	// Entry is the URL of the script of an item, which the item's ID is added
	// to.
	Entry string
	Fallback
}

// Item is a line of a menu.
type Item struct {
	ID    string // letters, digits and ._-/ only
	Label string
	Key   byte // hot key, 0 for none
	// Do is what the item does by itself; "" fetches the script of its ID.
	Do Action
	// Heading makes the line one that can't be chosen.
	Heading bool
}

// Action is what an item does without asking the server.
type Action string

// The actions.
const (
	DoLocal    Action = "local"
	DoShell    Action = "shell"
	DoReboot   Action = "reboot"
	DoPoweroff Action = "poweroff"
)

// keyWait is how long a menu without a countdown looks for a held key, in
// milliseconds.
const keyWait = 500

// idleTime is the countdown after a key was pressed, for builds that have
// choose --retimeout (iPXE since February 2025): in others a key stops the
// countdown for good, and a machine whose keyboard somebody touched waits for
// ever (ipxe#1412). It is also the countdown of a menu that was asked for by a
// held key, since that key may have been no more than a book on the keyboard.
const idleTime = 5 * time.Minute

// mostTimeout bounds the countdown: iPXE counts milliseconds in 32 bits.
const mostTimeout = 24 * time.Hour

// Render makes the script.
func (m *Menu) Render() []byte { return m.AppendTo(nil) }

// AppendTo adds the script to dst.
func (m *Menu) AppendTo(dst []byte) []byte {
	s := script{text: slices.Grow(dst, 2048+96*len(m.Items))}
	s.begin()
	s.add(whiteSpaceSettings)
	if m.Timeout == 0 {
		s.add("set selected ", m.Default, "\nprompt --timeout ")
		s.number(keyWait)
		s.add(" Booting ", m.Default, " (hold a key for the menu) || goto chosen\n")
	}
	s.add(":menu\nmenu ")
	heading := m.heading()
	if strings.HasPrefix(heading, "-") {
		s.add("-- ") // else it would be taken for an option
	}
	s.text = appendText(s.text, heading)
	s.add("\n")
	for i := range m.Items {
		s.item(&m.Items[i])
	}
	s.choose(m)
	s.add(":chosen\n")
	for _, action := range []Action{DoLocal, DoShell, DoReboot, DoPoweroff} {
		if m.has(action) {
			s.add("iseq ${selected} ", string(action), " && goto do_", string(action), " ||\n")
		}
	}
	s.add("chain --replace --autofree ", m.Entry, "${selected}")
	s.orFailed("the boot script of ${selected} did not arrive")
	s.actions(m)
	s.end(&m.Fallback)
	return s.text
}

func (m *Menu) heading() string {
	heading := m.Title
	for _, part := range []string{m.Machine, m.MAC, m.Address, m.Server} {
		if part != "" {
			heading += "  " + part
		}
	}
	return heading
}

func (s *script) item(i *Item) {
	if i.Heading {
		s.add("item --gap -- ")
		s.text = appendText(s.text, i.Label)
		s.add("\n")
		return
	}
	s.text = append(s.text, "item "...)
	if i.Key != 0 {
		s.text = append(append(s.text, "--key "...), i.Key, ' ')
	}
	s.text = append(append(s.text, i.ID...), ' ')
	s.text = append(appendText(s.text, i.Label), '\n')
}

// choose shows the menu. An iPXE without --retimeout refuses the first line and
// shows the menu by the second. Escape fails both and makes the menu anew, by
// asking the server for it.
func (s *script) choose(m *Menu) {
	line := "choose --default " + m.Default
	if m.Timeout >= 0 {
		line += " --timeout " + strconv.FormatInt(m.countdown(), 10)
		s.add(line, " --retimeout ")
		s.number(int(idleTime.Milliseconds()))
		s.add(" selected && goto chosen ||\n")
	}
	s.add(line, " selected && goto chosen ||\n")
	s.add("chain --replace --autofree ", m.Menu)
	s.orFailed("the menu did not arrive")
}

// countdown is in milliseconds, and never 0, which iPXE takes for ever.
func (m *Menu) countdown() int64 {
	if m.Timeout == 0 {
		return idleTime.Milliseconds()
	}
	return max(1, min(m.Timeout, mostTimeout).Milliseconds())
}

func (m *Menu) has(a Action) bool {
	for i := range m.Items {
		if m.Items[i].Do == a {
			return true
		}
	}
	return false
}

// actions adds the sections of what the menu does by itself.
func (s *script) actions(m *Menu) {
	if m.has(DoLocal) {
		s.add(":do_local\n")
		s.local(m.Local)
		s.add("goto menu\n")
	}
	if m.has(DoShell) {
		s.add(":do_shell\necho Type exit to come back to the menu\nshell ||\ngoto menu\n")
	}
	for _, command := range []Action{DoReboot, DoPoweroff} {
		if m.has(command) {
			// Debian 12's iPXE has no poweroff; the menu would wipe out its
			// message at once.
			s.add(":do_", string(command), "\n", string(command), " || echo This iPXE can not do that\nsleep 5 ||\ngoto menu\n")
		}
	}
}
