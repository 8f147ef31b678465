package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

var (
	discard = slog.New(slog.DiscardHandler)
	none    netip.Addr
)

// memory is a store that is as lasting as the test.
type memory struct {
	mu      sync.Mutex
	leases  map[netip.Addr]state.Lease
	puts    int
	failing error
}

func (m *memory) Leases() ([]state.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.leases)), m.failing
}

func (m *memory) PutLease(l state.Lease) *state.Commit {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if m.failing == nil {
		if m.leases == nil {
			m.leases = make(map[netip.Addr]state.Lease)
		}
		m.leases[l.Addr] = l
	}
	return state.Committed(m.failing)
}

func (m *memory) DeleteLease(addr netip.Addr) *state.Commit {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.leases, addr)
	return state.Committed(nil)
}

// squatters is a network on which some addresses are in use. Silence costs the
// caller its whole wait, as on a real one.
type squatters struct {
	mu    sync.Mutex
	at    map[netip.Addr]bool
	asked []netip.Addr
	quick bool // silence is heard at once
}

func (q *squatters) InUse(ctx context.Context, addr netip.Addr) bool {
	q.mu.Lock()
	q.asked = append(q.asked, addr)
	used, quick := q.at[addr], q.quick
	q.mu.Unlock()
	if !used && !quick {
		<-ctx.Done()
	}
	return used
}

func (q *squatters) times(addr string) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.asked {
		if a == ip(addr) {
			n++
		}
	}
	return n
}

