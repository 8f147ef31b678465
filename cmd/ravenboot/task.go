package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// task is a long-running part of the server.
type task interface {
	// Run works until ctx ends, then stops in order. Any other end is an error.
	Run(ctx context.Context) error
	// Ready is closed once the task serves.
	Ready() <-chan struct{}
	// String says what it is and where it listens, once it is ready.
	String() string
}

// group runs tasks and stops them in the reverse order of their start, so that
// nobody loses what it stands on: DHCP, the door for new machines, is added
// last and ends first.
type group struct {
	log    *slog.Logger
	tasks  []*runningTask
	failed chan error
}

type runningTask struct {
	task
	stop context.CancelFunc
	done chan error
}

// stopTime is how long a task may take to end its transfers.
const stopTime = 15 * time.Second

func newGroup(log *slog.Logger) *group {
	return &group{log: log, failed: make(chan error, 1)}
}

// start runs a task and waits until it is ready.
func (g *group) start(t task) error {
	// Its own context: stop ends tasks one by one, not all at a time.
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningTask{task: t, stop: cancel, done: make(chan error, 1)}
	go func() {
		err := t.Run(ctx)
		if ctx.Err() == nil {
			g.fail(fmt.Errorf("%v ended by itself: %w", t, errOr(err, "no error given")))
		}
		r.done <- err
	}()
	select {
	case <-t.Ready():
		g.tasks = append(g.tasks, r)
		g.log.Info("serving", "service", t.String())
		return nil
	case err := <-r.done:
		cancel()
		return errOr(err, fmt.Sprintf("%v ended before it was ready", t))
	}
}

func (g *group) fail(err error) {
	select {
	case g.failed <- err:
	default:
	}
}

func errOr(err error, text string) error {
	if err == nil {
		return errors.New(text)
	}
	return err
}

// stop ends the tasks, the last one first.
func (g *group) stop() error {
	var all error
	for i := len(g.tasks) - 1; i >= 0; i-- {
		t := g.tasks[i]
		t.stop()
		select {
		case err := <-t.done:
			if err != nil && !errors.Is(err, context.Canceled) {
				all = errors.Join(all, fmt.Errorf("stopping %v: %w", t.task, err))
			}
		case <-time.After(stopTime):
			all = errors.Join(all, fmt.Errorf("%v did not stop within %v", t.task, stopTime))
		}
	}
	return all
}

// loop makes a task of a function that has nothing to get ready.
func loop(name string, run func(context.Context) error) task {
	ready := make(chan struct{})
	close(ready)
	return &loopTask{name: name, run: run, ready: ready}
}

type loopTask struct {
	name  string
	run   func(context.Context) error
	ready chan struct{}
}

func (l *loopTask) Run(ctx context.Context) error { return l.run(ctx) }
func (l *loopTask) Ready() <-chan struct{}        { return l.ready }
func (l *loopTask) String() string                { return l.name }
