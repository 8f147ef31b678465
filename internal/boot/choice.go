package boot

import (
	"fmt"
	"strconv"
	"strings"
)

// Choice names an entry as an administrator writes it in `default`, and as the
// entry parameter of a script's URL does: "latest", "current", "42", "lab/42",
// "lab/latest", "lab/42/exam", an image's name, "local", "shell", "reboot" or
// "poweroff".
type Choice struct {
	Kind           Kind
	Profile        string // of KindGeneration; "" is the machine's own
	Number         int    // of KindGeneration; Latest and Current are not numbers
	Specialisation string // of KindGeneration; "" is the generation itself
	Image          string // of KindImage
}

// Numbers of a Choice that follow the profile.
const (
	Latest  = 0  // the highest number on offer
	Current = -1 // the one that the profile's link points at
)

// Kind is what sort of thing an entry boots.
type Kind int

// The kinds of entries.
const (
	KindGeneration Kind = iota
	KindImage
	KindLocal
	KindShell
	KindReboot
	KindPoweroff
)

var builtin = map[string]Kind{
	"local": KindLocal, "shell": KindShell, "reboot": KindReboot, "poweroff": KindPoweroff,
}

// IsReserved reports whether name can't be an image's or a profile's, because
// it means something by itself in a Choice.
func IsReserved(name string) bool {
	_, taken := builtin[name]
	_, isNumber := parseNumber(name)
	return taken || isNumber
}

// ParseChoice reads a choice. Whether it names something on offer is for
// Check to say.
func ParseChoice(s string) (Choice, error) {
	if kind, ok := builtin[s]; ok {
		return Choice{Kind: kind}, nil
	}
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if part == "" {
			return Choice{}, choiceError(s)
		}
	}
	number, isNumber := parseNumber(parts[0])
	switch {
	case len(parts) == 1 && isNumber:
		return Choice{Number: number}, nil
	case len(parts) == 1:
		return Choice{Kind: KindImage, Image: s}, nil
	case len(parts) == 2 && isNumber:
		return Choice{Number: number, Specialisation: parts[1]}, nil
	}
	profile, rest := parts[0], parts[1:]
	if number, isNumber = parseNumber(rest[0]); !isNumber || len(rest) > 2 {
		return Choice{}, choiceError(s)
	}
	c := Choice{Profile: profile, Number: number}
	if len(rest) == 2 {
		c.Specialisation = rest[1]
	}
	return c, nil
}

func choiceError(s string) error {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Errorf(`%q names no entry; write "latest", a number, "profile/number", "profile/number/specialisation", an image's name or "local"`, s)
}

func parseNumber(s string) (int, bool) {
	switch s {
	case "latest":
		return Latest, true
	case "current":
		return Current, true
	}
	const most = 9 // digits: far above any real generation number
	if len(s) > most || s != strings.TrimLeft(s, "0+-") {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0
}

// String is the choice as ParseChoice reads it.
func (c Choice) String() string {
	switch c.Kind {
	case KindImage:
		return c.Image
	case KindGeneration:
		return c.generationString()
	}
	for name, kind := range builtin {
		if kind == c.Kind {
			return name
		}
	}
	return ""
}

func (c Choice) generationString() string {
	number := strconv.Itoa(c.Number)
	switch c.Number {
	case Latest:
		number = "latest"
	case Current:
		number = "current"
	}
	s := number
	if c.Profile != "" {
		s = c.Profile + "/" + number
	}
	if c.Specialisation != "" {
		s += "/" + c.Specialisation
	}
	return s
}