func quiet(inUse ...string) *squatters {
	q := &squatters{at: map[netip.Addr]bool{}, quick: true}
	for _, s := range inUse {
		q.at[ip(s)] = true
	}
	return q
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(i int) machine.MAC {
	return machine.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

// lab is a subnet of few addresses: 192.0.2.10 to the one given.
func lab(last string) Subnet {
	return Subnet{
		Network: netip.MustParsePrefix("192.0.2.0/24"), Router: []netip.Addr{ip("192.0.2.1")},
		Ranges: []Range{{ip("192.0.2.10"), ip(last)}}, Lease: time.Hour,
	}
}

// bench is a pool with everything around it.
type bench struct {
	t      testing.TB
	pool   *Pool
	store  *memory
	now    time.Time
	logged bytes.Buffer
	cancel func() // of the packet in work
}

func start(t testing.TB, sub Subnet, prober Prober, reserved ...netip.Addr) *bench {
	t.Helper()
	b := &bench{t: t, store: &memory{}, now: time.Unix(1_700_000_000, 0)}
	b.restart(sub, prober, reserved...)
	return b
}

func (b *bench) restart(sub Subnet, prober Prober, reserved ...netip.Addr) {
	b.t.Helper()
	var err error
	b.pool, err = NewPool([]Subnet{sub}, reserved, b.store, prober, slog.New(slog.NewTextHandler(&b.logged, nil)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.pool.Now = func() time.Time { return b.now }
}

func (b *bench) sub() *Subnet { return b.pool.Subnet(ip("192.0.2.1")) }

func (b *bench) wait(d time.Duration) { b.now = b.now.Add(d) }

// offer wants a machine to be offered an address; "" for none.
func (b *bench) offer(m int, requested, want string) {
	b.t.Helper()
	request, _ := netip.ParseAddr(requested)
	l, err := b.pool.Offer(b.t.Context(), b.sub(), mac(m), none, request)
	switch {
	case want == "" && !errors.Is(err, ErrNoAddress):
		b.t.Errorf("machine %d was offered %v, %v, want ErrNoAddress", m, l.Addr, err)
	case want != "" && (err != nil || l.Addr != ip(want)):
		b.t.Errorf("machine %d was offered %v, %v, want %s", m, l.Addr, err, want)
	}
}

func (b *bench) confirm(m int, addr string, want error) {
	b.t.Helper()
	l, err := b.pool.Confirm(b.t.Context(), b.sub(), mac(m), none, ip(addr))
	if !errors.Is(err, want) || err == nil && (l.Addr != ip(addr) || l.MAC != mac(m) || l.Subnet != b.sub()) {
		b.t.Errorf("machine %d confirms %s: %+v, %v, want %v", m, addr, l, err, want)
	}
}

// lease wants a machine to get an address, all the way.
func (b *bench) lease(m int, want string) {
	b.t.Helper()
	b.offer(m, "", want)
	b.confirm(m, want, nil)
}

func (b *bench) stats() SubnetStats {
	b.t.Helper()
	s := b.pool.Stats()[0]
	if s.Free+s.Leased+s.Offered+s.Declined+s.InUse != s.Size || s.Free < 0 {
		b.t.Errorf("the counts don't add up: %+v", s)
	}
	return s
}

func (b *bench) logs(words ...string) {
	b.t.Helper()
	for _, w := range words {
		if !strings.Contains(b.logged.String(), w) {
			b.t.Errorf("the log has no %q:\n%s", w, &b.logged)
		}
	}
}

func TestChoice(t *testing.T) {
	for name, story := range map[string]func(b *bench){
		"those that nobody had come first, then the one that is free for longest": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.wait(time.Minute)
			b.lease(2, "192.0.2.11")
			b.wait(2 * time.Hour)
			b.lease(3, "192.0.2.12")
			b.lease(4, "192.0.2.13")
			b.lease(5, "192.0.2.10")
			b.lease(6, "192.0.2.11")
			b.offer(7, "", "")
		},
		"a machine finds its address again after its lease": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.lease(2, "192.0.2.11")
			b.wait(48 * time.Hour)
			b.lease(2, "192.0.2.11")
			b.lease(1, "192.0.2.10")
		},
		"and after its release": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.pool.Release(mac(1), ip("192.0.2.10"))
			b.lease(2, "192.0.2.11")
			b.lease(1, "192.0.2.10")
		},
		"and after another was only offered it": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.pool.Release(mac(1), ip("192.0.2.10"))
			b.offer(2, "192.0.2.10", "192.0.2.10")
			b.wait(offerHold)
			b.lease(3, "192.0.2.11")
			b.lease(1, "192.0.2.10")
		},
		"and after a restart": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.lease(2, "192.0.2.11")
			b.restart(lab("192.0.2.13"), nil)
			b.lease(3, "192.0.2.12")
			b.lease(2, "192.0.2.11")
			b.wait(48 * time.Hour)
			b.restart(lab("192.0.2.13"), nil)
			b.lease(2, "192.0.2.11")
		},
		"a requested address is honoured if it is free": func(b *bench) {
			b.offer(1, "192.0.2.12", "192.0.2.12")
			b.offer(2, "192.0.2.12", "192.0.2.10")
			b.confirm(1, "192.0.2.12", nil)
			b.offer(3, "192.0.2.12", "192.0.2.11")
			b.offer(1, "192.0.2.13", "192.0.2.12") // it has one
			b.offer(4, "192.0.2.14", "192.0.2.13") // outside the range
			b.offer(5, "192.0.2.1", "192.0.2.10")  // the pool is full of offers
		},
		"an offer is repeated and held": func(b *bench) {
			b.offer(1, "", "192.0.2.10")
			b.wait(offerHold - time.Second)
			b.offer(1, "", "192.0.2.10")
			b.wait(offerHold - time.Second)
			b.offer(2, "", "192.0.2.11")
			b.confirm(1, "192.0.2.10", nil)
		},
		"a pool full of offers gives the oldest away": func(b *bench) {
			for m := range 4 {
				b.offer(m, "", []string{"192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13"}[m])
			}
			b.confirm(1, "192.0.2.11", nil)
			b.offer(4, "", "192.0.2.10")
			b.offer(5, "", "192.0.2.12")
			b.confirm(0, "192.0.2.10", ErrNotYours)
			b.confirm(4, "192.0.2.10", nil)
		},
		"a lease that is about to end holds for an offer": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.wait(time.Hour - time.Second)
			b.offer(1, "", "192.0.2.10")
			b.wait(5 * time.Second)
			b.offer(2, "192.0.2.10", "192.0.2.11")
			b.confirm(1, "192.0.2.10", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, lab("192.0.2.13"), nil)
			story(b)
			b.stats()
		})
	}
}

