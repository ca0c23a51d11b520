package sqlitekv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"teleport/backend"
)

// BenchmarkApply writes 1 KiB values: ns/op is the inverse of writes per second
// of all writers together.
func BenchmarkApply(b *testing.B) {
	for _, sync := range []Sync{SyncFull, SyncNormal} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/writers=%d", sync, writers), func(b *testing.B) { benchApply(b, sync, writers) })
		}
	}
}

func benchApply(b *testing.B, mode Sync, writers int) {
	k, err := Open(b.Context(), Options{Path: b.TempDir() + "/data/store.db", Sync: mode})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	value := make([]byte, 1024)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				if _, err := k.Apply(b.Context(), backend.Op{Item: backend.Item{Key: fmt.Sprintf("/k/%d", i%10000), Value: value}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkGet(b *testing.B) {
	k, err := Open(b.Context(), Options{Path: b.TempDir() + "/data/store.db", Sync: SyncNormal})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Apply(b.Context(), backend.Op{Item: backend.Item{Key: "/k", Value: make([]byte, 1024)}}); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := k.Get(b.Context(), "/k"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
