package config

import (
	"path/filepath"
	"strings"
	"time"

	"ravenboot/internal/boot"
)

// parser turns raw values into a Config. Each method reads some tables; the
// last ones compare tables with each other.
type parser struct {
	*problems
	raw *raw
	dir string // where relative paths begin
	cfg *Config
}

func parse(name, dir string, data []byte) (*Config, error) {
	p := &parser{problems: &problems{file: name}, dir: dir, cfg: Default()}
	var ok bool
	if p.raw, ok = decode(data, p.problems); !ok {
		return nil, p.err()
	}
	p.server()
	p.dhcp()
	p.tftp()
	p.http()
	p.cache()
	p.log()
	p.menu()
	p.profiles()
	p.images()
	p.defaults()
	p.groups()
	p.hosts()
	p.fixedAddresses()
	p.services()
	p.fileNames()
	if err := p.err(); err != nil {
		return nil, err
	}
	p.cfg.Warnings = p.warningTexts()
	return p.cfg, nil
}

// The readers below leave dst as it is, with its default, when the key is
// missing or wrong.

func readText(dst *string, t text) {
	if t.set {
		*dst = t.value
	}
}

func readFlag(dst *bool, f boolean) {
	if f.set {
		*dst = f.value
	}
}

func (p *parser) number(dst *int, n number, least, most int) {
	switch {
	case !n.set:
	case n.value < least || n.value > most:
		p.wrong(n.place, "%d is out of range; write a number from %d to %d", n.value, least, most)
	default:
		*dst = n.value
	}
}

// oneOf reads a word out of a few.
func oneOf[T ~string](p *parser, dst *T, t text, known ...T) {
	if !t.set {
		return
	}
	words := make([]string, len(known))
	for i, k := range known {
		if words[i] = string(k); t.value == words[i] {
			*dst = k
			return
		}
	}
	advice := "write one of " + list(words)
	if near, ok := nearest(t.value, append([]string(nil), words...)); ok {
		advice = "do you mean " + near + "?"
	}
	p.wrong(t.place, "%s is not known; %s", quoted(t.value), advice)
}

func (p *parser) duration(dst *time.Duration, t text, least, most time.Duration) {
	if !t.set {
		return
	}
	d, err := time.ParseDuration(t.value)
	switch {
	case err != nil:
		p.wrong(t.place, `%s is no duration; write it as "5s", "10m" or "1h30m"`, quoted(t.value))
	case d < least:
		p.wrong(t.place, "%s is too short; write at least \"%v\"", quoted(t.value), least)
	case d > most:
		p.wrong(t.place, "%s is too long; write at most \"%v\"", quoted(t.value), most)
	default:
		*dst = d
	}
}

// maxTimeout is far above what anybody waits for at a menu, and below the 49
// days that iPXE's milliseconds can count.
const maxTimeout = 24 * time.Hour

// forever is the time-out of a menu that waits for a key.
const forever = time.Duration(-1)

// timeout reads a menu's time-out, which may be "never".
func (p *parser) timeout(dst *time.Duration, t text) {
	if t.set && t.value == "never" {
		*dst = forever
		return
	}
	p.duration(dst, t, 0, maxTimeout)
}

// path is an absolute path, or one from the configuration's directory on: so a
// directory with a configuration, kernels and loaders can be moved as a whole.
func (p *parser) path(t text) string {
	switch {
	case t.value == "":
		p.wrong(t.place, "is empty; write a path")
	case strings.HasPrefix(t.value, "~"):
		p.wrong(t.place, "%s begins with ~, which only a shell knows; write the whole path", quoted(t.value))
	case filepath.IsAbs(t.value):
		return filepath.Clean(t.value)
	default:
		return filepath.Join(p.dir, t.value)
	}
	return ""
}

func (p *parser) paths(t texts) []string {
	var paths []string
	for _, item := range t.items {
		paths = append(paths, p.path(item))
	}
	return paths
}

// missing notes that a key must be there.
func (p *parser) missing(at place, advice string) { p.wrong(at, "is missing; %s", advice) }

var onFailures = []boot.OnFailure{boot.FailureRetry, boot.FailureLocal, boot.FailureMenu}
