package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"ravenboot/internal/config"
	"ravenboot/internal/machine"
	"ravenboot/internal/report"
	"ravenboot/internal/web"
)

var machinesCommand = command{
	name:    "machines",
	summary: "shows what machines reported last, of all or of one",
	usage:   "[MACHINE]",
	example: `  ravenboot machines -config /etc/ravenboot/ravenboot.toml
  ravenboot machines lab-07
  ravenboot machines 52:54:00:12:34:56
  ravenboot machines -json | jq -r '.[] | select(.outcome == "refused") | .machine'
`,
	flags: func(c *invocation) { configFlag(c); jsonFlag(c) },
	run:   listMachines,
}

var approveCommand = command{
	name:    "approve",
	summary: "lets a machine go on with what it refuses, such as to format a disk, this once",
	usage:   "MACHINE",
	example: `  ravenboot machines lab-07       # what it refuses, and why
  ravenboot approve -config /etc/ravenboot/ravenboot.toml lab-07
  ravenboot approve 52:54:00:12:34:56
`,
	flags: configFlag,
	run:   approveMachine,
}

func (c *invocation) admin() (*adminClient, error) {
	cfg, err := config.Load(c.configFile)
	if err != nil {
		return nil, err
	}
	return newAdminClient(cfg)
}

func listMachines(ctx context.Context, c *invocation) error {
	if c.NArg() > 1 {
		return usageError{errors.New("name one machine, or none for all; flags come first")}
	}
	admin, err := c.admin()
	if err != nil {
		return err
	}
	all, err := admin.machines(ctx)
	if err != nil {
		return err
	}
	if wanted := c.Arg(0); wanted != "" {
		if all = machinesNamed(all, wanted); len(all) == 0 {
			return fmt.Errorf("%s: no machine of this name or MAC address has reported anything", wanted)
		}
	}
	switch {
	case c.json:
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	case c.NArg() == 1:
		return describeMachines(c.stdout, all)
	}
	return printMachines(c.stdout, all)
}

// machinesNamed picks those with a name or a MAC address. A machine with several
// NICs may have reported from each.
func machinesNamed(all []web.Machine, wanted string) []web.Machine {
	mac, err := machine.ParseMAC(wanted)
	var picked []web.Machine
	for _, m := range all {
		if m.Name == wanted || err == nil && m.Machine == mac {
			picked = append(picked, m)
		}
	}
	return picked
}

func printMachines(w io.Writer, all []web.Machine) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MACHINE\tNAME\tWHEN\tSTEP\tOUTCOME\tPROGRESS\tTEXT")
	for i := range all {
		m := &all[i]
		text, _, _ := strings.Cut(m.Text, "\n")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Machine, m.Name, when(m), printable(m.Step), outcomeOf(m),
			progressOf(m.Progress), printable(text))
	}
	return table.Flush()
}

// describeMachines prints the whole of what machines said.
func describeMachines(w io.Writer, all []web.Machine) error {
	var b strings.Builder
	for i := range all {
		m := &all[i]
		fmt.Fprintf(&b, "%s, %s, from %s: %s %s%s\n", titleOf(m), when(m), m.Address,
			printable(m.Step), outcomeOf(m), prefixed(", ", progressOf(m.Progress)))
		for line := range strings.Lines(m.Text) {
			fmt.Fprintf(&b, "  %s\n", printable(strings.TrimSuffix(line, "\n")))
		}
		if m.Outcome == report.Refused && m.Approval == nil {
			fmt.Fprintf(&b, "It waits for: ravenboot approve %s\n", m.Machine)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// titleOf is the machine's name and address.
func titleOf(m *web.Machine) string {
	if m.Name == "" {
		return m.Machine.String()
	}
	return m.Name + " " + m.Machine.String()
}

func when(m *web.Machine) string { return m.Time.Local().Format("2006-01-02 15:04:05") }

func outcomeOf(m *web.Machine) string {
	if m.Approval != nil && m.Outcome == report.Refused {
		return "refused, approved"
	}
	return printable(string(m.Outcome))
}

func progressOf(p *report.Progress) string {
	if p == nil {
		return ""
	}
	const mega = 1e6
	return fmt.Sprintf("%d/%d paths, %.1f/%.1f MB", p.Paths, p.PathsTotal, float64(p.Bytes)/mega, float64(p.BytesTotal)/mega)
}

// printable leaves nothing in a machine's words by which they could steer the
// operator's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func approveMachine(ctx context.Context, c *invocation) error {
	if c.NArg() != 1 {
		return usageError{errors.New("name one machine, after the flags; `ravenboot machines` shows those that wait")}
	}
	admin, err := c.admin()
	if err != nil {
		return err
	}
	m, err := admin.approve(ctx, c.Arg(0))
	if err != nil {
		return err
	}
	text, _, _ := strings.Cut(m.Text, "\n")
	_, err = fmt.Fprintf(c.stdout, "approved for %s until %s: %s%s\n", titleOf(&m), m.Approval.Until.Local().Format("15:04:05"),
		printable(m.Step), prefixed(", ", printable(text)))
	return err
}
