package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
)

const objectSize = 2900

var object = bytes.Repeat([]byte("x"), objectSize)

// report adds what every benchmark tells of itself: CPU per operation, object size, processors.
func report(b *testing.B, ops int, run func()) {
	before := cpuTime()
	run()
	used := cpuTime() - before
	b.ReportMetric(float64(used.Nanoseconds())/float64(ops), "cpu-ns/op")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
	b.ReportMetric(objectSize, "object-bytes")
}

// serve runs an embedded etcd, fsync on.
func serve(b *testing.B) storage.Backend {
	b.Helper()
	s, err := embedded.New(embedded.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	background(b, s.Run)
	<-s.Ready()
	return s.Backend()
}

func background(b *testing.B, run func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-ended)
	})
}

func openDB(b *testing.B, backend storage.Backend) (*storage.DB, *storage.Table) {
	b.Helper()
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	t, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
	require.NoError(b, err)
	background(b, db.Run)
	<-db.Ready()
	return db, t
}

// clients runs op b.N times from n goroutines.
func clients(b *testing.B, n int, op func(i int64) error) {
	b.Helper()
	b.ReportAllocs()
	var next atomic.Int64
	b.ResetTimer()
	report(b, b.N, func() {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					if err := op(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	b.StopTimer()
}

// BenchmarkCreate compares a create by the DB, without and with a cache that follows it, with the bare
// transaction of the etcd in this process.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("etcd/clients=%d", n), func(b *testing.B) {
			backend := serve(b)
			clients(b, n, func(i int64) error {
				key := fmt.Sprintf("/registry/pods/%d", i)
				_, err := backend.Commit(b.Context(), storage.Txn{
					If: []storage.Cond{{Key: key}}, Then: []storage.Op{{Key: key, Value: object}},
				})
				return err
			})
		})
		for _, cached := range []bool{false, true} {
			b.Run(fmt.Sprintf("db/cache=%t/clients=%d", cached, n), func(b *testing.B) {
				db, t := openDB(b, serve(b))
				if cached {
					_, err := t.Snapshot(b.Context(), 0, false)
					require.NoError(b, err)
				}
				clients(b, n, func(i int64) error {
					_, err := db.Commit(b.Context(), storage.Write{Table: t, Key: fmt.Sprint(i), Value: object})
					return err
				})
			})
		}
	}
}

// fill puts n objects of random content into a store and returns a loaded table.
func fill(b *testing.B, n int) (*storage.DB, *storage.Table) {
	b.Helper()
	backend, err := memory.New(memory.Config{History: 1})
	require.NoError(b, err)
	for i := range n {
		raw := make([]byte, objectSize)
		for j := range raw {
			raw[j] = byte(rand.Uint32())
		}
		_, err := backend.Commit(b.Context(), storage.Txn{
			Then: []storage.Op{{Key: fmt.Sprintf("/registry/pods/ns-%d/pod-%d", i%100, i), Value: raw}},
		})
		require.NoError(b, err)
	}
	db, t := openDB(b, backend)
	_, err = t.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	return db, t
}

// BenchmarkGet reads one of 100,000 objects, uniformly random, from the cache.
func BenchmarkGet(b *testing.B) {
	const n = 100_000
	db, t := fill(b, n)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("ns-%d/pod-%d", i%100, i)
	}
	for name, min := range map[string]int64{"not-older": db.Applied(), "linearizable": 0} {
		b.Run(name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			clients(b, 1, func(int64) error {
				_, err := t.Get(b.Context(), keys[random.IntN(n)], min)
				return err
			})
		})
	}
}

// BenchmarkGetLinearizable compares a consistent read by the DB over the etcd in this process with etcd's own.
func BenchmarkGetLinearizable(b *testing.B) {
	backend := serve(b)
	db, t := openDB(b, backend)
	_, err := db.Commit(b.Context(), storage.Write{Table: t, Key: "a", Value: object})
	require.NoError(b, err)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("etcd/clients=%d", n), func(b *testing.B) {
			clients(b, n, func(int64) error {
				_, err := backend.Range(b.Context(), storage.Range{Prefix: "/registry/pods/a", Limit: 1})
				return err
			})
		})
		b.Run(fmt.Sprintf("db/clients=%d", n), func(b *testing.B) {
			clients(b, n, func(int64) error {
				_, err := t.Get(b.Context(), "a", 0)
				return err
			})
		})
	}
}

