package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

var padding = bytes.Repeat([]byte("x"), 2_880)

// openSelect runs a DB whose objects are "<label> <field>" and padding.
func openSelect(b *testing.B) (*storage.DB, *storage.Table) {
	b.Helper()
	backend, err := memory.New(memory.Config{})
	require.NoError(b, err)
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	table, err := db.Table(storage.Schema{
		Prefix: "/registry/pods/", Indexes: []string{"metadata.name", "spec.nodeName", "status.phase"},
		Head: func(raw []byte) (storage.Head, error) {
			words := strings.SplitN(string(raw), " ", 3)
			return storage.Head{
				Labels: []storage.Pair{{Key: "app", Value: words[0]}, {Key: "hash", Value: "x"}, {Key: "tier", Value: "web"}},
				Index:  []string{"name", words[1], "Running"},
			}, nil
		},
	})
	require.NoError(b, err)
	background(b, db.Run)
	<-db.Ready()
	return db, table
}

func putSelect(b *testing.B, db *storage.DB, table *storage.Table, key, label, field string) int64 {
	b.Helper()
	raw := append(fmt.Appendf(nil, "%s %s ", label, field), padding...)
	rev, err := db.Commit(b.Context(), storage.Write{Table: table, Key: key, Value: raw, At: storage.AnyRev})
	require.NoError(b, err)
	return rev
}

// BenchmarkSelect lists 200 of 20,000 objects: by a label, by a field, by both, and by functions, which look at all.
func BenchmarkSelect(b *testing.B) {
	const n = 20_000
	db, table := openSelect(b)
	for i := range n {
		putSelect(b, db, table, fmt.Sprintf("ns-%d/pod-%d", i%100, i), fmt.Sprintf("app-%d", i/100%100), fmt.Sprintf("node-%d", i%100))
	}
	_, err := table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	for name, f := range map[string]storage.Filter{
		"by=label":    {LabelIs: []storage.Pair{{Key: "app", Value: "app-7"}}},
		"by=field":    {IndexIs: []storage.Pair{{Key: "spec.nodeName", Value: "node-7"}}},
		"by=both":     {LabelIs: []storage.Pair{{Key: "tier", Value: "web"}}, IndexIs: []storage.Pair{{Key: "spec.nodeName", Value: "node-7"}}},
		"by=function": {Index: func(v []string) bool { return v[1] == "node-7" }},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			list := func() (got int) {
				s, err := table.Snapshot(b.Context(), storage.Cached, false)
				require.NoError(b, err)
				for range s.All(f, "") {
					got++
				}
				return got
			}
			list() // whoever asks first has the index made
			for b.Loop() {
				require.Equal(b, 200, list())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/object")
		})
	}
}

// BenchmarkSelectWatch writes to a table that many watch, each for the objects of one node; an operation is a write
// that the watcher of its node has received. Beside it, what it costs if each looks at every event.
func BenchmarkSelectWatch(b *testing.B) {
	for _, watchers := range []int{0, 1_000, 5_000} {
		b.Run(fmt.Sprintf("by=field/watchers=%d", watchers), func(b *testing.B) {
			selectWatch(b, watchers, func(node string) storage.Filter {
				return storage.Filter{IndexIs: []storage.Pair{{Key: "spec.nodeName", Value: node}}}
			})
		})
	}
	b.Run("by=function/watchers=1000", func(b *testing.B) {
		selectWatch(b, 1_000, func(node string) storage.Filter {
			return storage.Filter{Index: func(v []string) bool { return v[1] == node }}
		})
	})
}

func selectWatch(b *testing.B, watchers int, filter func(node string) storage.Filter) {
	b.Helper()
	db, table := openSelect(b)
	_, err := table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	var delivered atomic.Int64
	for i := range watchers {
		w, err := table.Watch(0, filter(fmt.Sprintf("node-%d", i)))
		require.NoError(b, err)
		wg.Go(func() {
			defer w.Close()
			for {
				events, err := w.Next(ctx)
				if err != nil {
					return
				}
				delivered.Add(int64(len(events)))
			}
		})
	}
	nodes := max(watchers, 1)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for i := range b.N {
		rev := putSelect(b, db, table, fmt.Sprintf("ns/pod-%d", i%nodes), "app", fmt.Sprintf("node-%d", i%nodes))
		require.NoError(b, db.WaitFor(b.Context(), rev))
	}
	for watchers > 0 && delivered.Load() < int64(b.N) {
		time.Sleep(10 * time.Microsecond)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "deliveries/s")
	cancel()
	wg.Wait()
}

// BenchmarkFiltered has 1,000 watchers of which nobody wants what is written: what an event costs each of them.
// Under "term" they sleep; under "function" each looks at all events, which come one by one, or faster than they look.
func BenchmarkFiltered(b *testing.B) {
	const watchers = 1_000
	for name, f := range map[string]storage.Filter{
		"term":     {LabelIs: []storage.Pair{{Key: "app", Value: "none"}}},
		"function": {Labels: func(have []storage.Pair) bool { return have[0].Value == "none" }},
	} {
		for _, wait := range []bool{false, true} {
			b.Run(fmt.Sprintf("by=%s/one-by-one=%t", name, wait), func(b *testing.B) {
				db, table := openSelect(b)
				_, err := table.Snapshot(b.Context(), 0, false)
				require.NoError(b, err)
				ctx, cancel := context.WithCancel(b.Context())
				var wg sync.WaitGroup
				all := make([]*storage.Watcher, watchers)
				for i := range all {
					all[i], err = table.Watch(0, f)
					require.NoError(b, err)
					wg.Go(func() {
						defer all[i].Close()
						_, err := all[i].Next(ctx)
						require.ErrorIs(b, err, context.Canceled)
					})
				}
				b.ResetTimer()
				before := cpuTime()
				var last int64
				arrived := func() {
					for _, w := range all {
						for w.Rev() < last {
							time.Sleep(10 * time.Microsecond)
						}
					}
				}
				for i := range b.N {
					last = putSelect(b, db, table, fmt.Sprint(i%100), "app", "node")
					if wait {
						require.NoError(b, db.WaitFor(ctx, last))
						arrived()
					}
				}
				arrived()
				b.StopTimer()
				used := float64((cpuTime() - before).Nanoseconds()) / float64(b.N)
				b.ReportMetric(used, "cpu-ns/op")
				b.ReportMetric(used/watchers, "cpu-ns/filtered-event")
				cancel()
				wg.Wait()
			})
		}
	}
}
