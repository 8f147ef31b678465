// Command ravenboot-client runs in the initrd of a machine that ravenboot
// started, and once more when its system is up: it puts the disk in order,
// downloads the system that was chosen in the menu, and reports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"ravenboot/internal/client"
	"ravenboot/internal/report"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // what was asked for can't be done; stderr says why
	exitUsage   = 2 // the command line is wrong
)

// memoryLimit is when what isn't used any more is collected sooner, in bytes: in
// an initrd the disk's files are in memory as well.
const memoryLimit = 64 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	// As Nix does: what is made here is read by every user of the system.
	unix.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// command is one of the program's subcommands.
type command struct {
	name, summary, example string
	step                   string                                        // of a boot, that it does; "" if it does none
	prepare                func(c *call) func(ctx context.Context) error // declares the flags, and returns what to do
}

func commands() []command { return []command{layoutCommand, closureCommand, reportCommand} }

// call is one call of a command.
type call struct {
	*flag.FlagSet
	screen      *screen
	commandLine string // file
	settings    client.Settings
}

// usageError is an error that the command line is to blame for.
type usageError struct{ error }

func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	for _, cmd := range commands() {
		if cmd.name == args[0] {
			return runCommand(ctx, cmd, args[1:], stderr)
		}
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		printHelp(stderr)
		return exitOK
	}
	fmt.Fprintf(stderr, "ravenboot-client: there is no command %q\n", args[0])
	printHelp(stderr)
	return exitUsage
}

func runCommand(ctx context.Context, cmd command, args []string, stderr io.Writer) int {
	c := &call{FlagSet: flag.NewFlagSet(cmd.name, flag.ContinueOnError), screen: newScreen(stderr)}
	c.SetOutput(stderr)
	c.StringVar(&c.commandLine, "cmdline", client.KernelCommandLine, "`file` with the kernel command line")
	do := cmd.prepare(c)
	c.Usage = func() {
		fmt.Fprintf(stderr, "ravenboot-client %s %s\n\n%s\n", cmd.name, cmd.summary, cmd.example)
		c.PrintDefaults()
	}
	if err := c.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	var err error
	if c.settings, err = client.ReadSettings(c.commandLine); err == nil {
		err = c.do(ctx, cmd, do)
	}
	if err == nil {
		return exitOK
	}
	c.screen.say(fmt.Sprintf("%s: %v", cmd.name, err))
	if usage := (usageError{}); errors.As(err, &usage) {
		if cmd.step != "" {
			c.giveUp(cmd.step, err)
		}
		return exitUsage
	}
	return exitFailure
}

func (c *call) do(ctx context.Context, cmd command, do func(context.Context) error) error {
	if cmd.step != "" && c.NArg() > 0 {
		return usageError{fmt.Errorf("%q is no flag", c.Arg(0))}
	}
	return do(ctx)
}

// giveUp says what follows from a mistake in the settings of a step: to do it
// again would make the same of them.
func (c *call) giveUp(step string, err error) {
	const next = "not trying again: the settings must be put right first"
	c.screen.say(next)
	reporter := client.NewReporter(c.settings, c.screen.say)
	defer reporter.Close()
	reporter.Tell(report.Report{Step: step, Outcome: report.Failed, Text: err.Error() + "\n" + next})
}

// or is a flag's value, or the kernel command line's where the flag was not
// given.
func or(flag, setting string) string {
	if flag != "" {
		return flag
	}
	return setting
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "ravenboot-client puts a machine's disk in order, downloads its system, and reports.\n\n")
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", cmd.name, cmd.summary)
	}
	fmt.Fprint(w, `
Settings come from flags, or from the kernel command line:
  init=/nix/store/HASH-NAME/init     the system to download
  ravenboot.url=http://ADDRESS       the server
  ravenboot.ticket=...               lets the machine report
  ravenboot.public_key=NAME:BASE64   who may sign store paths; can be given several times
  ravenboot.engine=native|nix        what downloads
  ravenboot.on_mismatch=refuse|recreate
  ravenboot.on_failure=retry|reboot|shell

'ravenboot-client COMMAND -h' has the flags.
`)
}
