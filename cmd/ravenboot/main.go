// Command ravenboot boots a computer lab over the network: DHCP or proxyDHCP,
// TFTP and HTTP with an iPXE script made for each machine, and NixOS
// generations to choose from in its menu.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // what was asked for can't be done; stderr says why
	exitUsage   = 2 // the command line is wrong
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// command is one of the program's subcommands.
type command struct {
	name    string
	summary string
	usage   string // what follows the name
	example string
	run     func(ctx context.Context, c *invocation) error
	flags   func(c *invocation)
}

// invocation is one call of a command.
type invocation struct {
	*flag.FlagSet
	stdout, stderr io.Writer
	configFile     string
	json           bool
	machine        machineFlags
	entry          string
}

func commands() []command {
	return []command{
		serveCommand, checkCommand, scriptCommand, generationsCommand, machinesCommand, approveCommand, keyCommand,
		completionCommand, versionCommand,
	}
}

// usageError is an error that the command line is to blame for.
type usageError struct{ error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		printHelp(stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.call(ctx, args[1:], stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "ravenboot: unknown command %q; `ravenboot help` lists them\n", args[0])
	return exitUsage
}

func (c *command) call(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	in := &invocation{FlagSet: flag.NewFlagSet(c.name, flag.ContinueOnError), stdout: stdout, stderr: stderr}
	in.SetOutput(io.Discard)
	if c.flags != nil {
		c.flags(in)
	}
	err := in.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(in, stdout)
		return exitOK
	case err == nil && in.NArg() > 0 && c.usage == "":
		err = fmt.Errorf("unexpected argument %q", in.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "ravenboot %s: %v; `ravenboot %s -h` shows how\n", c.name, err, c.name)
		return exitUsage
	}
	if err := c.run(ctx, in); err != nil {
		return reportError(c.name, err, stderr)
	}
	return exitOK
}

// reportError prints an error, one line for each of its parts, and picks the
// exit code.
func reportError(name string, err error, stderr io.Writer) int {
	if errors.Is(err, errSaid) {
		return exitFailure
	}
	for _, e := range flatten(err) {
		fmt.Fprintf(stderr, "ravenboot %s: %v\n", name, e)
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// errSaid ends a command that has already printed what is wrong.
var errSaid = errors.New("")

// flatten gives the parts of a joined error.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func (c *command) help(in *invocation, w io.Writer) {
	fmt.Fprintf(w, "usage: ravenboot %s%s\n\n%s\n", c.name, prefixed(" ", c.usage), c.summary)
	hasFlags := false
	in.VisitAll(func(*flag.Flag) { hasFlags = true })
	if hasFlags {
		fmt.Fprintln(w, "\nflags:")
		in.SetOutput(w)
		in.PrintDefaults()
	}
	fmt.Fprintf(w, "\nexamples:\n%s", c.example)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "ravenboot boots a lab of NixOS machines over the network.\n\nusage: ravenboot COMMAND [flags]\n\ncommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, `
examples:
  ravenboot check -config /etc/ravenboot/ravenboot.toml
  ravenboot serve -config /etc/ravenboot/ravenboot.toml
  ravenboot script -config /etc/ravenboot/ravenboot.toml -mac 52:54:00:12:34:56

`+"`ravenboot COMMAND -h` shows a command's flags and examples.\n")
}

func configFlag(c *invocation) {
	c.StringVar(&c.configFile, "config", defaultConfigFile, "configuration `file`")
}

const defaultConfigFile = "/etc/ravenboot/ravenboot.toml"

func jsonFlag(c *invocation) { c.BoolVar(&c.json, "json", false, "print JSON, for programs") }
