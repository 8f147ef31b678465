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
	for line = skipSpace(line); line != ""; line = skipSpace(line) {
		var a argument
		a, line = nextArgument(line)
		if a.name == "--" && !a.hasValue {
			break // what follows is for init
		}
		// Linux takes both for the same (kernel/params.c, parameq).
		name := strings.ReplaceAll(a.name, "-", "_")
		if name == "ravenboot.public_key" {
			s.PublicKeys = append(s.PublicKeys, a.value)
		} else if setting := names[name]; setting != nil {
			*setting = a.value
		}
	}
	s.URL = strings.TrimRight(s.URL, "/")
	return s
}

const space = " \t\n\v\f\r"

func skipSpace(line string) string { return strings.TrimLeft(line, space) }

// argument is one of a command line's.
type argument struct {
	name, value string
	hasValue    bool
}

// nextArgument takes the first argument off a command line, which doesn't begin
// with space, as Linux does (lib/cmdline.c, next_arg): space within double
// quotes doesn't separate. The quotes around an argument or around its value
// are not part of it; others are.
func nextArgument(line string) (a argument, rest string) {
	line, quoted := strings.CutPrefix(line, `"`)
	end, equals := 0, 0
	for inside := quoted; end < len(line) && (inside || !strings.ContainsRune(space, rune(line[end]))); end++ {
		switch line[end] {
		case '"':
			inside = !inside
		case '=':
			if equals == 0 {
				equals = end
			}
		}
	}
	text, rest := line[:end], line[end:]
	if equals == 0 { // a name is never empty
		if quoted {
			text = strings.TrimSuffix(text, `"`)
		}
		return argument{name: text}, rest
	}
	a = argument{text[:equals], text[equals+1:], true}
	value, valueQuoted := strings.CutPrefix(a.value, `"`)
	if quoted || valueQuoted {
		value = strings.TrimSuffix(value, `"`)
	}
	a.value = value
	return a, rest
}
