package bootscript

import "fmt"

// Boot starts a Linux kernel.
type Boot struct {
	Title   string // what boots, for the screen
	Kernel  string // URL
	Args    []string
	Initrds []Initrd
	Fallback
}

// Initrd is a file that the kernel gets as part of its initial file system.
type Initrd struct {
	URL  string
	Name string // as initrd= names it
}

// Render makes the script. The error names the value that no iPXE script can
// carry.
func (b *Boot) Render() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	var s script
	s.begin()
	// What an earlier attempt or a former script left in memory would be handed
	// to the kernel as a further initrd (ipxe PR#895, ipxe#1723).
	s.add("imgfree ||\n", whiteSpaceSettings, "echo\necho Booting ")
	s.text = appendText(s.text, b.Title)
	s.add("\n")
	s.command("kernel", b.Kernel, b.Args)
	s.orFailed("the kernel did not arrive")
	for _, initrd := range b.Initrds {
		s.add("initrd --name ", initrd.Name, " ", initrd.URL)
		s.orFailed("the initrd did not arrive")
	}
	s.add("boot")
	s.orFailed("the kernel did not start")
	s.end(&b.Fallback)
	return s.text, nil
}

func (b *Boot) check() error {
	for _, initrd := range b.Initrds {
		for _, word := range []string{initrd.Name, initrd.URL} {
			if err := checkWord(word); err != nil {
				return fmt.Errorf("initrd %w", err)
			}
		}
	}
	return checkArguments(b.Kernel, b.Args)
}

// command adds the beginning of a line, without its end.
func (s *script) command(name, url string, args []string) {
	s.add(name, " ", url)
	for _, arg := range args {
		s.add(" ")
		s.text = appendToken(s.text, arg)
	}
}

// Chain starts an EFI program or an iPXE script.
type Chain struct {
	Title string
	URL   string
	Args  []string
	Fallback
}

// Render makes the script; errors are those of Boot.
func (c *Chain) Render() ([]byte, error) {
	if err := checkArguments(c.URL, c.Args); err != nil {
		return nil, err
	}
	var s script
	s.begin()
	s.add("imgfree ||\n", whiteSpaceSettings, "echo\necho Starting ")
	s.text = appendText(s.text, c.Title)
	s.add("\n")
	s.command("chain --autofree", c.URL, c.Args)
	s.orFailed("the program did not arrive or ended with an error")
	// One that has ended well leaves the machine where it was before.
	if c.Menu != "" {
		s.add("chain --replace --autofree ", c.Menu)
		s.orFailed("the menu did not arrive")
	}
	s.add("goto restart\n")
	s.end(&c.Fallback)
	return s.text, nil
}

// Local boots the local disk.
type Local struct{ Fallback }

// Render makes the script.
func (l *Local) Render() []byte {
	var s script
	s.begin()
	s.add("echo\necho Booting the local disk\n")
	s.local(l.Local)
	s.add("set what the local disk could not be booted\ngoto failed\n")
	s.end(&Fallback{Rounds: l.Rounds, Menu: l.Menu, OnFailure: l.withoutLocal()})
	return s.text
}

// withoutLocal is OnFailure where the local disk itself has failed.
func (f *Fallback) withoutLocal() OnFailure {
	if f.OnFailure == ToLocal {
		return Retry
	}
	return f.OnFailure
}

// Command runs one of iPXE's own commands that end its work: shell, reboot or
// poweroff.
type Command struct {
	Name string
	Fallback
}

// Render makes the script.
func (c *Command) Render() []byte {
	var s script
	s.begin()
	s.add(c.Name)
	s.orFailed(c.Name + " failed")
	if c.Menu != "" {
		s.add("chain --replace --autofree ", c.Menu)
		s.orFailed("the menu did not arrive")
	}
	s.add("goto restart\n")
	s.end(&c.Fallback)
	return s.text
}
