package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"ravenboot/assets"
	"ravenboot/internal/boot"
	"ravenboot/internal/config"
	"ravenboot/internal/generation"
	"ravenboot/internal/ticket"
	"ravenboot/internal/web"
)

var scriptCommand = command{
	name:    "script",
	summary: "prints the script that a machine would get, and on stderr why",
	example: `  ravenboot script -mac 52:54:00:12:34:56
  ravenboot script -mac 52:54:00:12:34:56 -entry lab/42
  ravenboot script -mac 52:54:00:12:34:56 -arch arm64 -platform efi
`,
	flags: func(c *invocation) {
		configFlag(c)
		c.StringVar(&c.machine.mac, "mac", "", "MAC `address` of the machine")
		c.StringVar(&c.machine.uuid, "uuid", "", "SMBIOS `UUID` of the machine")
		c.StringVar(&c.machine.arch, "arch", "", "`architecture`: x86_64, arm64, ...")
		c.StringVar(&c.machine.platform, "platform", "", "`firmware`: bios or efi")
		c.StringVar(&c.machine.address, "address", "", "`IP` address of the machine, for groups by subnet")
		c.StringVar(&c.entry, "entry", "", "`entry` to boot, such as lab/42, instead of the menu")
	},
	run: printScript,
}

// machineFlags are what a machine would say of itself.
type machineFlags struct{ mac, uuid, arch, platform, address string }

func printScript(_ context.Context, c *invocation) error {
	if c.machine.mac == "" && c.machine.uuid == "" {
		return usageError{errors.New("-mac is needed; `ravenboot script -h` shows how")}
	}
	query, err := c.machine.query(c.entry)
	if err != nil {
		return usageError{err}
	}
	cfg, err := config.Load(c.configFile)
	if err != nil {
		return err
	}
	key, err := ticket.ReadKey(cfg.Server.StateDir)
	if err != nil && c.entry != "" {
		fmt.Fprintf(c.stderr, "ravenboot script: the machine would get a ravenboot.ticket, too: %v\n", err)
	}
	scripts, err := scriptsOf(cfg, key)
	if err != nil {
		return err
	}
	script := scripts.Render(query, web.BaseURL(serverAddress(cfg), portOf(cfg.HTTP.Listen)))
	fmt.Fprintf(c.stderr, "reason: %s\n", script.Reason)
	if _, err := c.stdout.Write(script.Text); err != nil {
		return err
	}
	if script.Status >= 400 {
		if c.entry != "" {
			fmt.Fprintln(c.stderr, "ravenboot script: without -entry it prints the menu, with the entries that this machine may have")
		}
		return errSaid
	}
	return nil
}

func (f *machineFlags) query(entry string) (web.Query, error) {
	var from netip.Addr
	if f.address != "" {
		var err error
		if from, err = netip.ParseAddr(f.address); err != nil {
			return web.Query{}, fmt.Errorf("-address: %w", err)
		}
	}
	values := url.Values{
		"mac": {f.mac}, "uuid": {f.uuid}, "arch": {f.arch}, "platform": {f.platform}, "entry": {entry},
	}
	return web.ParseQuery(values, from)
}

// scriptsOf makes what renders scripts, without any service, and without tickets
// where there is no key.
func scriptsOf(cfg *config.Config, key *ticket.Key) (*web.Scripts, error) {
	catalog, err := generation.NewCatalog(cfg.Boot.GenerationProfiles(), discard)
	if err != nil {
		return nil, err
	}
	decider := boot.New(cfg.Boot, catalog, assets.FindLoaders(cfg.Loaders.Dirs))
	scripts := web.ScriptsConfig{Address: cfg.Server.Address, HTTPPort: portOf(cfg.HTTP.Listen)}
	if key != nil {
		scripts.Ticket = minter(key)
	}
	return web.NewScripts(decider, scripts, discard), nil
}
