package main

import (
	"context"
	"fmt"

	"ravenboot/internal/config"
	"ravenboot/internal/nixcache"
)

var keyCommand = command{
	name:    "key",
	summary: "prints the public key of the cache, which machines must trust; makes the key where there is none",
	example: `  ravenboot key -config /etc/ravenboot/ravenboot.toml
  nix copy --from http://192.0.2.10/cache --option trusted-public-keys "$(ravenboot key)" /nix/store/...
`,
	flags: configFlag,
	run:   printKey,
}

// printKey prints the key while the cache is off, too: machines are told of it
// before they need it.
func printKey(_ context.Context, c *invocation) error {
	cfg, err := config.Load(c.configFile)
	if err != nil {
		return err
	}
	key, err := nixcache.OpenKey(cfg.Server.StateDir, cfg.Cache.KeyName)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, key.Public())
	return err
}
