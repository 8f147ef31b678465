package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	File   string
	Line   int    // from 1; 0 where no line is to blame
	Column int    // from 1, for errors of TOML's syntax; else 0
	Key    string // as in host.mac; "" for errors of TOML's syntax
	Text   string // what is wrong; what to do
}

// Error is FILE:LINE: KEY: what is wrong; what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Text)
	return b.String()
}

// Errors is all that is wrong with a configuration, by line and key.
type Errors []*Error

// Error has a line for each error.
func (errs Errors) Error() string {
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each error for errors.As.
func (errs Errors) Unwrap() []error {
	all := make([]error, len(errs))
	for i, err := range errs {
		all[i] = err
	}
	return all
}

// maxErrors is how many errors are kept. Who made more has made one mistake
// many times, and the rest would only fill the log.
const maxErrors = 100

// place is where in the file a value stands, or would stand.
type place struct {
	key  string // as in host.mac
	line int    // of the key; of its table where the key is missing; else 0
}

// problems collects what is wrong with a file.
type problems struct {
	file     string
	errors   Errors
	more     int // errors beyond maxErrors
	warnings []*Error
}

// wrong notes an error. The text says what is wrong; what to do.
func (p *problems) wrong(at place, format string, args ...any) {
	if len(p.errors) == maxErrors {
		p.more++
		return
	}
	p.errors = append(p.errors, p.make(at, format, args))
}

// doubt notes what is legal, but probably not meant.
func (p *problems) doubt(at place, format string, args ...any) {
	if len(p.warnings) < maxErrors {
		p.warnings = append(p.warnings, p.make(at, format, args))
	}
}

func (p *problems) make(at place, format string, args []any) *Error {
	return &Error{File: p.file, Line: at.line, Key: at.key, Text: fmt.Sprintf(format, args...)}
}

// err is all errors, or nil.
func (p *problems) err() error {
	if len(p.errors) == 0 {
		return nil
	}
	byLine(p.errors)
	if p.more > 0 {
		p.errors = append(p.errors, &Error{File: p.file, Text: fmt.Sprintf("and %d errors more", p.more)})
	}
	return p.errors
}

func (p *problems) warningTexts() []string {
	byLine(p.warnings)
	var texts []string
	for _, w := range p.warnings {
		texts = append(texts, w.Error())
	}
	return texts
}

// byLine gives errors an order that doesn't depend on that of the checks.
func byLine(errs []*Error) {
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Key, b.Key))
	})
}

// quoted shortens what may be of any length.
func quoted(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Sprintf("%q", s)
}
