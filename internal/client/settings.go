package client

import (
	"fmt"
	"os"
	"strings"
)

// Settings are what the kernel command line says to ravenboot-client. Empty
// ones were not given.
type Settings struct {
	URL     string // of the server, without a slash at its end
	Machine string // MAC
	Ticket  string // lets the machine report about itself
	Init    string // the system's first program, which names its store path

	OnFailure  string
	OnMismatch string
	Engine     string
	PublicKeys []string // "NAME:BASE64"
}

// KernelCommandLine is where Linux tells its command line.
const KernelCommandLine = "/proc/cmdline"

// ReadSettings reads the kernel command line from a file.
func ReadSettings(file string) (Settings, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Settings{}, fmt.Errorf("the kernel command line: %w", err)
	}
	return parseSettings(string(text)), nil
}

// parseSettings reads a kernel command line. Of arguments that come twice the
// last counts, as for Linux and stage 1: the server adds those of the host, the
// most special ones, last. Public keys add up.
func parseSettings(line string) Settings {
	var s Settings
	names := map[string]*string{
		"init": &s.Init, "ravenboot.url": &s.URL, "ravenboot.machine": &s.Machine, "ravenboot.ticket": &s.Ticket,
		"ravenboot.on_failure": &s.OnFailure, "ravenboot.on_mismatch": &s.OnMismatch, "ravenboot.engine": &s.Engine,
	}
	for _, argument := range splitArguments(line) {
		name, value, _ := strings.Cut(argument, "=")
		if name == "--" {
			break // what follows is for init
		}
		if name == "ravenboot.public_key" {
			s.PublicKeys = append(s.PublicKeys, value)
		} else if setting := names[name]; setting != nil {
			*setting = value
		}
	}
	s.URL = strings.TrimSuffix(s.URL, "/")
	return s
}

// splitArguments takes a command line apart as Linux does (lib/cmdline.c,
// next_arg): white space within double quotes doesn't separate, and the quotes
// around an argument or its value are not part of it.
func splitArguments(line string) []string {
	var all []string
	var word strings.Builder
	quoted, begun := false, false
	flush := func() {
		if begun {
			all = append(all, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, c := range line {
		switch {
		case c == '"':
			quoted, begun = !quoted, true
		case !quoted && strings.ContainsRune(" \t\n\v\f\r", c):
			flush()
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	flush()
	return all
}
