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
// lease to be on the disk: all of them new, or 1,000 that come again and again.
func BenchmarkConfirmParallel(b *testing.B) {
	for name, machines := range map[string]int64{"new": 1 << 40, "known": 1000} {
		b.Run(name, func(b *testing.B) {
			store, err := state.Open(b.TempDir(), discard)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			pool, err := NewPool([]Subnet{{
				Network: netip.MustParsePrefix("10.0.0.0/8"), Lease: time.Hour,
				Ranges: []Range{{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.255.0.0")}},
			}}, nil, store, nil, discard)
			if err != nil {
				b.Fatal(err)
			}
			sub := pool.Subnet(netip.MustParseAddr("10.0.0.1"))
			var n atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1) % machines
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
