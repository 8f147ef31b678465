package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/client"
	"ravenboot/internal/client/closure"
	"ravenboot/internal/report"
)

var closureCommand = command{
	name:    "closure",
	summary: "downloads what the chosen system needs and the disk lacks",
	example: "  ravenboot-client closure -root /sysroot -public-key lab-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\n" +
		"  ravenboot-client closure -root /sysroot -engine nix\n",
	step:    report.Closure,
	prepare: prepareClosure,
}

// The engines.
const (
	native = "native"
	nix    = "nix"
)

// closureFlags are the command's own.
type closureFlags struct {
	root, engine, cache, toplevel string
	keys                          []string
}

func prepareClosure(c *call) func(context.Context) error {
	var f closureFlags
	c.StringVar(&f.root, "root", "", "`directory` where the system's root is mounted")
	c.StringVar(&f.engine, "engine", "", "native, or nix for the Nix that is in the initrd (default native)")
	c.StringVar(&f.cache, "cache", "", "`URL` of another binary cache than ravenboot's own")
	c.StringVar(&f.toplevel, "toplevel", "", "store `path` of the system, if it is not that of init=")
	c.Func("public-key", "`NAME:BASE64` of a key that may sign store paths; can be given several times", func(key string) error {
		f.keys = append(f.keys, key)
		return nil
	})
	return func(ctx context.Context) error { return c.closure(ctx, &f) }
}

func (c *call) closure(ctx context.Context, f *closureFlags) error {
	config, err := c.closureConfig(f)
	if err != nil {
		return usageError{err}
	}
	engine := or(or(f.engine, c.settings.Engine), native)
	if engine != native && engine != nix {
		return usageError{fmt.Errorf("engine %q is none of native, nix", engine)}
	}
	download, err := closure.New(config)
	if err != nil {
		return usageError{err}
	}
	begun := time.Now() // of all tries
	return c.step(ctx, report.Closure, func(ctx context.Context, reporter *client.Reporter) (string, error) {
		if engine == nix {
			reporter.Tell(report.Report{Step: report.Closure, Outcome: report.Running, Text: "by nix copy"})
			return config.Toplevel + " is here, by nix copy", download.RunNix(ctx, os.Stderr)
		}
		err := c.download(ctx, download, reporter)
		return fmt.Sprintf("%s is here, %s fetched in %.1f s",
			config.Toplevel, client.Bytes(download.Fetched()), time.Since(begun).Seconds()), err
	})
}

func (c *call) closureConfig(f *closureFlags) (closure.Config, error) {
	config := closure.Config{Root: f.root, Toplevel: f.toplevel, Cache: f.cache, Say: c.screen.say}
	if f.root == "" {
		return config, errors.New("-root is missing: where the system's root is mounted, /sysroot or /mnt-root")
	}
	if config.Cache == "" {
		config.Cache = c.settings.URL + "/cache"
		if c.settings.URL == "" {
			return config, errors.New("the kernel command line has no ravenboot.url; give -cache")
		}
	}
	var err error
	// A database of SQLite has a URL, and so has a store of Nix.
	if config.Root, err = filepath.Abs(f.root); err != nil {
		return config, err
	}
	if config.Toplevel == "" {
		if config.Toplevel, err = closure.ToplevelOf(c.settings.Init); err != nil {
			return config, err
		}
	}
	config.Keys, err = c.publicKeys(f.keys)
	return config, err
}

// publicKeys are those of the flags, which are the system's own word. Those of
// the command line count only where it has none.
func (c *call) publicKeys(keys []string) (all []signature.PublicKey, err error) {
	if len(keys) == 0 {
		keys = c.settings.PublicKeys
	}
	for _, text := range keys {
		key, err := signature.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("public key %.100q: %w", text, err)
		}
		all = append(all, key)
	}
	return all, nil
}

// download runs the native engine, and tells how far it is.
func (c *call) download(ctx context.Context, d *closure.Closure, reporter *client.Reporter) error {
	finished := make(chan error, 1)
	go func() { finished <- d.Run(ctx) }()
	every := logEvery
	if c.screen.terminal {
		every = terminalEvery
	}
	forScreen, forServer := newMeter(every, time.Now()), newMeter(logEvery, time.Now())
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-finished:
			return err
		case now := <-ticker.C:
			progress := d.Progress()
			if line := forScreen.line(now, progress); line != "" {
				c.screen.progress(line)
			}
			if line := forServer.line(now, progress); line != "" {
				reporter.Tell(report.Report{Step: report.Closure, Outcome: report.Running, Text: line, Progress: &progress})
			}
		}
	}
}
