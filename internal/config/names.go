package config

import (
	"strings"

	"ravenboot/internal/boot"
)

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// nameChars need no escaping in a URL, a TFTP path or a script.
	nameChars = letters + "._-"
	// fileChars may stand in the names of served files too, as in
	// memtest86+x64.bin.
	fileChars = nameChars + "+=~"
	// maxName leaves room for a name in the file field of a DHCP packet.
	maxName = 64
)

func onlyOf(s, chars string) bool { return !strings.ContainsFunc(s, notIn(chars)) }

func notIn(chars string) func(rune) bool {
	return func(r rune) bool { return !strings.ContainsRune(chars, r) }
}

// name reads the name of a profile, image, host or group. It is part of URLs
// and paths.
func (p *parser) name(t text) string {
	switch {
	case !t.set:
		return ""
	case t.value == "":
		p.wrong(t.place, "is empty; write a name")
	case len(t.value) > maxName:
		p.wrong(t.place, "%s is %d bytes long; a name has at most %d", quoted(t.value), len(t.value), maxName)
	case !onlyOf(t.value, nameChars):
		p.wrong(t.place, "%s has characters that would break URLs; use letters, digits, '.', '_' and '-'", quoted(t.value))
	case !strings.ContainsAny(t.value[:1], letters):
		p.wrong(t.place, "%s begins with a sign; begin with a letter or a digit", quoted(t.value))
	default:
		return t.value
	}
	return ""
}

// entryName is a name that a default can name, too.
func (p *parser) entryName(t text, what string) string {
	if !t.set {
		p.missing(t.place, "give the "+what+" a name, menus and URLs use it")
		return ""
	}
	name := p.name(t)
	if name != "" && boot.IsReserved(name) {
		p.wrong(t.place, "%q means something by itself in a default; choose another name", name)
		return ""
	}
	return name
}

// seen finds what must not be there twice.
type seen[K comparable] map[K]place

// twice reports where the key was given before, and notes where it is now.
func (s seen[K]) twice(key K, at place) (before place, yes bool) {
	if before, yes = s[key]; !yes {
		s[key] = at
	}
	return before, yes
}

// unique refuses a name that was given before.
func (p *parser) unique(s seen[string], name string, at place) {
	if name == "" {
		return
	}
	if before, yes := s.twice(name, at); yes {
		p.wrong(at, "%q is the name in line %d too; choose another name", name, before.line)
	}
}

// fileName is the name under which a file is served.
func (p *parser) fileName(at place, name string) bool {
	switch {
	case name == "" || name == "." || name == ".." || name == "/":
		p.wrong(at, "%s names no file; write the path of a file", quoted(name))
	case len(name) > maxName*2:
		p.wrong(at, "the file name %s is %d bytes long; at most %d can be served", quoted(name), len(name), maxName*2)
	case !onlyOf(name, fileChars):
		p.wrong(at, "the file name %s would break URLs; rename the file or link to it, with letters, digits and ._-+=~ only", quoted(name))
	default:
		return true
	}
	return false
}

// args reads kernel arguments: a string that is split at spaces, or a list. As
// for the kernel itself, double quotes keep spaces in an argument together.
func (p *parser) args(t texts) []string {
	var args []string
	for _, item := range t.items {
		words, balanced := splitArgs(item.value)
		switch {
		case !balanced:
			p.wrong(item.place, "%s has a quote without its partner; close it", quoted(item.value))
		case !t.single && len(words) != 1:
			p.wrong(item.place, `%s is %d arguments; give each its own string in the list, or keep it together as name="a b"`, quoted(item.value), len(words))
		default:
			args = append(args, words...)
		}
	}
	return args
}

func splitArgs(s string) (words []string, balanced bool) {
	inQuotes := false
	words = strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			inQuotes = !inQuotes
		}
		return r == ' ' && !inQuotes
	})
	return words, !inQuotes
}
