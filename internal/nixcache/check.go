package nixcache

import (
	"context"
	"errors"
	"fmt"

	"ravenboot/internal/narinfo"
)

// Problem keeps machines from what is on offer.
type Problem struct {
	Text string
	// Passing says that it may be gone by itself: another server doesn't answer.
	Passing bool
}

// Check looks whether a Cache of this configuration could serve these toplevels.
// It changes nothing, and asks an upstream for as long as ctx lasts.
func Check(ctx context.Context, config Config, toplevels []string) []Problem {
	if err := config.complete(); err != nil {
		return []Problem{{Text: err.Error()}}
	}
	switch {
	case config.Dir != "":
		return checkReadyDir(ctx, config.Dir, toplevels)
	case config.Upstream != nil:
		return checkUpstream(ctx, config.Upstream, toplevels)
	}
	if _, err := findTool(config.NixStore); err != nil {
		return []Problem{{Text: err.Error() + "; install Nix, put nix-store into PATH, or give the cache a directory or an upstream"}}
	}
	return nil
}

func checkReadyDir(ctx context.Context, dir string, toplevels []string) []Problem {
	d := newReadyDir(dir, Key{})
	d.refresh()
	if _, err := d.readCacheInfo(); err != nil {
		return []Problem{{Text: err.Error()}}
	}
	var found []Problem
	for _, toplevel := range toplevels {
		if _, err := d.closure(ctx, toplevel); err != nil {
			found = append(found, Problem{Text: err.Error()})
		}
	}
	return found
}

// checkUpstream looks for the toplevels alone: their closures are some thousand
// requests.
func checkUpstream(ctx context.Context, config *Upstream, toplevels []string) []Problem {
	u := &upstream{}
	if err := u.connect(config); err != nil {
		return []Problem{{Text: err.Error()}}
	}
	defer u.remote.client.CloseIdleConnections()
	text, err := u.remote.small(ctx, "nix-cache-info", maxCacheInfo)
	var store string
	if err == nil {
		if store, err = parseCacheInfo(text); err != nil {
			err = fmt.Errorf("%w: %w", errForGood, err)
		}
	}
	if err != nil {
		return []Problem{u.problem(err)}
	}
	u.store.Store(store)
	var found []Problem
	for _, toplevel := range toplevels {
		if err := u.check(ctx, toplevel); err != nil {
			found = append(found, u.problem(fmt.Errorf("%s: %w", toplevel, err)))
		}
	}
	return found
}

func (u *upstream) problem(err error) Problem {
	return Problem{Text: u.advise(err).Error(), Passing: !errors.Is(err, errForGood)}
}

func (u *upstream) check(ctx context.Context, toplevel string) error {
	base, err := narinfo.BaseOf(u.storeDir(), toplevel)
	if err != nil {
		return fmt.Errorf("%w: %w", errForGood, err)
	}
	text, err := u.remote.small(ctx, base[:hashLength]+".narinfo", narinfo.MaxText)
	if err != nil {
		return err
	}
	if _, err = u.believe(text, base); err != nil {
		return fmt.Errorf("%w: %w", errForGood, err)
	}
	return nil
}
