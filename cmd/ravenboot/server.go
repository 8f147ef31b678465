package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"

	"ravenboot/assets"
	"ravenboot/dhcp"
	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
	"ravenboot/internal/config"
	"ravenboot/internal/generation"
	"ravenboot/internal/machines"
	"ravenboot/internal/metrics"
	"ravenboot/internal/nixcache"
	"ravenboot/internal/state"
	"ravenboot/internal/ticket"
	"ravenboot/internal/web"
)

// server is everything that `serve` runs.
type server struct {
	log     *slog.Logger
	config  *config.Config // that it was started with; reload says what replaces its parts
	group   *group
	metrics *metrics.Metrics
	up      atomic.Bool

	catalog *generation.Catalog
	loaders *assets.Loaders
	decider *boot.Decider
	scripts *web.Scripts
	tickets *ticket.Key // nil unless HTTP is on
	dhcp    *dhcp.Server
	cache   *nixcache.Cache    // nil unless [cache] enabled
	state   *state.State       // nil where it can't be had, and nothing needs it
	pool    *lease.Pool        // nil but in mode server
	known   *machines.Machines // nil unless HTTP is on
	sockets sockets
}

// newServer wires the parts together. Nothing listens yet.
func newServer(cfg *config.Config, log *slog.Logger) (*server, error) {
	s := &server{log: log, config: cfg, group: newGroup(log), metrics: metrics.New(thisBuild().Version)}
	var err error
	if s.sockets, err = systemdSockets(); err != nil {
		return nil, err
	}
	if s.catalog, err = generation.NewCatalog(cfg.Boot.GenerationProfiles(), log); err != nil {
		return nil, err
	}
	if cfg.Cache.Enabled {
		if s.cache, err = nixcache.New(s.cacheConfig(), s.catalog, log); err != nil {
			return nil, err
		}
	}
	s.loaders = assets.FindLoaders(cfg.Loaders.Dirs)
	s.decider = boot.New(cfg.Boot, s.catalog, s.loaders)
	if cfg.DHCP.Mode == config.ModeServer {
		if err := s.openLeases(); err != nil {
			return nil, err
		}
	}
	if s.servesHTTP() {
		s.openReports()
	}
	s.scripts = web.NewScripts(s.decider, s.scriptsConfig(), log)
	var addresses dhcp.Addresses
	if s.pool != nil {
		addresses = s.pool
	}
	if s.dhcp, err = dhcp.New(s.dhcpConfig(cfg), s.decider, addresses, log); err != nil {
		return nil, errors.Join(err, s.closeState())
	}
	return s, nil
}

func (s *server) openLeases() error {
	var err error
	if s.state, err = state.Open(s.config.Server.StateDir, s.log); err != nil {
		return err
	}
	s.pool, err = lease.NewPool(s.config.DHCP.Subnets, reservedOf(s.config), s.state, lease.NewPing(s.log), s.log)
	if err != nil {
		return errors.Join(err, s.state.Close())
	}
	s.metrics.Leases(s.leaseCounts)
	return nil
}

func (s *server) scriptsConfig() web.ScriptsConfig {
	c := web.ScriptsConfig{Address: s.config.Server.Address, HTTPPort: s.httpPort(), Observe: s.metrics.Script}
	if s.tickets != nil {
		c.Ticket = minter(s.tickets)
	}
	return c
}

func (s *server) servesHTTP() bool { return s.config.HTTP.Listen != "" || s.sockets.http != nil }

func (s *server) leaseCounts() []metrics.LeaseCount {
	var counts []metrics.LeaseCount
	for _, subnet := range s.pool.Stats() {
		network := subnet.Network.String()
		counts = append(counts,
			metrics.LeaseCount{Network: network, State: "free", Addresses: subnet.Free},
			metrics.LeaseCount{Network: network, State: "offered", Addresses: subnet.Offered},
			metrics.LeaseCount{Network: network, State: "leased", Addresses: subnet.Leased},
			metrics.LeaseCount{Network: network, State: "declined", Addresses: subnet.Declined},
			metrics.LeaseCount{Network: network, State: "in_use", Addresses: subnet.InUse})
	}
	return counts
}

// start brings the services up, those first that the others send machines to:
// whoever gets an address and a boot file finds the file.
func (s *server) start() error {
	if err := s.startTasks(); err != nil {
		return explainPermission(err)
	}
	s.up.Store(true)
	return nil
}

