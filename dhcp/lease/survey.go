package lease

import (
	"context"
	"sync"
	"time"

	"ravenboot/internal/machine"
)

// How the survey goes; see the package comment.
const (
	surveyTick   = 250 * time.Millisecond
	surveyNew    = 32 // in a tick
	surveyAgain  = 4  // of the same
	surveyAfter  = 15 * time.Minute
	surveyValid  = 30 * time.Minute
	surveyFreely = 1 << 14 // addresses that nobody had, in all subnets together

	pruneEvery = time.Hour
	// rememberFor is how long a machine finds its former address again.
	rememberFor = 30 * 24 * time.Hour
)

// silent reports whether the address was probed not long ago, and nothing
// answered.
func (s *slot) silent(now time.Time) bool {
	return !s.probed.IsZero() && now.Sub(s.probed) <= surveyValid
}

// Run surveys free addresses ahead of time and forgets old leases, until ctx
// ends. A pool works without it, but then only probes when it is asked.
func (p *Pool) Run(ctx context.Context) error {
	survey := time.NewTicker(surveyTick)
	defer survey.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	p.prune()
	var echoes sync.WaitGroup
	defer echoes.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-prune.C:
			p.prune()
		case <-survey.C:
			// An echo outlasts a tick, so two ticks' are under way at most.
			p.survey(ctx, &echoes)
		}
	}
}

// survey probes the addresses that are due in a tick.
func (p *Pool) survey(ctx context.Context, echoes *sync.WaitGroup) {
	if p.prober == nil {
		return
	}
	for _, s := range p.due() {
		echoes.Go(func() {
			echo, cancel := context.WithTimeout(ctx, probeWait)
			defer cancel()
			answered := p.prober.InUse(echo, s.addr)
			if ctx.Err() == nil {
				p.surveyed(s, answered)
			}
		})
	}
}

// due takes the slots that are to be probed in this tick from those that wait,
// in all subnets in turn.
func (p *Pool) due() []*slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	var due []*slot
	again := 0
	p.turn++
	for i := range p.blocks {
		b := p.blocks[(p.turn+i)%len(p.blocks)]
		b.expire(now)
		most := (surveyNew - len(due)) / (len(p.blocks) - i)
		freely := surveyFreely / len(p.blocks)
		for range max(most, 1) {
			s := b.nextToSurvey(now, freely)
			if s == nil || len(due) == surveyNew || !s.probed.IsZero() && again == surveyAgain {
				break
			}
			if !s.probed.IsZero() {
				again++
			}
			b.survey.Remove(s.survey)
			s.survey = nil
			due = append(due, s)
		}
	}
	return due
}

// nextToSurvey is a free slot that was never probed or not for long, or nil.
// It makes slots for addresses that nobody had, up to freely of them.
func (b *block) nextToSurvey(now time.Time, freely int) *slot {
	s := first(&b.survey)
	if s != nil && s.probed.IsZero() {
		return s
	}
	if b.len(fresh) < min(freely, mostFresh) {
		if unseen := b.unseen(); unseen != nil {
			return unseen
		}
	}
	if s != nil && now.Sub(s.probed) >= surveyAfter {
		return s
	}
	return nil
}

// surveyed notes what the echo said.
func (p *Pool) surveyed(s *slot, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, now := p.blockOf(s.addr), p.Now()
	if b == nil || b.slots[s.addr] != s {
		return // a reload came in between
	}
	switch {
	case answered && (s.kind.free() || s.kind == offered):
		// If it is offered already, Confirm will refuse it.
		p.foundInUse(b, s, now)
	case answered: // by the machine that leased it meanwhile
	default:
		s.probed, s.warned = now, false
		if s.kind.free() && s.survey == nil {
			b.awaitSurvey(s)
		}
	}
}

// foundInUse sets an address aside that answered an echo.
func (p *Pool) foundInUse(b *block, s *slot, now time.Time) {
	if !s.warned {
		s.warned = true
		p.warn("address in use", "machine", s.mac, "step", "dhcp", "outcome", "set aside", "address", s.addr, "for", inUseAside,
			"reason", "something answers there that has no lease on it: find it (ip neigh shows its MAC) and make it a host with a fixed address, or take the address out of the range")
	}
	b.setAside(s, inUse, now.Add(inUseAside))
}

// prune forgets leases that ended long ago, so that the file doesn't grow for
// ever.
func (p *Pool) prune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	old := func(s *slot) bool { return now.Sub(s.stored) > rememberFor }
	for _, b := range p.blocks {
		b.expire(now)
		for s := b.front(former); s != nil && old(s); s = b.front(former) {
			p.forget(s)
			b.free(s, now)
		}
	}
	for addr, s := range p.outside {
		if old(s) {
			p.forget(s)
			delete(p.outside, addr)
		}
	}
}

func (p *Pool) forget(s *slot) {
	s.recorded, s.stored = machine.MAC{}, time.Time{}
	s.commit = p.store.DeleteLease(s.addr)
}
