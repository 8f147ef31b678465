package lease

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

var campus = Subnet{
	Network: netip.MustParsePrefix("10.0.0.0/16"), Lease: time.Hour,
	Ranges: []Range{{ip("10.0.1.0"), ip("10.0.255.255")}},
}

func openPool(t *testing.T, dir string, subnet Subnet, prober Prober) (*Pool, *state.State) {
	t.Helper()
	store, err := state.Open(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := NewPool([]Subnet{subnet}, nil, store, prober, discard)
	if err != nil {
		t.Fatal(err)
	}
	return pool, store
}

// confirmer names the directory in which the test binary, started again by
// TestKilled, confirms leases until it is killed.
const confirmer = "RAVENBOOT_TEST_CONFIRMER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(confirmer) != "":
		confirmForEver(os.Getenv(confirmer))
	case os.Getenv(pinger) != "":
		pingInNamespace()
	default:
		os.Exit(m.Run())
	}
}

// confirmForEver prints every lease that it has confirmed.
func confirmForEver(dir string) {
	store, err := state.Open(dir, discard)
	if err != nil {
		panic(err)
	}
	pool, err := NewPool([]Subnet{campus}, nil, store, nil, discard)
	if err != nil {
		panic(err)
	}
	var n atomic.Int64
	for range 32 {
		go func() {
			for {
				m := mac(int(n.Add(1)) % 60_000)
				l, err := grant(pool, m)
				if err != nil {
					panic(err)
				}
				fmt.Printf("%v %v %d\n", m, l.Addr, l.Expires.UnixNano())
			}
		}()
	}
	select {}
}

// grant does what a server does for a DISCOVER and the REQUEST after it.
func grant(pool *Pool, m machine.MAC) (Lease, error) {
	sub := pool.Subnet(ip("10.0.0.1"))
	l, err := pool.Offer(bg, sub, m, none, none)
	if err != nil {
		return l, err
	}
	return pool.Confirm(bg, sub, m, none, l.Addr)
}

// TestKilled kills a server with -9 in the middle of a stream of leases, three
// times, and wants to find every one that it had confirmed.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	confirmed := map[machine.MAC]promise{}
	for round := range 3 {
		server := exec.Command(os.Args[0])
		server.Env = append(os.Environ(), confirmer+"="+dir)
		server.Stderr = os.Stderr
		out, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 3000 {
				if err := server.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			var m, addr string
			var expires int64
			if _, err := fmt.Sscan(lines.Text(), &m, &addr, &expires); err != nil {
				break // cut by the kill
			}
			who, err := machine.ParseMAC(m)
			if err != nil {
				t.Fatal(err)
			}
			confirmed[who] = promise{ip(addr), time.Unix(0, expires)}
		}
		server.Wait()
		if len(confirmed) < 3000 {
			t.Fatalf("round %d: %d leases", round, len(confirmed))
		}
		store, err := state.Open(dir, discard)
		if err != nil {
			t.Fatal(err)
		}
		kept := map[netip.Addr]state.Lease{}
		leases, err := store.Leases()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leases {
			kept[l.Addr] = l
		}
		for m, told := range confirmed {
			if l := kept[told.addr]; l.MAC != m || l.Expires.Before(told.until) {
				t.Fatalf("round %d: %v was told %v until %v, kept is %+v", round, m, told.addr, told.until, l)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	pool, store := openPool(t, dir, campus, nil)
	defer store.Close()
	for m, told := range confirmed {
		if l, err := grant(pool, m); err != nil || l.Addr != told.addr {
			t.Fatalf("%v had %v and is given %v, %v", m, told.addr, l.Addr, err)
		}
	}
}

// TestNoAddressTwice has many more machines than addresses, which come, go,
// decline, and are probed and surveyed, all at once.
func TestNoAddressTwice(t *testing.T) {
	small := campus
	small.Ranges = []Range{{ip("10.0.1.0"), ip("10.0.1.39")}}
	pool, store := openPool(t, t.TempDir(), small, quiet("10.0.1.3", "10.0.1.20"))
	defer store.Close()
	var mu sync.Mutex
	holders := map[netip.Addr]machine.MAC{}
	var granted atomic.Int64
	var machines, surveyors sync.WaitGroup
	stop := make(chan struct{})
	surveyors.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				var echoes sync.WaitGroup
				pool.survey(bg, &echoes)
				echoes.Wait()
				pool.Stats()
				if err := pool.SetSubnets([]Subnet{small}, nil); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range 64 {
		machines.Go(func() {
			for range 40 {
				l, err := grant(pool, mac(i))
				if err != nil {
					continue // full, or reclaimed by another: tries again
				}
				granted.Add(1)
				mu.Lock()
				if other, held := holders[l.Addr]; held {
					t.Errorf("%v was given %v, which %v has", l.MAC, l.Addr, other)
				}
				holders[l.Addr] = l.MAC
				mu.Unlock()
				mu.Lock()
				delete(holders, l.Addr)
				mu.Unlock()
				if i == 7 {
					pool.Decline(l.MAC, l.Addr)
				} else {
					pool.Release(l.MAC, l.Addr)
				}
			}
		})
	}
	machines.Wait()
	close(stop)
	surveyors.Wait()
	if granted.Load() < 64 {
		t.Errorf("only %d leases were granted", granted.Load())
	}
}
