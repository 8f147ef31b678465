package state

import (
	"sync/atomic"
	"testing"
)

// BenchmarkPutLease has 64 writers at a time, each waiting for its lease to be
// on the disk.
func BenchmarkPutLease(b *testing.B) {
	s, err := Open(b.TempDir(), discard)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.PutLease(lease(int(n.Add(1) & 0xffff))).Wait(b.Context()); err != nil {
				b.Error(err)
			}
		}
	})
}
