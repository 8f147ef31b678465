package main

import (
	"context"

	"golang.org/x/sys/unix"

	"ravenboot/internal/client"
	"ravenboot/internal/report"
)

// step does something for a boot: it insists as the settings say, and reports
// how it went.
func (c *call) step(ctx context.Context, name string, do func(ctx context.Context, reporter *client.Reporter) (text string, err error)) error {
	policy, err := client.ParseOnFailure(c.settings.OnFailure)
	if err != nil {
		// A boot must not end at a misspelt setting.
		c.screen.say(err.Error() + "; taking retry")
		policy = client.Retry
	}
	reporter := client.NewReporter(c.settings, c.screen.say)
	defer reporter.Close()
	step := client.Step{
		Name: name, OnFailure: policy, Say: c.screen.say, Reboot: reboot,
		Failed: func(err error, next string) {
			reporter.Tell(report.Report{Step: name, Outcome: report.Failed, Text: err.Error() + "\n" + next})
		},
	}
	var text string
	err = step.Insist(ctx, func(ctx context.Context) (err error) {
		text, err = do(ctx, reporter)
		return err
	})
	if err != nil {
		return err
	}
	c.screen.say(name + ": " + text)
	reporter.Tell(report.Report{Step: name, Outcome: report.OK, Text: text})
	return nil
}

func reboot() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
