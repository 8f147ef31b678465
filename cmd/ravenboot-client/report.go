package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"ravenboot/internal/client"
	"ravenboot/internal/report"
)

var reportCommand = command{
	name:    "report",
	summary: "tells the server how this machine gets on",
	example: "  ravenboot-client report -step booted -outcome ok\n" +
		"  ravenboot-client report -step exam -outcome failed no exam sheet found\n",
	prepare: prepareReport,
}

// reportPatience is how long a server may be away.
const reportPatience = time.Minute

func prepareReport(c *call) func(context.Context) error {
	step := c.String("step", report.Booted, "what the report is about: a `word`")
	outcome := c.String("outcome", string(report.OK), "running, ok or failed")
	return func(ctx context.Context) error {
		one := report.Report{Step: *step, Outcome: report.Outcome(*outcome), Text: strings.Join(c.Args(), " ")}
		if err := one.Check(); err != nil {
			return usageError{err}
		}
		return c.send(ctx, one)
	}
}

func (c *call) send(ctx context.Context, one report.Report) error {
	reporter := client.NewReporter(c.settings, c.screen.say)
	defer reporter.Close()
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	for pause := time.Second; ; pause *= 2 {
		_, err := reporter.Send(ctx, one)
		if err == nil || errors.Is(err, client.ErrNobody) || errors.Is(err, client.ErrRefused) {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}
