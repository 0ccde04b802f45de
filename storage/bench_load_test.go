package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// resident is how much memory of the process the kernel holds; 0 where it is not known.
func resident() (size uint64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	fmt.Sscan(string(after), &size)
	return size << 10
}

// BenchmarkHeap is the live heap of 100,000 cached objects over an etcd in another process, after a collection,
// in multiples of the objects' bytes: as they were loaded, and after each was written once more and came by the
// watch. Resident is the memory of the process as it is then, and once all free memory was given back.
func BenchmarkHeap(b *testing.B) {
	const n = 100_000
	backend := remoteEtcd(b, n, objectSize)
	for b.Loop() {
		heap, rss := liveHeap(), resident()
		db, t := openDB(b, backend, storage.Config{Window: 1})
		s := load(b, t)
		require.Equal(b, n, s.Len())
		size := check(b, s)
		held := func(what string) {
			b.ReportMetric(float64(liveHeap()-heap)/float64(size), what+"heap/bytes")
			b.ReportMetric(float64(resident()-rss)/float64(size), what+"resident/bytes")
			debug.FreeOSMemory()
			b.ReportMetric(float64(resident()-rss)/float64(size), what+"resident-freed/bytes")
		}
		s = nil
		held("")
		require.NoError(b, fill(b.Context(), backend, n, objectSize))
		check(b, load(b, t))
		held("watched-")
		db.Drop(t)
	}
}

// check looks at every object of a snapshot and returns their size in bytes.
func check(b *testing.B, s *storage.Snapshot) (size int) {
	for e := range s.All(storage.Filter{}, "") {
		if word(e.Raw) != checksum(e.Key) {
			b.Fatal("another object")
		}
		size += len(e.Raw)
	}
	return size
}

// BenchmarkReady is the time until a table of 100,000 objects is there, beside reading them from the same etcd
// in pages, as loading did it once, and in one range.
func BenchmarkReady(b *testing.B) {
	const n = 100_000
	for _, where := range []string{"embedded", "remote"} {
		b.Run(where, func(b *testing.B) {
			var backend storage.Backend
			if where == "remote" {
				backend = remoteEtcd(b, n, objectSize)
			} else {
				backend = serve(b)
				require.NoError(b, fill(b.Context(), backend, n, objectSize))
			}
			for _, page := range []int{0, 1_000} {
				b.Run(fmt.Sprintf("floor-page=%d", page), func(b *testing.B) {
					compare(b, func(_, ops int) cost {
						return measure(ops, func() {
							for range ops {
								require.Equal(b, n, readPages(b, backend, page))
							}
						})
					}, func(_, ops int) cost {
						return measure(ops, func() {
							for range ops {
								ready(b, backend, n)
							}
						})
					})
				})
			}
		})
	}
}

func readPages(b *testing.B, backend storage.Backend, page int) (n int) {
	r := storage.Range{Prefix: prefix, Limit: page}
	for {
		p, err := backend.Range(b.Context(), r)
		require.NoError(b, err)
		n += len(p.KVs)
		if !p.More {
			return n
		}
		r.From, r.At = p.KVs[len(p.KVs)-1].Key+"\x00", p.Rev
	}
}

// ready runs a DB until it has loaded a table.
func ready(b *testing.B, backend storage.Backend, n int) {
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	t, err := db.Table(storage.Schema{Prefix: prefix})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	require.Equal(b, n, load(b, t).Len())
	cancel()
	require.NoError(b, <-ended)
}