func (s *server) startTasks() error {
	cfg := s.config
	tasks := []task{
		loop("generations", s.catalog.Run),
		loop("loaders", func(ctx context.Context) error { return s.loaders.Run(ctx, s.log) }),
	}
	if s.cache != nil {
		tasks = append(tasks, loop("cache", s.cache.Run))
	}
	if cfg.Admin.Listen != "" || s.sockets.admin != nil {
		tasks = append(tasks, web.NewServer("admin", cfg.Admin.Listen, s.sockets.admin,
			s.adminHandler(), s.log))
	}
	if s.servesHTTP() {
		tasks = append(tasks, web.NewServer("http", cfg.HTTP.Listen, s.sockets.http, s.bootHandler(), s.log))
	}
	if cfg.TFTP.Listen != "" || s.sockets.tftp != nil {
		tasks = append(tasks, assets.NewTFTP(s.tftpConfig(), s.loaders, s.scripts, s.log))
	}
	if s.pool != nil {
		tasks = append(tasks, loop("leases", s.pool.Run))
	}
	tasks = append(tasks, s.dhcp)
	for _, t := range tasks {
		if err := s.group.start(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) healthy() error {
	if !s.up.Load() {
		return errors.New("not every service is up yet")
	}
	return nil
}

func (s *server) stop() error {
	s.up.Store(false)
	return errors.Join(s.group.stop(), s.closeState())
}

func (s *server) closeState() error {
	if s.state == nil {
		return nil
	}
	return s.state.Close()
}

// dhcpConfig is what DHCP takes from a configuration. Machines are sent to
// where the other services are, not to where they will be after a restart.
func (s *server) dhcpConfig(cfg *config.Config) dhcp.Config {
	return dhcp.Config{
		Mode: dhcp.Mode(cfg.DHCP.Mode), Interfaces: cfg.Server.Interfaces,
		Port: cfg.DHCP.Port, ProxyPort: cfg.DHCP.ProxyPort,
		Address: s.config.Server.Address, HTTPPort: s.httpPort(), TFTPPort: s.tftpPort(),
		EFIOption43: cfg.DHCP.EFIOption43, Observe: s.metrics.DHCP,
	}
}

func (s *server) tftpConfig() assets.TFTPConfig {
	return assets.TFTPConfig{
		Listen: s.config.TFTP.Listen, Conn: s.sockets.tftp,
		BlockSize: s.config.TFTP.BlockSize, SinglePort: s.config.TFTP.SinglePort,
		MaxTransfers: s.config.TFTP.MaxTransfers,
		// Where ravenboot answers DHCP, it tells iPXE apart there.
		ScriptForLoader: s.config.DHCP.Mode == config.ModeOff && s.config.TFTP.ScriptForLoader == config.ScriptAuto,
		Observe:         s.metrics.Transfer,
	}
}

func (s *server) cacheConfig() nixcache.Config {
	c := cacheSource(s.config)
	c.StateDir, c.KeyName = s.config.Server.StateDir, s.config.Cache.KeyName
	c.MaxTransfers, c.Observe = s.config.Cache.MaxTransfers, s.metrics.Transfer
	return c
}

// cacheSource is where the cache has its systems from.
func cacheSource(cfg *config.Config) nixcache.Config {
	c := nixcache.Config{StoreDir: cfg.Cache.Store, Dir: cfg.Cache.Dir, Compression: cfg.Cache.Compression}
	if cfg.Cache.Upstream != "" {
		c.Upstream = &nixcache.Upstream{URL: cfg.Cache.Upstream, PublicKeys: cfg.Cache.PublicKeys, Keep: cfg.Cache.Keep}
	}
	return c
}

// reservedOf lists the addresses that are never handed out to others: those of
// hosts, and the server's own.
func reservedOf(cfg *config.Config) []netip.Addr {
	var reserved []netip.Addr
	for _, h := range cfg.Boot.Hosts {
		if h.Addr.IsValid() {
			reserved = append(reserved, h.Addr)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return reserved
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			reserved = append(reserved, p.Addr())
		}
	}
	return reserved
}

// portOf is the port of a listen address, 0 for a service that is turned off.
func portOf(listen string) int {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// serverAddress is the address that scripts would carry: the configured one,
// else the first of the first interface.
func serverAddress(cfg *config.Config) netip.Addr {
	if cfg.Server.Address.IsValid() {
		return cfg.Server.Address
	}
	for _, name := range cfg.Server.Interfaces {
		i, err := net.InterfaceByName(name)
		if err != nil {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				return p.Addr()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (s *server) bootHandler() http.Handler {
	files := assets.NewFiles(s.loaders, s.catalog, s.decider, assets.FilesConfig{
		MaxTransfers: s.config.HTTP.MaxTransfers, Scripts: s.scripts, Observe: s.metrics.Transfer,
	}, s.log)
	side := web.BootSide{Scripts: s.scripts, Files: files, Healthy: s.healthy}
	if s.cache != nil {
		side.Cache = s.cache
	}
	if s.known != nil {
		side.Reports = web.NewReports(s.tickets, s.known, s.metrics.Report, s.log)
	}
	return web.NewBootHandler(side)
}

func (s *server) adminHandler() http.Handler {
	side := web.AdminSide{Metrics: s.metrics.Handler(), Healthy: s.healthy}
	if s.known != nil {
		side.Machines = web.NewMachinesAPI(s.known, s.decider, s.log)
	}
	return web.NewAdminHandler(side)
}
