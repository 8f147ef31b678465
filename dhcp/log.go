package dhcp

import (
	"context"
	"log/slog"
	"time"

	"ravenboot/internal/logging"
)

// stepLog writes one line for each step of a machine, and bounds what strangers
// can make it write.
type stepLog struct {
	*slog.Logger
	steps  logging.Limit // steps of machines
	stuck  logging.Limit // what stuck machines need
	alarms logging.Limit // packets that can't be understood, and bugs of ours
}

// A whole lab of 2,000 machines that starts at once has its four lines for each
// machine; what goes on for longer is counted instead. Alarms are for a look,
// not for statistics.
const (
	stepBurst, stepsPerSecond   = 8000, 200
	stuckBurst, stuckPerSecond  = 100, 0.1
	alarmBurst, alarmsPerSecond = 5, 0.1
)

func newStepLog(log *slog.Logger, now func() time.Time) *stepLog {
	return &stepLog{
		Logger: log,
		steps:  logging.Limit{Now: now, Burst: stepBurst, PerSecond: stepsPerSecond},
		stuck:  logging.Limit{Now: now, Burst: stuckBurst, PerSecond: stuckPerSecond},
		alarms: logging.Limit{Now: now, Burst: alarmBurst, PerSecond: alarmsPerSecond},
	}
}

// step logs what became of a packet: boot clients and changed leases for
// everybody to see, the rest for those who look for noise.
func (l *stepLog) step(ctx context.Context, x *exchange, v verdict) {
	level := x.levelOf(v)
	if !l.Enabled(ctx, level) {
		return
	}
	ok, left := l.steps.Take()
	if !ok {
		return
	}
	l.leftOut(ctx, "steps", left)
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("machine", x.req.mac.String()),
		slog.String("step", "dhcp"),
		slog.String("outcome", v.outcome),
		slog.String("reason", v.reason),
		slog.String("message", messageName(x.req.message)),
		slog.String("interface", x.packet.Interface.Name))
	if x.req.relay.IsValid() {
		attrs = append(attrs, slog.String("relay", x.req.relay.String()))
	}
	if a := v.answer; a != nil && a.lease != nil {
		attrs = append(attrs, slog.String("address", a.lease.Addr.String()))
	}
	if a := v.answer; a != nil && a.file != nil {
		attrs = append(attrs, slog.String("file", a.file.name))
	}
	logging.Line(ctx, l.Logger, level, "dhcp", attrs...)
}

// levelOf is the level of a step's line. A plain client has one line for its
// lease, and none for offers, renewals and what it says to other servers.
func (x *exchange) levelOf(v verdict) slog.Level {
	switch v.outcome {
	case outcomeFailed:
		return slog.LevelWarn
	case outcomeIgnored:
		return slog.LevelDebug
	case outcomeNak, outcomeDone:
		return slog.LevelInfo
	}
	if x.asker.class == "" && (v.outcome != outcomeAck || x.req.ciaddr.IsValid()) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// malformed logs a packet that can't be understood.
func (l *stepLog) malformed(ctx context.Context, p Packet, err error) {
	l.alarm(ctx, slog.LevelWarn, "a packet that is no sane DHCP request was dropped",
		slog.String("step", "dhcp"), slog.String("outcome", outcomeMalformed), slog.String("reason", err.Error()),
		slog.String("interface", p.Interface.Name), slog.String("from", p.Remote.String()), slog.Int("bytes", len(p.Data)))
}

// bug logs a panic, with the packet that led to it.
func (l *stepLog) bug(ctx context.Context, p Packet, what string, stack []byte) {
	l.alarm(ctx, slog.LevelError, "a packet led to a bug in ravenboot; please report this line",
		slog.String("step", "dhcp"), slog.String("outcome", outcomeFailed), slog.String("reason", what),
		slog.String("interface", p.Interface.Name), slog.Any("packet", p.Data), slog.String("stack", string(stack)))
}

// alarm logs a line if there weren't too many of late.
func (l *stepLog) alarm(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	ok, left := l.alarms.Take()
	if !ok {
		return
	}
	l.leftOut(ctx, "alarms", left)
	l.LogAttrs(ctx, level, text, attrs...)
}

func (l *stepLog) leftOut(ctx context.Context, what string, n int) {
	if n > 0 {
		l.LogAttrs(ctx, slog.LevelWarn, "log lines were left out, there were too many",
			slog.String("step", "dhcp"), slog.String("of", what), slog.Int("lines", n))
	}
}