func TestConfirm(t *testing.T) {
	small := lab("192.0.2.13")
	for name, story := range map[string]func(b *bench){
		"INIT-REBOOT of a stranger": func(b *bench) {
			b.confirm(1, "192.0.2.10", ErrUnknown)
			b.confirm(1, "192.0.2.200", ErrUnknown)   // another server's, perhaps
			b.confirm(1, "198.51.100.7", ErrNotYours) // wrong network
			b.confirm(1, "192.0.2.1", ErrNotYours)    // the router's
			b.confirm(1, "192.0.2.255", ErrNotYours)
		},
		"another's address": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.confirm(2, "192.0.2.10", ErrNotYours)
			b.lease(2, "192.0.2.11")
			b.confirm(2, "192.0.2.10", ErrNotYours)
			b.confirm(2, "192.0.2.12", ErrNotYours)
			b.confirm(2, "192.0.2.11", nil)
		},
		"renewal after the end, while it is free": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.wait(2 * time.Hour)
			b.confirm(1, "192.0.2.10", nil)
			b.offer(2, "192.0.2.10", "192.0.2.11")
		},
		"restarted between offer and request": func(b *bench) {
			b.offer(1, "", "192.0.2.10")
			b.restart(small, nil)
			b.confirm(1, "192.0.2.10", ErrUnknown)
			b.offer(1, "192.0.2.10", "192.0.2.10")
			b.confirm(1, "192.0.2.10", nil)
		},
		"the range was made smaller": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.lease(2, "192.0.2.11")
			b.reload(lab("192.0.2.10"))
			b.confirm(1, "192.0.2.10", nil)
			b.confirm(2, "192.0.2.11", ErrNotYours)
			b.offer(2, "", "")
			b.reload(small)
			b.confirm(2, "192.0.2.11", nil)
			b.restart(lab("192.0.2.10"), nil)
			b.confirm(2, "192.0.2.11", ErrNotYours)
		},
		"moved because its address was reserved, and then the reservation goes": func(b *bench) {
			b.lease(1, "192.0.2.10")
			b.reload(small, ip("192.0.2.10"))
			b.lease(1, "192.0.2.11")
			b.reload(small)
			b.offer(1, "", "192.0.2.11")
			b.offer(2, "", "192.0.2.10")
			b.restart(small, nil)
			b.offer(1, "", "192.0.2.11")
		},
		"a reload keeps offers and what is set aside": func(b *bench) {
			b.offer(1, "", "192.0.2.10")
			b.lease(2, "192.0.2.11")
			b.pool.Decline(mac(2), ip("192.0.2.11"))
			b.reload(small)
			b.offer(3, "", "192.0.2.12")
			b.confirm(1, "192.0.2.10", nil)
			if s := b.stats(); s.Declined != 1 || s.Leased != 1 || s.Offered != 1 {
				b.t.Errorf("%+v", s)
			}
		},
		"the subnet is gone": func(b *bench) {
			sub := b.sub()
			if err := b.pool.SetSubnets(nil, nil); err != nil {
				b.t.Fatal(err)
			}
			if _, err := b.pool.Confirm(b.t.Context(), sub, mac(1), none, ip("192.0.2.10")); !errors.Is(err, errGone) {
				b.t.Error(err)
			}
			if _, err := b.pool.Offer(b.t.Context(), sub, mac(1), none, none); !errors.Is(err, errGone) {
				b.t.Error(err)
			}
			b.pool.Release(mac(1), ip("192.0.2.10"))
			b.pool.Decline(mac(1), ip("192.0.2.10"))
			b.reload(small)
			b.stats()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, small, nil)
			story(b)
			if len(b.pool.blocks) > 0 {
				b.stats()
			}
		})
	}
}

func (b *bench) reload(sub Subnet, reserved ...netip.Addr) {
	b.t.Helper()
	if err := b.pool.SetSubnets([]Subnet{sub}, reserved); err != nil {
		b.t.Fatal(err)
	}
}

