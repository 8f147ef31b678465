package main

import (
	"errors"
	"reflect"

	"ravenboot/dhcp"
	"ravenboot/internal/config"
)

// reload puts a changed configuration in force, as far as that goes without
// opening sockets anew.
func (s *server) reload(cfg *config.Config) error {
	if cfg.DHCP.Mode == config.ModeServer && s.pool == nil {
		return errors.New(`[dhcp] mode = "server" takes effect at the next start; until then the former configuration stays in force`)
	}
	var addresses dhcp.Addresses
	if s.pool != nil {
		addresses = s.pool
	}
	if err := s.dhcp.SetConfig(s.dhcpConfig(cfg), addresses); err != nil {
		return err
	}
	if s.pool != nil {
		if err := s.pool.SetSubnets(cfg.DHCP.Subnets, reservedOf(cfg)); err != nil {
			return err
		}
	}
	s.loaders.SetDirs(cfg.Loaders.Dirs)
	s.catalog.SetProfiles(cfg.Boot.GenerationProfiles())
	s.decider.SetPolicy(cfg.Boot)
	for _, left := range needRestart(s.config, cfg) {
		s.log.Warn("configuration", "step", "config", "outcome", "needs a restart", "reason", left+" has changed since the start")
	}
	return nil
}

// needRestart names what only a new start brings, of all that has changed since
// the last.
func needRestart(started, next *config.Config) []string {
	var names []string
	add := func(changed bool, name string) {
		if changed {
			names = append(names, name)
		}
	}
	add(started.Server.StateDir != next.Server.StateDir, "[server] state_dir")
	add(started.Server.Address != next.Server.Address, "[server] address")
	add(started.TFTP != next.TFTP, "[tftp]")
	add(started.HTTP != next.HTTP, "[http]")
	add(!reflect.DeepEqual(started.Cache, next.Cache), "[cache]")
	add(started.Admin != next.Admin, "[admin]")
	add(started.Log != next.Log, "[log]")
	return names
}
