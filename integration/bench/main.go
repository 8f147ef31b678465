// Command bench measures ravenboot beside the servers that a lab would use
// otherwise, in turn and several times, and prints tables of medians. It needs
// root, for a network namespace of its own; everything else is on loopback.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// options are the command line.
type options struct {
	ravenboot string
	only      string
	rounds    int
	quick     bool
}

// part is one table of the run.
type part struct {
	name string
	run  func(b *bench) error
}

var parts = []part{
	{"start", benchStart}, {"script", benchScript}, {"file", benchFile}, {"tftp", benchTFTP}, {"dora", benchDORA},
}

func main() {
	if len(os.Args) > 1 {
		if run, ok := helpers[os.Args[1]]; ok {
			exit(run(os.Args[2:]))
		}
	}
	var o options
	flag.StringVar(&o.ravenboot, "ravenboot", "bin/ravenboot", "the `program` to measure")
	flag.StringVar(&o.only, "only", "", "tables to make, comma-separated: start, script, file, tftp, dora")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every server has its turn")
	flag.BoolVar(&o.quick, "quick", false, "a fifth of the work: to see that everything runs")
	flag.Parse()
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
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	for _, p := range parts {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+p.name+",") {
			continue
		}
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// scaled is a number of units of work, less of them in a quick run.
func (b *bench) scaled(n int) int {
	if b.quick {
		return n / 5
	}
	return n
}
