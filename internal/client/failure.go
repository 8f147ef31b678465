package client

import (
	"context"
	"fmt"
	"time"
)

// OnFailure says what follows when a step fails.
type OnFailure string

// What can follow a failure.
const (
	Retry  OnFailure = "retry"  // again after a pause, for ever; the pauses grow
	Reboot OnFailure = "reboot" // a few times again, and then from the firmware on
	Shell  OnFailure = "shell"  // the program ends, and stage 1 opens its shell
)

// ParseOnFailure reads the setting; "" is Retry.
func ParseOnFailure(text string) (OnFailure, error) {
	switch o := OnFailure(text); o {
	case "":
		return Retry, nil
	case Retry, Reboot, Shell:
		return o, nil
	}
	return "", fmt.Errorf("on_failure %q is none of retry, reboot, shell", text)
}

const (
	firstPause = 2 * time.Second
	lastPause  = time.Minute
	// rebootRounds is how often a step is tried before the machine restarts.
	rebootRounds = 4
	// rebootPause leaves time to read why.
	rebootPause = 15 * time.Second
)

// Step is something that must succeed before the machine can go on.
type Step struct {
	Name      string // as in reports
	OnFailure OnFailure
	// Say tells the screen.
	Say func(line string)
	// Failed is told of every failure, and what follows it.
	Failed func(err error, next string)
	// Reboot restarts the machine.
	Reboot func() error
	// Wait waits; nil sleeps.
	Wait func(ctx context.Context, d time.Duration)
}

// Insist does the step until it succeeds or its policy has an end.
func (s *Step) Insist(ctx context.Context, do func(context.Context) error) error {
	pause := firstPause
	for round := 1; ; round++ {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		next := s.next(round, pause)
		s.Say(fmt.Sprintf("%s failed: %v", s.Name, err))
		s.Say(next)
		s.Failed(err, next)
		switch {
		case s.OnFailure == Shell:
			return err
		case s.OnFailure == Reboot && round == rebootRounds:
			s.wait(ctx, rebootPause)
			if rebootErr := s.Reboot(); rebootErr != nil {
				return fmt.Errorf("%w; and the machine can't be restarted: %w", err, rebootErr)
			}
			return err
		}
		if s.wait(ctx, pause); ctx.Err() != nil {
			return err // to begin once more would only be stopped half-way
		}
		pause = min(pause*2, lastPause)
	}
}

// next says what the machine will do after a failure.
func (s *Step) next(round int, pause time.Duration) string {
	switch {
	case s.OnFailure == Shell:
		return "not trying again (ravenboot.on_failure=shell)"
	case s.OnFailure == Reboot && round == rebootRounds:
		return fmt.Sprintf("restarting the machine in %v (ravenboot.on_failure=reboot)", rebootPause)
	case s.OnFailure == Reboot:
		return fmt.Sprintf("trying again in %v, restarting the machine after %d more failures (ravenboot.on_failure=reboot)",
			pause, rebootRounds-round)
	}
	return fmt.Sprintf("trying again in %v", pause)
}

func (s *Step) wait(ctx context.Context, d time.Duration) {
	if s.Wait != nil {
		s.Wait(ctx, d)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