func TestFixedAddresses(t *testing.T) {
	own, far := ip("192.0.2.10"), ip("198.51.100.7")
	b := start(t, lab("192.0.2.12"), nil, own, ip("192.0.2.12"))
	b.lease(1, "192.0.2.11") // .10 and .12 are others'
	b.offer(2, "192.0.2.10", "")
	b.confirm(2, "192.0.2.10", ErrNotYours)
	for range 2 {
		l, err := b.pool.Offer(t.Context(), b.sub(), mac(3), own, none)
		if err != nil || l.Addr != own || !l.Fixed {
			t.Fatalf("%+v, %v", l, err)
		}
		l, err = b.pool.Confirm(t.Context(), b.sub(), mac(3), own, own)
		if err != nil || l.Addr != own || !l.Fixed || l.Expires != b.now.Add(time.Hour) {
			t.Fatalf("%+v, %v", l, err)
		}
	}
	if _, err := b.pool.Confirm(t.Context(), b.sub(), mac(3), own, ip("192.0.2.12")); !errors.Is(err, ErrNotYours) {
		t.Error(err)
	}
	b.pool.Release(mac(1), ip("192.0.2.11"))
	// A host on another network than usual gets an address of that one.
	if l, err := b.pool.Offer(t.Context(), b.sub(), mac(3), far, none); err != nil || l.Fixed || l.Addr != ip("192.0.2.11") {
		t.Errorf("%+v, %v", l, err)
	}
	b.pool.Decline(mac(3), own)
	b.logs("fixed address declined")
}

