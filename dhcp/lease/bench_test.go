package lease

import (
	"testing"

	"net/netip"
	"sync/atomic"
	"time"

	"ravenboot/internal/machine"
	"ravenboot/internal/state"
)

// BenchmarkConfirmParallel has 64 machines at a time, each waiting for its
// lease to be on the disk: 10,000 that come when the lease before has ended (at
// first, as new machines), so that each has to be written; or 1,000 that come
// again and again.
func BenchmarkConfirmParallel(b *testing.B) {
	for _, row := range []struct {
		name     string
		machines int64
		between  time.Duration
	}{{"written", 10_000, 2 * time.Hour}, {"known", 1000, time.Second}} {
		b.Run(row.name, func(b *testing.B) {
			store, err := state.Open(b.TempDir(), discard)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			pool, err := NewPool([]Subnet{{
				Network: netip.MustParsePrefix("10.0.0.0/16"), Lease: time.Hour,
				Ranges: []Range{{netip.MustParseAddr("10.0.1.0"), netip.MustParseAddr("10.0.250.0")}},
			}}, nil, store, nil, discard)
			if err != nil {
				b.Fatal(err)
			}
			sub := pool.Subnet(netip.MustParseAddr("10.0.0.1"))
			var n atomic.Int64
			begin := time.Now()
			pool.Now = func() time.Time { return begin.Add(time.Duration(n.Load()/row.machines) * row.between) }
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1) % row.machines
					mac := machine.MAC{2, byte(i >> 32), byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
					offer, err := pool.Offer(b.Context(), sub, mac, netip.Addr{}, netip.Addr{})
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := pool.Confirm(b.Context(), sub, mac, netip.Addr{}, offer.Addr); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "confirms/s")
		})
	}
}
