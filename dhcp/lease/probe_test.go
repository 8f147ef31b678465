package lease

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// late is how much longer than 300 ms an answer may take on a loaded machine
// that runs the tests. Whatever waits for one more echo takes longer.
const late = 250 * time.Millisecond

func TestAddressInUseIsSetAside(t *testing.T) {
	network := quiet("192.0.2.10", "192.0.2.12")
	b := start(t, lab("192.0.2.13"), network)
	b.lease(1, "192.0.2.11")
	b.lease(2, "192.0.2.13")
	b.logs("address in use", "192.0.2.10", "192.0.2.12", "reason=")
	b.offer(3, "", "")
	if s := b.stats(); s.InUse != 2 {
		t.Errorf("%+v", s)
	}
	b.offer(1, "", "192.0.2.11")
	b.offer(1, "", "192.0.2.11")
	if n := network.times("192.0.2.11"); n != 1 {
		t.Errorf("the address was probed %d times, though the machine has a lease on it", n)
	}
	b.wait(inUseAside)
	delete(network.at, ip("192.0.2.12"))
	b.lease(3, "192.0.2.12") // .10 still answers
	b.wait(2 * time.Hour)
	b.offer(1, "", "192.0.2.11")
	if n := network.times("192.0.2.11"); n != 2 {
		t.Errorf("the address was probed %d times, want once more after its lease", n)
	}
}

// TestSilenceHoldsUpForAShortTime has one machine on a network where nothing
// answers, and one that meets one squatter after the other.
func TestSilenceHoldsUpForAShortTime(t *testing.T) {
	b := start(t, lab("192.0.2.13"), &squatters{at: map[netip.Addr]bool{ip("192.0.2.11"): true}})
	began := time.Now()
	b.offer(1, "", "192.0.2.10")
	if took := time.Since(began); took < probeWait || took > probeWait+late {
		t.Errorf("the first offer took %v", took)
	}
	began = time.Now()
	b.offer(1, "", "192.0.2.10")
	if took := time.Since(began); took > probeWait {
		t.Errorf("the same offer once more took %v", took)
	}
	began = time.Now()
	b.offer(2, "", "192.0.2.12") // .11 answers at once
	if took := time.Since(began); took > probeWait+late {
		t.Errorf("after a squatter it took %v", took)
	}
}

