package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"ravenboot/internal/config"
	"ravenboot/internal/logging"
)

var serveCommand = command{
	name:    "serve",
	summary: "runs every service that the configuration turns on",
	example: `  ravenboot serve -config /etc/ravenboot/ravenboot.toml
  systemctl reload ravenboot      # or save the file: a good one takes effect at once
`,
	flags: configFlag,
	run:   serve,
}

func serve(ctx context.Context, c *invocation) error {
	watcher := config.NewWatcher(c.configFile, discard)
	cfg, err := watcher.Load()
	if err != nil {
		return err
	}
	collectSeldom()
	log, out := logging.New(c.stderr, logging.Config{Level: cfg.Log.Level, Format: cfg.Log.Format})
	defer out.Close()
	watcher.LogTo(log)
	for _, warning := range cfg.Warnings {
		log.Warn("configuration", "step", "config", "outcome", "doubtful", "reason", warning)
	}
	if err := serveConfig(ctx, cfg, watcher, log); err != nil {
		log.Error("stopped", "error", err)
		return errSaid
	}
	log.Info("stopped")
	return nil
}

// gcPercent lets garbage grow to three times what is in use. That is 1 to 3 MB,
// so Go's own 100 collects whenever another 3 MB have gathered, 25 times a second
// in a boot storm. This costs 8 MiB of memory, and saves a tenth of the CPU.
const gcPercent = 300

// collectSeldom sets gcPercent, unless the administrator has set GOGC.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// serveConfig runs the services until ctx ends or a signal comes.
func serveConfig(ctx context.Context, cfg *config.Config, watcher *config.Watcher, log *slog.Logger) error {
	// Where the log goes to may end, as journald does when it is updated. Go's
	// default is to end with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stopSignals := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stopSignals()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	s, err := newServer(cfg, log)
	if err != nil {
		return err
	}
	watcher.Observe = s.metrics.Reload
	err = s.start()
	if err == nil {
		notify(log, daemon.SdNotifyReady)
		err = s.runUntil(ctx, watcher, hangup)
		notify(log, daemon.SdNotifyStopping)
	}
	// From here on a second signal kills, as it does by default.
	stopSignals()
	return errors.Join(err, s.stop())
}

// runUntil reloads the configuration when it changes, until ctx ends or a
// service fails.
func (s *server) runUntil(ctx context.Context, watcher *config.Watcher, hangup <-chan os.Signal) error {
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- watcher.Run(watching, s.reload) }()
	defer func() { stopWatching(); <-watched }()
	for {
		select {
		case <-ctx.Done():
			s.log.Info("stopping", "reason", "signal")
			return nil
		case err := <-s.group.failed:
			return err
		case <-hangup:
			// Type=notify-reload wants the time, too; others pass it over.
			notify(s.log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
			// What is wrong with the file is logged.
			_ = watcher.Reload(ctx)
			notify(s.log, daemon.SdNotifyReady)
		}
	}
}

// notify tells systemd of a state; without systemd it does nothing.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be told", "state", state, "error", err)
	}
}

// explainPermission names the usual cause of a start that fails on a permission.
func explainPermission(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w; run it as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW as dist/ravenboot.service does", err)
	}
	return err
}
