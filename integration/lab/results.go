package lab

import (
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"
)

// Result is one boot: a line of the table at the end of a run.
type Result struct {
	Firmware Firmware
	Path     string // how it booted
	Test     string
	Took     time.Duration // from the power switch to the end of the test's interest in it
	OK       bool
}

var results struct {
	sync.Mutex
	rows []Result
}

func report(r Result) {
	results.Lock()
	defer results.Unlock()
	results.rows = append(results.rows, r)
}

// WriteTable prints the boots of this run, in the order in which they ended.
func WriteTable(w io.Writer) error {
	results.Lock()
	defer results.Unlock()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "firmware\tpath\tseconds\tresult\ttest")
	failed := 0
	for _, r := range results.rows {
		verdict := "ok"
		if !r.OK {
			verdict = "FAILED"
			failed++
		}
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\t%s\n", r.Firmware, r.Path, r.Took.Seconds(), verdict, r.Test)
	}
	fmt.Fprintf(table, "%d boots, %d failed\n", len(results.rows), failed)
	return table.Flush()
}