// TestStorm has many new machines at the same moment on a silent network.
func TestStorm(t *testing.T) {
	network := &squatters{}
	b := start(t, lab("192.0.2.249"), network)
	surveyAll(b, 200)
	began := time.Now()
	var wg sync.WaitGroup
	for m := range 200 {
		wg.Go(func() {
			if _, err := b.pool.Offer(t.Context(), b.sub(), mac(m), none, none); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > probeWait+late {
		t.Errorf("200 machines waited %v", took)
	}
	if s := b.stats(); s.Offered != 200 || s.Unprobed != 0 {
		t.Errorf("%+v", s)
	}
	for m := range 60 {
		if _, err := b.pool.Offer(t.Context(), b.sub(), mac(1000+m), none, none); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.stats(); s.Unprobed == 0 {
		t.Errorf("%+v: the survey was used up", s)
	}
	b.logs("offered unprobed")
}

// TestCalm counts the machines that wait for an echo of their own when others
// come all the time, a while after the first.
func TestCalm(t *testing.T) {
	const seconds = 20
	for _, c := range []struct{ perSecond, least, most int }{
		{10, 10, 10},
		{20, 15, 16},
		{64, 8, 10},
		{129, 0, 0},
		{10000, 0, 0},
	} {
		now, calm, waited := time.Unix(1e9, 0), bucket{}, 0
		for i := range c.perSecond * seconds {
			now = now.Add(time.Second / time.Duration(c.perSecond))
			if calm.take(now) && i >= c.perSecond*seconds/2 {
				waited++
			}
		}
		if n := waited / (seconds / 2); n < c.least || n > c.most {
			t.Errorf("%d a second: %d wait in a second, want %d to %d", c.perSecond, n, c.least, c.most)
		}
		if now = now.Add(time.Second); !calm.take(now) {
			t.Errorf("%d a second: the first machine after the storm does not wait", c.perSecond)
		}
	}
}

// surveyAll runs the survey until n addresses are surveyed.
func surveyAll(b *bench, n int) {
	b.t.Helper()
	for range 1000 {
		var echoes sync.WaitGroup
		b.pool.survey(b.t.Context(), &echoes)
		if echoes.Wait(); b.stats().Surveyed >= n {
			return
		}
	}
	b.t.Fatalf("surveyed %d of %d", b.stats().Surveyed, n)
}

func TestSurvey(t *testing.T) {
	network := quiet("192.0.2.11", "192.0.2.30")
	b := start(t, lab("192.0.2.39"), network)
	b.lease(1, "192.0.2.10")
	surveyAll(b, 27)
	if s := b.stats(); s.InUse != 2 {
		t.Errorf("%+v", s)
	}
	asked := len(network.asked)
	var echoes sync.WaitGroup
	b.pool.survey(t.Context(), &echoes)
	if echoes.Wait(); len(network.asked) != asked {
		t.Error("surveyed again at once")
	}
	b.wait(surveyAfter)
	b.pool.survey(t.Context(), &echoes)
	echoes.Wait()
	if n := len(network.asked) - asked; n == 0 || n > 2+surveyAgain {
		t.Errorf("a quarter of an hour later %d were surveyed in a tick", n)
	}
	b.wait(2 * time.Hour) // the lease of .10 ends, it joins the others
	surveyAll(b, 28)
	b.wait(surveyValid + time.Second)
	if s := b.stats(); s.Surveyed != 0 {
		t.Errorf("what was silent long ago counts: %+v", s)
	}
}

// TestSurveyFindsAnOfferInUse has a machine switched on at an address after it
// was offered.
func TestSurveyFindsAnOfferInUse(t *testing.T) {
	b := start(t, lab("192.0.2.13"), nil)
	due := b.pool.due()
	b.offer(1, "", "192.0.2.10")
	b.lease(2, "192.0.2.11")
	for _, s := range due {
		b.pool.surveyed(s, true)
	}
	b.confirm(1, "192.0.2.10", ErrNotYours)
	b.confirm(2, "192.0.2.11", nil) // it is the machine itself that answers
	if s := b.stats(); s.InUse != 3 || s.Leased != 1 {
		t.Errorf("%+v", s)
	}
	b.reload(lab("192.0.2.13"))
	for _, s := range due {
		b.pool.surveyed(s, false)
	}
	b.stats()
}

// gate is a prober that says when it is asked and answers when it is told.
type gate struct {
	asked  chan netip.Addr
	answer chan bool
}

func (g *gate) InUse(ctx context.Context, addr netip.Addr) bool {
	g.asked <- addr
	return <-g.answer
}

// TestWhileAnEchoIsAwaited does everything to an offer that can be done while
// it waits.
func TestWhileAnEchoIsAwaited(t *testing.T) {
	type result struct {
		Lease
		error
	}
	for name, row := range map[string]struct {
		meanwhile func(b *bench)
		want      string
		err       error
	}{
		"nothing": {func(b *bench) {}, "192.0.2.10", nil},
		"the same DISCOVER through a second relay": {func(b *bench) {
			if _, err := b.pool.Offer(b.t.Context(), b.sub(), mac(1), none, none); !errors.Is(err, ErrInProgress) {
				b.t.Error(err)
			}
		}, "192.0.2.10", nil},
		"a REQUEST out of turn":     {func(b *bench) { b.confirm(1, "192.0.2.10", ErrInProgress) }, "192.0.2.10", nil},
		"the packet's time is over": {func(b *bench) { b.cancel() }, "", context.Canceled},
		"its release":               {func(b *bench) { b.pool.Release(mac(1), ip("192.0.2.10")) }, "192.0.2.10", nil},
		"a reload":                  {func(b *bench) { b.reload(lab("192.0.2.11")) }, "192.0.2.10", nil},
		"a reload without it": {func(b *bench) {
			b.reload(lab("192.0.2.11"), ip("192.0.2.10"))
		}, "192.0.2.11", nil},
		"a reload without the subnet": {func(b *bench) { _ = b.pool.SetSubnets(nil, nil) }, "", errGone},
		"the survey finds it in use": {func(b *bench) {
			b.pool.surveyed(b.pool.blocks[0].slots[ip("192.0.2.10")], true)
		}, "192.0.2.11", nil},
		"another machine is given it": {func(b *bench) {
			b.pool.calm = bucket{used: 1e9, last: b.now}
			b.offer(2, "", "192.0.2.11")
			b.offer(3, "", "192.0.2.10")
			b.confirm(3, "192.0.2.10", nil)
			b.confirm(2, "192.0.2.11", nil)
		}, "", ErrNoAddress},
		"another is given it, and the machine asks again": {func(b *bench) {
			b.pool.calm = bucket{used: 1e9, last: b.now}
			b.offer(2, "", "192.0.2.11")
			b.offer(3, "", "192.0.2.10")
			b.offer(1, "", "192.0.2.11")
			b.confirm(1, "192.0.2.11", nil)
		}, "", ErrInProgress},
	} {
		stories := func(t *testing.T, returning bool) {
			g := &gate{asked: make(chan netip.Addr, 10), answer: make(chan bool, 10)}
			b := start(t, lab("192.0.2.11"), nil)
			if returning {
				b.lease(1, "192.0.2.10")
				b.pool.Release(mac(1), ip("192.0.2.10"))
			}
			b.pool.prober = g
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.cancel = cancel
			sub, done := b.sub(), make(chan result)
			go func() {
				l, err := b.pool.Offer(ctx, sub, mac(1), none, none)
				done <- result{l, err}
			}()
			<-g.asked
			row.meanwhile(b)
			close(g.answer) // false, for whatever is asked
			got := <-done
			if !errors.Is(got.error, row.err) || row.err == nil && got.Addr != ip(row.want) {
				t.Errorf("%v, %v, want %s, %v", got.Addr, got.error, row.want, row.err)
			}
			if row.want != "" {
				if s := b.stats(); s.Offered != 1 {
					t.Errorf("the address is not held: %+v", s)
				}
				b.confirm(1, row.want, nil)
			}
		}
		t.Run(name, func(t *testing.T) { stories(t, false) })
		t.Run(name+", of a machine that had it before", func(t *testing.T) { stories(t, true) })
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	network := &squatters{}
	b := start(t, lab("192.0.2.13"), network)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.pool.Run(ctx) }()
	for b.stats().Surveyed < 4 {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