// TestAddressFixedWhileLeased gives a host an address that another machine has.
func TestAddressFixedWhileLeased(t *testing.T) {
	b := start(t, lab("192.0.2.12"), nil)
	b.lease(1, "192.0.2.10")
	b.lease(2, "192.0.2.11")
	fixed := ip("192.0.2.10")
	b.reload(lab("192.0.2.12"), fixed)
	l, err := b.pool.Offer(t.Context(), b.sub(), mac(2), fixed, none)
	if err != nil || l.Addr != ip("192.0.2.11") {
		t.Errorf("the host was offered %v, %v, want what it has", l.Addr, err)
	}
	b.logs("fixed address taken", mac(1).String())
	b.confirm(1, "192.0.2.10", ErrNotYours) // its renewal
	b.wait(90 * time.Minute)
	l, err = b.pool.Confirm(t.Context(), b.sub(), mac(2), fixed, fixed)
	if err != nil || !l.Fixed {
		t.Errorf("after the lease: %+v, %v", l, err)
	}
	if s := b.stats(); s.Size != 2 || s.Leased != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDecline(t *testing.T) {
	b := start(t, lab("192.0.2.17"), nil) // eight addresses, of which two can be set aside
	b.lease(1, "192.0.2.10")
	b.lease(2, "192.0.2.11")
	b.pool.Decline(mac(1), ip("192.0.2.11")) // not its own
	b.pool.Decline(mac(3), ip("192.0.2.12"))
	b.pool.Decline(mac(3), ip("203.0.113.1"))
	if s := b.stats(); s.Declined != 0 {
		t.Fatalf("%+v", s)
	}
	b.pool.Decline(mac(1), ip("192.0.2.10"))
	b.logs("address declined", "192.0.2.10", mac(1).String())
	b.confirm(1, "192.0.2.10", ErrNotYours)
	b.offer(1, "192.0.2.10", "192.0.2.12")
	if _, kept := b.store.leases[ip("192.0.2.10")]; kept {
		t.Error("after a restart the address would be the machine's again")
	}
	b.wait(declineAside)
	b.offer(5, "192.0.2.10", "192.0.2.10")

	// A hostile machine declines everything that it gets.
	for m := range 1000 {
		l, err := b.pool.Offer(t.Context(), b.sub(), mac(100+m), none, none)
		if err != nil {
			t.Fatal(err)
		}
		b.pool.Decline(mac(100+m), l.Addr)
	}
	if s := b.stats(); s.Declined != 2 || s.Free == 0 {
		t.Errorf("%+v", s)
	}
	if lines := strings.Count(b.logged.String(), "\n"); lines < lineBurst || lines > 500 {
		t.Errorf("%d lines of the log for 1,000 declines", lines)
	}
}

func TestRelease(t *testing.T) {
	b := start(t, lab("192.0.2.12"), nil)
	b.lease(1, "192.0.2.10")
	b.pool.Release(mac(2), ip("192.0.2.10"))
	b.pool.Release(mac(1), ip("192.0.2.11"))
	b.pool.Release(mac(1), ip("203.0.113.1"))
	if s := b.stats(); s.Leased != 1 {
		t.Errorf("a stranger released it: %+v", s)
	}
	b.pool.Release(mac(1), ip("192.0.2.10"))
	b.pool.Release(mac(1), ip("192.0.2.10"))
	if s := b.stats(); s.Leased != 0 || b.store.puts != 2 {
		t.Errorf("%+v, %d writes", s, b.store.puts)
	}
	b.restart(lab("192.0.2.12"), nil)
	if s := b.stats(); s.Leased != 0 {
		t.Errorf("the release was forgotten: %+v", s)
	}
}

// TestWrites counts what reaches the disk, and that what is there is never
// earlier than what a machine was told.
func TestWrites(t *testing.T) {
	b := start(t, lab("192.0.2.12"), nil)
	b.offer(1, "", "192.0.2.10")
	b.offer(1, "", "192.0.2.10")
	for _, puts := range []int{1, 1, 1, 1, 2, 2, 2, 2, 3} { // a renewal every ten minutes
		l, err := b.pool.Confirm(t.Context(), b.sub(), mac(1), none, ip("192.0.2.10"))
		if err != nil {
			t.Fatal(err)
		}
		if kept := b.store.leases[l.Addr]; kept.Expires.Before(l.Expires) || kept.MAC != mac(1) {
			t.Errorf("told %v, kept %+v", l.Expires, kept)
		}
		if b.store.puts != puts {
			t.Errorf("%d writes, want %d", b.store.puts, puts)
		}
		b.wait(10 * time.Minute)
	}
}

func TestStoreFails(t *testing.T) {
	b := start(t, lab("192.0.2.12"), nil)
	b.store.failing = errors.New("disk full")
	b.offer(1, "", "192.0.2.10")
	for range 2 {
		b.confirm(1, "192.0.2.10", b.store.failing)
	}
	b.store.failing = nil
	b.confirm(1, "192.0.2.10", nil)
	if len(b.store.leases) != 1 {
		t.Error("the lease was confirmed and not written")
	}
	b.store.failing = errors.New("can't read")
	if _, err := NewPool(nil, nil, b.store, nil, discard); !errors.Is(err, b.store.failing) {
		t.Error(err)
	}
}

// TestFlood has a stranger send DISCOVERs with ever new MACs.
func TestFlood(t *testing.T) {
	big := Subnet{
		Network: netip.MustParsePrefix("10.0.0.0/8"), Lease: time.Hour,
		Ranges: []Range{{ip("10.0.0.0"), ip("10.255.255.255")}},
	}
	b := &bench{t: t, store: &memory{}, now: time.Unix(1_700_000_000, 0)}
	b.restart(big, nil)
	sub := b.pool.Subnet(ip("10.0.0.1"))
	for i := range 200_000 {
		requested := netip.AddrFrom4([4]byte{10, byte(i * 7), byte(i >> 8), byte(i)})
		if _, err := b.pool.Offer(t.Context(), sub, mac(i), none, requested); err != nil {
			t.Fatal(err)
		}
	}
	block := b.pool.blocks[0]
	if b.store.puts != 0 || len(block.slots) > mostOffers+mostFresh || len(block.byMAC) > mostOffers {
		t.Errorf("%d writes, %d slots, %d machines", b.store.puts, len(block.slots), len(block.byMAC))
	}
	b.stats()
	b.wait(offerHold)
	if s := b.stats(); s.Offered != 0 || s.Size != 1<<24-2 {
		t.Errorf("%+v", s)
	}
}

func TestEveryAddressIsHandedOutOnce(t *testing.T) {
	sub := Subnet{
		Network: netip.MustParsePrefix("10.0.0.0/16"), Lease: time.Hour, DNS: []netip.Addr{ip("10.0.3.3")},
		Ranges: []Range{{ip("10.0.200.0"), ip("10.0.255.255")}, {ip("10.0.0.0"), ip("10.0.99.255")}},
	}
	b := &bench{t: t, store: &memory{}, now: time.Unix(1_700_000_000, 0)}
	b.restart(sub, nil, ip("10.0.0.2"), ip("10.0.100.0"), ip("10.0.3.3"))
	conf := b.pool.Subnet(ip("10.0.1.1"))
	want := 156*256 - 4 // network, broadcast, DNS, reserved
	seen := map[netip.Addr]bool{}
	for i := range want {
		l, err := b.pool.Offer(t.Context(), conf, mac(i), none, none)
		if err != nil || seen[l.Addr] {
			t.Fatalf("machine %d: %v, %v", i, l.Addr, err)
		}
		if _, err := b.pool.Confirm(t.Context(), conf, mac(i), none, l.Addr); err != nil {
			t.Fatal(err)
		}
		seen[l.Addr] = true
	}
	if l, err := b.pool.Offer(t.Context(), conf, mac(want), none, none); !errors.Is(err, ErrNoAddress) {
		t.Errorf("one more: %v, %v", l, err)
	}
	if s := b.stats(); s.Size != want || s.Free != 0 {
		t.Errorf("%+v, want %d", s, want)
	}
}

// TestTwoRecordsOfAMachine is what a kill leaves between the record of its new
// address and the removal of its old one.
func TestTwoRecordsOfAMachine(t *testing.T) {
	for range 20 { // records come in any order
		b := start(t, lab("192.0.2.12"), nil)
		for addr, minutes := range map[string]time.Duration{"192.0.2.10": 30, "192.0.2.11": 60} {
			b.store.PutLease(state.Lease{Addr: ip(addr), MAC: mac(1), Expires: b.now.Add(minutes * time.Minute)})
		}
		b.restart(lab("192.0.2.12"), nil)
		b.offer(1, "", "192.0.2.11")
		b.offer(2, "192.0.2.10", "192.0.2.12")
		b.wait(45 * time.Minute)
		b.offer(1, "", "192.0.2.11")
		b.confirm(1, "192.0.2.10", ErrNotYours)
		b.lease(3, "192.0.2.12")
		b.lease(4, "192.0.2.10")
		b.wait(20 * time.Minute)
		b.lease(1, "192.0.2.11")
	}
}

func TestPrune(t *testing.T) {
	b := start(t, lab("192.0.2.13"), nil)
	b.lease(1, "192.0.2.10")
	b.lease(2, "192.0.2.11")
	b.wait(rememberFor)
	b.lease(2, "192.0.2.11")
	b.lease(3, "192.0.2.12")
	b.reload(lab("192.0.2.11"))
	b.pool.prune()
	if len(b.store.leases) != 3 {
		t.Errorf("too early: %v", b.store.leases)
	}
	b.wait(2 * time.Hour)
	b.pool.prune()
	if _, kept := b.store.leases[ip("192.0.2.10")]; kept || len(b.store.leases) != 2 {
		t.Errorf("kept %v", b.store.leases)
	}
	b.wait(rememberFor + 2*time.Hour)
	b.pool.prune()
	if len(b.store.leases) != 0 || len(b.pool.outside) != 0 {
		t.Errorf("kept %v, %v", b.store.leases, b.pool.outside)
	}
	b.stats()
}

func TestRefusedSubnets(t *testing.T) {
	b := start(t, lab("192.0.2.13"), nil)
	change := func(f func(*Subnet)) []Subnet {
		s := lab("192.0.2.13")
		f(&s)
		return []Subnet{s}
	}
	for name, subnets := range map[string][]Subnet{
		"IPv6":             change(func(s *Subnet) { s.Network = netip.MustParsePrefix("fe80::/64") }),
		"no lease time":    change(func(s *Subnet) { s.Lease = 0 }),
		"range outside":    change(func(s *Subnet) { s.Ranges[0].Last = ip("192.0.3.1") }),
		"range backwards":  change(func(s *Subnet) { s.Ranges[0].Last = ip("192.0.2.9") }),
		"range of nothing": change(func(s *Subnet) { s.Ranges[0] = Range{} }),
		"ranges overlap":   change(func(s *Subnet) { s.Ranges = append(s.Ranges, Range{ip("192.0.2.5"), ip("192.0.2.30")}) }),
		"twice the same":   {lab("192.0.2.13"), lab("192.0.2.13")},
	} {
		if err := b.pool.SetSubnets(subnets, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b.lease(1, "192.0.2.10") // the old configuration is in force
}
