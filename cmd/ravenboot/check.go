package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"ravenboot/assets"
	"ravenboot/internal/boot"
	"ravenboot/internal/config"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
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
// what would leave machines without a boot; a "warning" may be meant.
type finding struct {
	Level   string `json:"level"` // "ok", "warning" or "error"
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// findings gathers what a check says.
type findings []finding

func (f *findings) ok(subject, format string, args ...any) {
	*f = append(*f, finding{"ok", subject, fmt.Sprintf(format, args...)})
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
	f.checkInterfaces(cfg)
	f.checkPorts(cfg)
	f.checkStateDir(cfg)
}

// checkLoaders wants a loader for the two firmwares that every lab has.
// Others are for those who have such machines to know.
func (f *findings) checkLoaders(cfg *config.Config) {
	loaders := assets.FindLoaders(cfg.Loaders.Dirs)
	for _, l := range loaders.List() {
		f.ok("loader "+l.Name, "%s, %d bytes", l.Path, l.Size)
	}
	for _, problem := range loaders.Problems() {
		f.warn("loaders", "%s", problem)
	}
	for _, m := range loaders.Missing() {
		f.warn("loader "+m.Name, "not found; %s", m.Advice)
	}
	for _, firmware := range []machine.Firmware{machine.BIOS, machine.EFI} {
		if !hasAny(loaders, boot.LoaderNames(firmware, machine.X86_64)) {
			f.fail("loaders", "none for %s %s: such machines will be refused; install the ipxe package, or name its directory in [loaders] dirs",
				firmware, machine.X86_64)
		}
	}
	for _, h := range cfg.Boot.Hosts {
		if h.Loader != "" && !loaders.Has(h.Loader) {
			f.fail("host "+h.Name, "loader %q is in none of the loader directories", h.Loader)
		}
	}
}

func hasAny(loaders *assets.Loaders, names []string) bool {
	for _, name := range names {
		if loaders.Has(name) {
			return true
		}
	}
	return false
}

func (f *findings) checkProfiles(cfg *config.Config) {
	if len(cfg.Boot.Profiles) == 0 {
		f.warn("profiles", "none: machines are offered images and their local disk only; add a [[profile]]")
	}
	for _, p := range cfg.Boot.GenerationProfiles() {
		subject := "profile " + p.Name
		generations, warnings, err := generation.Scan(p)
		for _, w := range warnings {
			f.warn(subject, "%v", w)
		}
		switch {
		case err != nil:
			f.fail(subject, "%v", err)
		case len(generations) == 0:
			f.fail(subject, "no generation in %s; make one with nix-env -p %s --set TOPLEVEL", p.Path, p.Path)
		default:
			f.ok(subject, "%d generations, newest %d: %s", len(generations), generations[0].Number, generations[0].Label)
		}
	}
}

// checkDefaults asks for every host's menu what its default comes to.
func (f *findings) checkDefaults(cfg *config.Config) {
	catalog, err := generation.NewCatalog(cfg.Boot.GenerationProfiles(), discard)
	if err != nil {
		f.fail("profiles", "%v", err)
		return
	}
	decider := boot.New(cfg.Boot, catalog, assets.FindLoaders(nil))
	for i := range cfg.Boot.Hosts {
		h := &cfg.Boot.Hosts[i]
		m := machine.Machine{UUID: h.UUID, Addr: h.Addr}
		if len(h.MACs) > 0 {
			m.MAC = h.MACs[0]
		}
		if plan := decider.Menu(m); plan.Fallback {
			f.warn("host "+h.Name, "%s", plan.Reason)
		}
	}
}

func (f *findings) checkImages(cfg *config.Config) {
	for i := range cfg.Boot.Images {
		image := &cfg.Boot.Images[i]
		subject, good := "image "+image.Name, true
		for _, path := range image.Paths() {
			if err := readable(path); err != nil {
				f.fail(subject, "%v", err)
				good = false
			}
		}
		if good {
			f.ok(subject, "%d files", len(image.Paths()))
		}
	}
}

func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	return err
}

func (f *findings) checkInterfaces(cfg *config.Config) {
	for _, name := range cfg.Server.Interfaces {
		subject := "interface " + name
		i, err := net.InterfaceByName(name)
		if err != nil {
			f.fail(subject, "there is none of this name")
			continue
		}
		addrs, err := i.Addrs()
		switch {
		case err != nil:
			f.fail(subject, "%v", err)
		case i.Flags&net.FlagUp == 0:
			f.fail(subject, "it is down; run: ip link set %s up", name)
		case len(addrs) == 0:
			f.fail(subject, "it has no address")
		default:
			f.ok(subject, "up, %v", addrs[0])
		}
	}
}

// checkPorts opens what serve would open, and closes it again.
func (f *findings) checkPorts(cfg *config.Config) {
	for service, listen := range map[string]string{"http": cfg.HTTP.Listen, "admin": cfg.Admin.Listen} {
		if listen != "" {
			l, err := net.Listen("tcp", listen)
			f.notePort(service, listen, l, err)
		}
	}
	if cfg.TFTP.Listen != "" {
		l, err := net.ListenPacket("udp", cfg.TFTP.Listen)
		f.notePort("tftp", cfg.TFTP.Listen, l, err)
	}
}

func (f *findings) notePort(service, listen string, l io.Closer, err error) {
	switch {
	case err == nil:
		f.ok(service, "%s is free", listen)
		l.Close()
	case errors.Is(err, os.ErrPermission):
		f.fail(service, "%v; run it as root or with CAP_NET_BIND_SERVICE", err)
	case inUse(err):
		f.warn(service, "%s is taken: by a ravenboot that runs, or by another server that must be stopped first", listen)
	default:
		f.fail(service, "%v", err)
	}
}

func (f *findings) checkStateDir(cfg *config.Config) {
	if cfg.DHCP.Mode != config.ModeServer {
		return
	}
	dir := cfg.Server.StateDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if parent, err := os.Stat(filepath.Dir(dir)); err != nil || !parent.IsDir() {
			f.fail("state_dir", "%s can't be made: %s is no directory", dir, filepath.Dir(dir))
			return
		}
		f.ok("state_dir", "%s will be made", dir)
	case err != nil:
		f.fail("state_dir", "%v", err)
	case !info.IsDir():
		f.fail("state_dir", "%s is no directory", dir)
	default:
		f.ok("state_dir", "%s", dir)
	}
}

func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