// BenchmarkList reads all bytes of 20,000 objects out of a snapshot.
func BenchmarkList(b *testing.B) {
	const n = 20_000
	_, t := fill(b, n)
	buf := make([]byte, 0, n*objectSize)
	b.ReportAllocs()
	b.SetBytes(n * objectSize)
	b.ResetTimer()
	before := cpuTime()
	for b.Loop() {
		s, err := t.Snapshot(b.Context(), storage.Cached, false)
		require.NoError(b, err)
		buf = buf[:0]
		for e := range s.All(storage.Filter{}, "") {
			buf = append(buf, e.Raw...)
		}
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(objectSize, "object-bytes")
}

// BenchmarkFanOut writes to a table that 1,000 watchers watch; an operation is one write that all of them
// have received. Under "filtered" each watcher wants every tenth object.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 1_000
	for _, every := range []int{1, 10} {
		b.Run(fmt.Sprintf("selected=1in%d", every), func(b *testing.B) {
			backend, err := memory.New(memory.Config{})
			require.NoError(b, err)
			db, err := storage.New(backend, storage.Config{Window: 1 << 20, WindowBytes: 1 << 40})
			require.NoError(b, err)
			t, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
			require.NoError(b, err)
			background(b, db.Run)
			_, err = t.Snapshot(b.Context(), 0, false)
			require.NoError(b, err)
			fanOut(b, db, t, watchers, every)
		})
	}
}

func fanOut(b *testing.B, db *storage.DB, t *storage.Table, watchers, every int) {
	b.Helper()
	var wg sync.WaitGroup
	var delivered atomic.Int64
	for i := range watchers {
		f := storage.Filter{}
		if every > 1 {
			f.Prefix = fmt.Sprintf("%d/", i%every)
		}
		w, err := t.Watch(0, f)
		require.NoError(b, err)
		want := (b.N + every - 1 - i%every) / every
		wg.Go(func() {
			defer w.Close()
			n := 0
			for n < want {
				events, err := w.Next(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				n += len(events)
			}
			delivered.Add(int64(n))
		})
	}
	b.ResetTimer()
	report(b, b.N, func() {
		for i := range b.N {
			_, err := db.Commit(b.Context(), storage.Write{
				Table: t, Key: fmt.Sprintf("%d/x", i%every), Value: object, At: storage.AnyRev,
			})
			require.NoError(b, err)
		}
		wg.Wait()
	})
	b.StopTimer()
	b.ReportMetric(float64(watchers)*float64(b.N)/b.Elapsed().Seconds(), "events-passed/s")
	b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "deliveries/s")
}

// openIndexed runs a DB whose table has n objects and indexes of which nobody has asked for any.
func openIndexed(b *testing.B, indexes, n int) (*storage.DB, *storage.Table) {
	backend, err := memory.New(memory.Config{})
	require.NoError(b, err)
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	s := storage.Schema{Prefix: "/registry/pods/", Head: func(raw []byte) (storage.Head, error) {
		return storage.Head{Index: strings.Fields(string(raw))}, nil
	}}
	for i := range indexes {
		s.Indexes = append(s.Indexes, fmt.Sprint(i))
	}
	table, err := db.Table(s)
	require.NoError(b, err)
	for i := range n {
		put(b, db, table, i, false)
	}
	background(b, db.Run)
	<-db.Ready()
	_, err = table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	return db, table
}

func put(b *testing.B, db *storage.DB, table *storage.Table, i int, wait bool) {
	rev, err := db.Commit(b.Context(), storage.Write{
		Table: table, Key: fmt.Sprintf("%08d", i), Value: fmt.Appendf(nil, "%d %d", i%10, i%1000), At: storage.AnyRev,
	})
	require.NoError(b, err)
	if wait {
		require.NoError(b, db.WaitFor(b.Context(), rev))
	}
}

// lookUp reads an index in the present.
func lookUp(b *testing.B, table *storage.Table, name, value string) (n int) {
	s, err := table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	for range s.ByIndex(name, value) {
		n++
	}
	return n
}

// BenchmarkIndex is a change to a table that has indexes, of which some are in use, and a read of one.
func BenchmarkIndex(b *testing.B) {
	for _, used := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("change/used=%dof8", used), func(b *testing.B) {
			db, table := openIndexed(b, 8, 20_000)
			for i := range used {
				lookUp(b, table, fmt.Sprint(i), "1")
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				put(b, db, table, i%20_000, true)
				i++
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		_, table := openIndexed(b, 8, 20_000)
		for b.Loop() {
			lookUp(b, table, "1", "7")
		}
	})
}
