package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// sample is what one server did in one turn.
type sample struct {
	rate   float64 // units of work a second
	cpu    float64 // seconds of the server's processors, for each unit
	memory float64 // MiB, the server's peak
	p99    float64 // milliseconds
	// serverCPU is in seconds, where the figures are those of a client.
	serverCPU float64
	carried   float64 // bytes that came over the wire
}

// series is the turns of one server.
type series struct {
	name    string
	samples []sample
}

// subject is a server that takes turns.
type subject struct {
	name string
	turn func() (sample, error)
}

// inTurn gives every subject its turn in each round: A B C A B C, so that a
// machine that grows slow is slow for all.
func (b *bench) inTurn(subjects []subject) ([]series, error) {
	all := make([]series, len(subjects))
	for round := range b.rounds {
		for i, s := range subjects {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, b.rounds, s.name)
			one, err := s.turn()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			all[i].name = s.name
			all[i].samples = append(all[i].samples, one)
		}
	}
	return all, nil
}

func (s *series) median(of func(sample) float64) float64 {
	var values []float64
	for _, one := range s.samples {
		values = append(values, of(one))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// column is a figure of a table.
type column struct {
	title string
	of    func(sample) float64
	form  string // of fmt
}

func rateColumn(title string) column {
	return column{title, func(s sample) float64 { return s.rate }, "%.0f"}
}

func cpuColumn(title string, scale float64, form string) column {
	return column{title, func(s sample) float64 { return s.cpu * scale }, form}
}

var (
	memoryColumn = column{"peak MiB", func(s sample) float64 { return s.memory }, "%.0f"}
	p99Column    = column{"p99 ms", func(s sample) float64 { return s.p99 }, "%.1f"}
)

// print writes a table of servers, and compares them.
func print(title string, all []series, columns ...column) {
	printTable(title, "server", all, columns...)
	compare(all, "rate")
}

// printTable writes a Markdown table of medians, the lowest and the highest rate
// beside them in the form of the first column.
func printTable(title, who string, all []series, columns ...column) {
	fmt.Printf("\n**%s**\n\n", title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| %s\t", who)
	rule := "|---\t"
	for _, c := range columns {
		fmt.Fprintf(w, "| %s\t", c.title)
		rule += "|---\t"
	}
	fmt.Fprintf(w, "| from - to\t|\n%s|---\t|\n", rule)
	for i := range all {
		s := &all[i]
		fmt.Fprintf(w, "| %s\t", s.name)
		for _, c := range columns {
			fmt.Fprintf(w, "| "+c.form+"\t", s.median(c.of))
		}
		lowest, highest := s.samples[0].rate, s.samples[0].rate
		for _, one := range s.samples {
			lowest, highest = min(lowest, one.rate), max(highest, one.rate)
		}
		fmt.Fprintf(w, "| "+columns[0].form+" - "+columns[0].form+"\t|\n", lowest, highest)
	}
	w.Flush()
}

// compare prints how the first of all did beside each other: the medians of the
// rounds' ratios, because both of a round met the same noise. What is the name of
// a sample's rate.
func compare(all []series, what string) {
	for i := range all[1:] {
		own, other := &all[0], &all[1+i]
		ratio := func(of func(sample) float64) float64 {
			var ratios []float64
			for round := range own.samples {
				ratios = append(ratios, of(own.samples[round])/of(other.samples[round]))
			}
			slices.Sort(ratios)
			return ratios[len(ratios)/2]
		}
		fmt.Printf("\n%s beside %s: %.2f of the %s, %.2f of the CPU.\n", own.name, other.name,
			ratio(func(s sample) float64 { return s.rate }), what, ratio(func(s sample) float64 { return s.cpu }))
	}
}
