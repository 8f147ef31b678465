// Package report is what a machine tells the server about itself after its
// kernel has started, and what it is told in return: the values of POST
// /report, as both ends of it need them.
//
// It knows JSON and the limits of a report. It must not know tickets, who may
// report what, or what comes of it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxSize is what a report as JSON may have at most, in bytes.
const MaxSize = 16 << 10

// maxName is the longest step or refusal, maxText the longest text, in bytes.
const (
	maxName = 64
	maxText = 8 << 10
)

// The steps that ravenboot's own programs report. Others are allowed: a site
// may have steps of its own.
const (
	Layout  = "layout"  // the disk is put in order
	Closure = "closure" // the system arrives on it
	Booted  = "booted"  // it is up
)

// Outcome is how a step stands.
type Outcome string

// The outcomes of a step.
const (
	Running Outcome = "running" // it goes on; Progress may say how far it is
	OK      Outcome = "ok"
	Failed  Outcome = "failed"  // Text says why, and what the machine does next
	Refused Outcome = "refused" // it waits for the operator's approval of Refusal
)

// Report is one word of a machine about itself.
type Report struct {
	Step    string  `json:"step"`
	Outcome Outcome `json:"outcome"`
	// Text is for people, and may have several lines.
	Text string `json:"text,omitempty"`
	// Refusal, with the outcome Refused, stands for exactly what was refused:
	// another disk or another layout has another.
	Refusal  string    `json:"refusal,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
}

// Progress is how far a step is.
type Progress struct {
	Paths      int   `json:"paths"`
	PathsTotal int   `json:"pathsTotal"`
	Bytes      int64 `json:"bytes"`
	BytesTotal int64 `json:"bytesTotal"`
}

// Reply is the answer to a Report.
type Reply struct {
	// Approved says that the operator has approved the report's Refusal.
	Approved bool `json:"approved"`
}

// Parse reads a report from JSON. The error says what is wrong with it.
func Parse(text []byte) (Report, error) {
	if len(text) > MaxSize {
		return Report{}, fmt.Errorf("longer than %d bytes", MaxSize)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return Report{}, fmt.Errorf("not a report: %w", err)
	}
	return r, r.Check()
}

// Check says what is wrong with a report.
func (r *Report) Check() error {
	if err := checkName("step", r.Step); err != nil {
		return err
	}
	switch r.Outcome {
	case Running, OK, Failed:
		if r.Refusal != "" {
			return fmt.Errorf("outcome %q with a refusal", r.Outcome)
		}
	case Refused:
		if err := checkName("refusal", r.Refusal); err != nil {
			return err
		}
	default:
		return fmt.Errorf("outcome %q is none of running, ok, failed, refused", r.Outcome)
	}
	if len(r.Text) > maxText || !utf8.ValidString(r.Text) {
		return fmt.Errorf("text is longer than %d bytes or not UTF-8", maxText)
	}
	return r.Progress.check()
}

func checkName(what, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%s has %d bytes, not 1 to %d", what, len(name), maxName)
	}
	if strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	}) {
		return fmt.Errorf("%s %q has characters other than letters, digits, '-', '_' and '.'", what, name)
	}
	return nil
}

func (p *Progress) check() error {
	if p != nil && (p.Paths < 0 || p.PathsTotal < 0 || p.Bytes < 0 || p.BytesTotal < 0) {
		return errors.New("progress below zero")
	}
	return nil
}

// Clip cuts text down to what a report may carry, at the end of a character.
func Clip(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxText {
		return text
	}
	const dots = "\n..."
	cut := maxText - len(dots)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + dots
}
