package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"ravenboot/internal/config"
)

var checkCommand = command{
	name:    "check",
	summary: "says what is wrong with configuration, loaders, profiles, images, ports and interfaces",
	example: `  ravenboot check -config /etc/ravenboot/ravenboot.toml
  ravenboot check -json | jq '.[] | select(.level == "error")'
`,
	flags: func(c *invocation) { configFlag(c); jsonFlag(c) },
	run:   check,
}

// finding is one line of a check. An "error" is what serving would fail on, or
// what would leave machines without a boot; a "warning" may be meant; a "note"
// concerns few labs.
type finding struct {
	Level   string `json:"level"` // "ok", "note", "warning" or "error"
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// findings gathers what a check says.
type findings []finding

func (f *findings) ok(subject, format string, args ...any) {
	*f = append(*f, finding{"ok", subject, fmt.Sprintf(format, args...)})
}

func (f *findings) note(subject, format string, args ...any) {
	*f = append(*f, finding{"note", subject, fmt.Sprintf(format, args...)})
}

func (f *findings) warn(subject, format string, args ...any) {
	*f = append(*f, finding{"warning", subject, fmt.Sprintf(format, args...)})
}

func (f *findings) fail(subject, format string, args ...any) {
	*f = append(*f, finding{"error", subject, fmt.Sprintf(format, args...)})
}

func (f findings) failed() bool {
	for _, one := range f {
		if one.Level == "error" {
			return true
		}
	}
	return false
}

func check(_ context.Context, c *invocation) error {
	var found findings
	cfg, err := config.Load(c.configFile)
	if err != nil {
		for _, e := range flatten(err) {
			found.fail("configuration", "%v", e)
		}
	} else {
		found.ok("configuration", "%s: %d hosts, %d groups, %d images", c.configFile,
			len(cfg.Boot.Hosts), len(cfg.Boot.Groups), len(cfg.Boot.Images))
		for _, warning := range cfg.Warnings {
			found.warn("configuration", "%s", warning)
		}
		found.checkAll(cfg)
	}
	if err := found.print(c.stdout, c.json); err != nil {
		return err
	}
	if found.failed() {
		return errSaid
	}
	return nil
}

func (f findings) print(w io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(f)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, one := range f {
		fmt.Fprintf(table, "%s\t%s\t%s\n", one.Level, one.Subject, one.Text)
	}
	return table.Flush()
}

func (f *findings) checkAll(cfg *config.Config) {
	f.checkLoaders(cfg)
	f.checkProfiles(cfg)
	f.checkDefaults(cfg)
	f.checkImages(cfg)
	f.checkCache(cfg)
	f.checkInterfaces(cfg)
	f.checkPorts(cfg)
	f.checkDHCPPorts(cfg)
	f.checkStateDir(cfg)
}
