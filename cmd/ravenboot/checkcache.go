package main

import (
	"context"
	"time"

	"ravenboot/internal/config"
	"ravenboot/internal/generation"
	"ravenboot/internal/nixcache"
)

// upstreamTime is how long a check asks another cache: its user is waiting.
const upstreamTime = 3 * time.Second

// checkCache looks whether machines could fetch what is on offer.
func (f *findings) checkCache(cfg *config.Config) {
	if !cfg.Cache.Enabled {
		return
	}
	catalog, err := generation.NewCatalog(cfg.Boot.GenerationProfiles(), discard)
	if err != nil {
		return // which checkDefaults has said
	}
	ctx, cancel := context.WithTimeout(context.Background(), upstreamTime)
	defer cancel()
	toplevels := catalog.Toplevels()
	problems := nixcache.Check(ctx, cacheSource(cfg), toplevels)
	for _, p := range problems {
		say := f.fail
		if p.Passing {
			say = f.warn
		}
		say("cache", "%s", p.Text)
	}
	if len(problems) == 0 {
		f.ok("cache", "%d systems can be fetched from %s", len(toplevels), cacheOrigin(cfg))
	}
}

func cacheOrigin(cfg *config.Config) string {
	switch {
	case cfg.Cache.Dir != "":
		return cfg.Cache.Dir
	case cfg.Cache.Upstream != "":
		return cfg.Cache.Upstream
	}
	return cfg.Cache.Store
}
