package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"ravenboot/internal/config"
	"ravenboot/internal/generation"
)

var generationsCommand = command{
	name:    "generations",
	summary: "lists the generations on offer, newest first",
	example: `  ravenboot generations -config /etc/ravenboot/ravenboot.toml
  ravenboot generations -json | jq -r '.[0].toplevel'
`,
	flags: func(c *invocation) { configFlag(c); jsonFlag(c) },
	run:   listGenerations,
}

// offered is a generation as -json prints it.
type offered struct {
	Profile         string    `json:"profile"`
	Number          int       `json:"number"`
	Date            time.Time `json:"date"`
	Current         bool      `json:"current"`
	Label           string    `json:"label"`
	KernelVersion   string    `json:"kernelVersion,omitempty"`
	System          string    `json:"system"`
	Toplevel        string    `json:"toplevel"`
	Kernel          string    `json:"kernel"`
	Initrd          string    `json:"initrd,omitempty"`
	Specialisations []string  `json:"specialisations"`
}

func listGenerations(_ context.Context, c *invocation) error {
	cfg, err := config.Load(c.configFile)
	if err != nil {
		return err
	}
	all := []offered{}
	var failed bool
	for _, p := range cfg.Boot.GenerationProfiles() {
		generations, warnings, err := generation.Scan(p)
		for _, w := range warnings {
			fmt.Fprintf(c.stderr, "ravenboot generations: %v\n", w)
		}
		if err != nil {
			fmt.Fprintf(c.stderr, "ravenboot generations: profile %s: %v\n", p.Name, err)
			failed = true
		}
		for i := range generations {
			all = append(all, describe(&generations[i]))
		}
	}
	if c.json {
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(all)
	} else {
		err = printGenerations(c.stdout, all)
	}
	if err == nil && failed {
		return errSaid
	}
	return err
}

func describe(g *generation.Generation) offered {
	o := offered{
		Profile: g.Profile, Number: g.Number, Date: g.Date, Current: g.Current, Label: g.Label,
		KernelVersion: g.KernelVersion, System: g.System.System, Toplevel: g.Toplevel,
		Kernel: g.Kernel, Initrd: g.Initrd, Specialisations: []string{},
	}
	for _, s := range g.Specialisations {
		o.Specialisations = append(o.Specialisations, s.Name)
	}
	return o
}

func printGenerations(w io.Writer, all []offered) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ENTRY\tDATE\tCURRENT\tSYSTEM\tLABEL")
	for _, g := range all {
		current := ""
		if g.Current {
			current = "*"
		}
		fmt.Fprintf(table, "%s/%d\t%s\t%s\t%s\t%s\n", g.Profile, g.Number, g.Date.Format("2006-01-02 15:04"), current, g.System, g.Label)
		for _, s := range g.Specialisations {
			fmt.Fprintf(table, "%s/%d/%s\t\t\t\t\n", g.Profile, g.Number, s)
		}
	}
	return table.Flush()
}

// discard is for commands that print their findings themselves.
var discard = slog.New(slog.DiscardHandler)
