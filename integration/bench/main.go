// Command bench measures ravenboot beside the servers that a lab would use
// otherwise, in turn and several times, and prints tables of medians in
// Markdown. It needs root, for network namespaces of its own; everything else is
// on loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	ravenboot string
	client    string
	only      string
	rounds    int
	quick     bool
}

// part is one kind of work, with the programs that it needs beside ravenboot.
type part struct {
	name  string
	needs []string
	run   func(b *bench) error
}

var parts = []part{
	{"start", nil, benchStart},
	{"script", []string{"nginx"}, benchScript},
	{"file", []string{"nginx", "curl"}, benchFile},
	{"tftp", []string{"ip", "dnsmasq", "in.tftpd"}, benchTFTP},
	{"dora", []string{"ip", "dnsmasq", "kea-dhcp4"}, benchDORA},
	{"closure", []string{"nix", "nix-store", "mkfs.ext4"}, benchClosure},
	{"wire", []string{"ip", "nix", "nix-store"}, benchWire},
	{"size", []string{"ip", "nix", "nix-store", "mksquashfs"}, benchSize},
}

func main() {
	if len(os.Args) > 1 {
		if run, ok := helpers[os.Args[1]]; ok {
			exit(run(os.Args[2:]))
		}
	}
	var o options
	flag.StringVar(&o.ravenboot, "ravenboot", "bin/ravenboot", "the `program` to measure")
	flag.StringVar(&o.client, "client", "bin/ravenboot-client", "the `program` that downloads closures")
	flag.StringVar(&o.only, "only", "", "what to measure, comma-separated: start, script, file, tftp, dora, closure, wire, size")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every server has its turn")
	flag.BoolVar(&o.quick, "quick", false, "one round of short turns, to see that everything runs")
	flag.Parse()
	if o.quick {
		o.rounds = 1
	}
	exit(run(o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) error {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	begun := time.Now()
	b.describe()
	for _, p := range chosen {
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	fmt.Printf("\nAll of it took %v; load average at the end %s.\n", time.Since(begun).Round(time.Second), loadAverage())
	return nil
}

// choose is the parts that are named, or all, once what they need is there.
func choose(only string) ([]part, error) {
	chosen := parts
	if only != "" {
		chosen = nil
		for name := range strings.SplitSeq(only, ",") {
			i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
			if i < 0 {
				return nil, fmt.Errorf("-only: there is no %q; there are start, script, file, tftp, dora, closure, wire, size", name)
			}
			chosen = append(chosen, parts[i])
		}
	}
	var missing []error
	for _, p := range chosen {
		for _, program := range p.needs {
			missing = append(missing, peers[program].missing(program))
		}
	}
	return chosen, errors.Join(missing...)
}

// turn is how long a server's turn may last, unless one unit of work does.
func (b *bench) turn() time.Duration {
	if b.quick {
		return time.Second
	}
	return 4 * time.Second
}
