package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ravenboot/internal/client"
	"ravenboot/internal/client/layout"
	"ravenboot/internal/report"
)

var layoutCommand = command{
	name:    "layout",
	summary: "puts the disk in the declared order, if it isn't",
	example: "  ravenboot-client layout -layout /etc/ravenboot/layout.json\n" +
		"  ravenboot-client layout -layout layout.json -on-mismatch recreate\n",
	step:    report.Layout,
	prepare: prepareLayout,
}

// What can follow when a disk holds something else.
const (
	refuse   = "refuse"
	recreate = "recreate"
)

// askEvery is how often a machine asks whether the operator has approved.
const askEvery = 5 * time.Second

func prepareLayout(c *call) func(context.Context) error {
	file := c.String("layout", "", "`file` with the declared layout (JSON)")
	onMismatch := c.String("on-mismatch", "", "refuse or recreate a disk that holds something else (default refuse)")
	return func(ctx context.Context) error {
		policy := or(or(*onMismatch, c.settings.OnMismatch), refuse)
		if policy != refuse && policy != recreate {
			return usageError{fmt.Errorf("on_mismatch %q is none of refuse, recreate", policy)}
		}
		text, err := os.ReadFile(*file)
		if err != nil {
			return usageError{fmt.Errorf("-layout: %w", err)}
		}
		declared, err := layout.Parse(text)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", *file, err)}
		}
		return c.step(ctx, report.Layout, func(ctx context.Context, reporter *client.Reporter) (string, error) {
			return c.arrange(ctx, declared, policy, reporter)
		})
	}
}

// arrange sees to it that the disk is as declared, and says what it did.
func (c *call) arrange(ctx context.Context, declared layout.Layout, policy string, reporter *client.Reporter) (string, error) {
	s, err := look(declared)
	if err != nil {
		return "", err
	}
	if s.mustAsk() && policy == refuse {
		if s, err = c.awaitApproval(ctx, declared, s, reporter); err != nil {
			return "", err
		}
	}
	if s.Kind == layout.Same {
		return s.disk.Path + " is as declared", nil
	}
	c.screen.say(s.String() + "; setting it up")
	reporter.Tell(report.Report{Step: report.Layout, Outcome: report.Running, Text: "setting up " + s.disk.Path})
	if err := layout.Make(ctx, declared, s.disk, c.screen.say); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is set up; it was %s", s.disk.Path, s.Kind), nil
}

// sight is what a look at the disk shows.
type sight struct {
	disk layout.Disk
	layout.Verdict
}

// String is one line.
func (s *sight) String() string { return fmt.Sprintf("%s is %s: %s", s.disk.Path, s.Kind, s.Why) }

// mustAsk tells whether there is something to lose.
func (s *sight) mustAsk() bool { return s.Kind == layout.Ours || s.Kind == layout.Foreign }

// look finds the disk, and compares what is on it with what is declared.
func look(declared layout.Layout) (s sight, err error) {
	disks, err := layout.Disks()
	if err != nil {
		return s, err
	}
	if s.disk, err = declared.Find(disks); err != nil {
		return s, err
	}
	found, err := layout.Inspect(s.disk)
	if err != nil {
		return s, err
	}
	s.Verdict, err = layout.Compare(declared, found)
	return s, err
}

// errRefused is why a disk stays as it is where nobody can be asked.
var errRefused = errors.New("the disk is left as it is")

// awaitApproval shows what is on the disk, and waits until the operator says
// that it may be erased. What is approved is what was shown: the disk is looked
// at again.
func (c *call) awaitApproval(ctx context.Context, declared layout.Layout, s sight, reporter *client.Reporter) (sight, error) {
	shown := ""
	for s.mustAsk() {
		if s.Refusal != shown {
			shown = s.Refusal
			c.screen.say(s.String())
			c.screen.show(s.SideBySide)
			c.screen.say("nothing was changed; to erase this disk, run on the server: ravenboot approve " + c.settings.Machine)
		}
		reply, err := reporter.Send(ctx, report.Report{
			Step: report.Layout, Outcome: report.Refused, Refusal: s.Refusal, Text: s.String() + "\n" + s.SideBySide,
		})
		if errors.Is(err, client.ErrNobody) {
			return s, fmt.Errorf("%w: %w", errRefused, err)
		}
		if err != nil {
			c.screen.say("can't ask the server: " + err.Error())
		}
		if !reply.Approved {
			if err := sleep(ctx, askEvery); err != nil {
				return s, err
			}
		}
		asked := s.Refusal
		if s, err = look(declared); err != nil {
			return s, err
		}
		if reply.Approved && s.Refusal == asked {
			return s, nil
		}
	}
	return s, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
