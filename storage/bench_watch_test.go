package storage_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// crowd is a number of watchers that are all to receive the same number of events.
type crowd struct {
	size   int
	target atomic.Int64 // that each has to have received
	wait   sync.WaitGroup
}

// expect tells that so many more events come; wait then returns when everybody has them.
func (c *crowd) expect(events int) {
	c.wait.Add(c.size)
	c.target.Add(int64(events))
}

// received is called by each watcher with the number of all that it has received.
func (c *crowd) received(b *testing.B, n int64) {
	switch target := c.target.Load(); {
	case n == target:
		c.wait.Done()
	case n > target:
		b.Errorf("%d events received, %d were sent", n, target)
	}
}

// watchEtcd lets a crowd watch an etcd in this process, each by a stream of its own.
func watchEtcd(b *testing.B, etcd *etcdserver.EtcdServer, size int) *crowd {
	c := &crowd{size: size}
	for range size {
		stream := etcd.Watchable().NewWatchStream()
		_, err := stream.Watch(b.Context(), 0, []byte(prefix), []byte(prefix[:len(prefix)-1]+"0"), 0)
		require.NoError(b, err)
		var ended sync.WaitGroup
		ended.Go(func() {
			var n, last int64
			for resp := range stream.Chan() {
				for _, ev := range resp.Events {
					if ev.Kv.ModRevision <= last {
						b.Errorf("revision %d after %d", ev.Kv.ModRevision, last)
					}
					last = ev.Kv.ModRevision
				}
				n += int64(len(resp.Events))
				c.received(b, n)
			}
		})
		b.Cleanup(func() {
			stream.Close()
			ended.Wait()
		})
	}
	return c
}

// watchTable lets a crowd watch a table.
func watchTable(b *testing.B, t *storage.Table, size int, f storage.Filter) *crowd {
	c := &crowd{size: size}
	for range size {
		w, err := t.Watch(0, f)
		require.NoError(b, err)
		var ended sync.WaitGroup
		ended.Go(func() {
			var n, last int64
			for {
				events, err := w.Next(context.Background())
				if err != nil {
					return
				}
				for i := range events {
					if events[i].Rev <= last {
						b.Errorf("revision %d after %d", events[i].Rev, last)
					}
					last = events[i].Rev
				}
				n += int64(len(events))
				c.received(b, n)
			}
		})
		b.Cleanup(func() {
			w.Close()
			ended.Wait()
		})
	}
	return c
}

// fanOut writes ops times and waits, every so many writes, until everybody has received everything.
func (c *crowd) fanOut(b *testing.B, ops, burst int, write func() error) cost {
	return measure(ops, func() {
		for done := 0; done < ops; done += burst {
			n := min(burst, ops-done)
			c.expect(n)
			clients(b, 16, 0, n, func(int) error { return write() })
			c.wait.Wait()
		}
	})
}

// BenchmarkFanOut writes to a table that 1,000 watchers watch; an operation is one write that all of them have
// received. The floor is as many watch streams of the etcd in this process. A burst of writes, by 16 clients,
// waits for nobody until its end.
func BenchmarkFanOut(b *testing.B) {
	const size = 1_000
	for _, burst := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			etcd := rawEtcd(b)
			db, t := openDB(b, serve(b), storage.Config{Window: 100_000, WindowBytes: 1 << 40})
			load(b, t)
			value := newRandom().object("a", objectSize)
			floor, ours := watchEtcd(b, etcd, size), watchTable(b, t, size, storage.Filter{})
			f, o := compare(b, func(_, ops int) cost {
				return floor.fanOut(b, ops, burst, func() error {
					_, err := etcd.Put(b.Context(), &pb.PutRequest{Key: []byte(prefix + "a"), Value: value})
					return err
				})
			}, func(_, ops int) cost {
				return ours.fanOut(b, ops, burst, func() error {
					_, err := db.Commit(b.Context(), storage.Write{Table: t, Key: "a", Value: value, At: storage.AnyRev})
					return err
				})
			})
			b.ReportMetric(size*o.perSecond(), "deliveries/s")
			b.ReportMetric(size*f.perSecond(), "floor-deliveries/s")
			b.ReportMetric(o.cpuNs()/size, "cpu-ns/delivery")
		})
	}
}

// isWeb are filters that select what headOf finds a web server in.
func isWeb() map[string]storage.Filter {
	web := func(s string) bool { return s == "web" }
	return map[string]storage.Filter{
		"key":           {Key: "web/1"},
		"namespace":     {Prefix: "web/"},
		"prefix":        {Prefix: "web"},
		"label":         {LabelIs: []storage.Pair{{Key: "app", Value: "web"}}},
		"index":         {IndexIs: []storage.Pair{{Key: "app", Value: "web"}}},
		"label-by-func": {Labels: func(l []storage.Pair) bool { return web(l[0].Value) }},
		"index-by-func": {Index: func(v []string) bool { return web(v[0]) }},
	}
}

func headOf(raw []byte) (storage.Head, error) {
	app, _, _ := strings.Cut(string(raw), " ")
	return storage.Head{Labels: []storage.Pair{{Key: "app", Value: app}}, Index: []string{app}}, nil
}

// BenchmarkFilteredOut is what an event costs a watcher that does not want it: the CPU of a write that each of
// 1,000 watchers filters out, less that of the same write without watchers. Every hundredth is for all of them.
// Paced: each write waits until the cache has it, so that watchers are woken by each.
func BenchmarkFilteredOut(b *testing.B) {
	const size = 1_000
	for name, f := range isWeb() {
		for _, paced := range []bool{false, true} {
			b.Run(fmt.Sprintf("by=%s/paced=%t", name, paced), func(b *testing.B) {
				alone, _ := filteredOut(b, nil, paced)
				var ours *crowd
				with, t := filteredOut(b, &ours, paced)
				ours = watchTable(b, t, size, f)
				f, o := compare(b, alone, with)
				b.ReportMetric((o.cpuNs()-f.cpuNs())/size, "cpu-ns/event")
			})
		}
	}
}

// filteredOut makes a table of its own and writes to it, every hundredth for the watchers.
func filteredOut(b *testing.B, watchers **crowd, paced bool) (func(first, ops int) cost, *storage.Table) {
	backend, err := memory.New(memory.Config{})
	require.NoError(b, err)
	db, err := storage.New(backend, storage.Config{Window: 100_000})
	require.NoError(b, err)
	t, err := db.Table(storage.Schema{Prefix: prefix, Indexes: []string{"app"}, Head: headOf})
	require.NoError(b, err)
	background(b, db.Run)
	load(b, t)
	write := func(app string) {
		rev, err := db.Commit(b.Context(), storage.Write{
			Table: t, Key: app + "/1", Value: []byte(app + " server"), At: storage.AnyRev,
		})
		require.NoError(b, err)
		if paced || app == "web" {
			require.NoError(b, db.WaitFor(b.Context(), rev))
		}
	}
	return func(_, ops int) cost {
		return measure(ops, func() {
			for i := range ops {
				if i%100 < 99 && i < ops-1 {
					write("other")
					continue
				}
				if watchers == nil {
					write("web")
					continue
				}
				(*watchers).expect(1)
				write("web")
				(*watchers).wait.Wait()
			}
		})
	}, t
}

// BenchmarkDelivery is how much later a Watcher hands out a change than the watch of the same etcd, without a cache,
// does: at 100 writes a second, and in bursts of 64 writes at once. An operation is a write.
func BenchmarkDelivery(b *testing.B) {
	for _, burst := range []int{1, 64} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			backend := serve(b)
			db, t := openDB(b, backend, storage.Config{})
			load(b, t)
			direct, ours := expectArrivals(b.N), expectArrivals(b.N)
			after, ctx := db.Applied(), b.Context()
			var watching sync.WaitGroup
			defer watching.Wait()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			watching.Go(func() {
				for batch, err := range backend.Watch(ctx, prefix, after) {
					if err == nil && len(batch.Events) > 0 {
						direct.add(batch.Rev, len(batch.Events))
					}
				}
			})
			w, err := t.Watch(after, storage.Filter{})
			require.NoError(b, err)
			watching.Go(func() {
				for {
					events, err := w.Next(ctx)
					if err != nil {
						return
					}
					for i := range events {
						ours.add(events[i].Rev, 1)
					}
				}
			})
			writeBursts(b, db, t, burst)
			cost{latency: ours.after(direct)}.reportLatency(b, "later-")
		})
	}
}

// writeBursts writes b.N times, 100 times a second or so many at once.
func writeBursts(b *testing.B, db *storage.DB, t *storage.Table, burst int) {
	value := newRandom().object("a", objectSize)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	b.ResetTimer()
	for i := 0; i < b.N; i += burst {
		<-tick.C
		var wg sync.WaitGroup
		for j := range min(burst, b.N-i) {
			wg.Go(func() {
				_, err := db.Commit(b.Context(), storage.Write{Table: t, Key: podKey(j), Value: value, At: storage.AnyRev})
				require.NoError(b, err)
			})
		}
		wg.Wait()
	}
	b.StopTimer()
}

// arrivals are when each revision was seen.
type arrivals struct {
	mu   sync.Mutex
	left int // events
	all  chan struct{}
	at   map[int64]time.Time
}

func expectArrivals(n int) *arrivals {
	return &arrivals{left: n, all: make(chan struct{}), at: map[int64]time.Time{}}
}

func (a *arrivals) add(rev int64, events int) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[rev] = now
	if a.left -= events; a.left == 0 {
		close(a.all)
	}
}

// after returns how much later than others the revisions came, once everybody has seen everything.
func (a *arrivals) after(o *arrivals) []time.Duration {
	<-a.all
	<-o.all
	late := make([]time.Duration, 0, len(o.at))
	for rev, at := range o.at {
		late = append(late, a.at[rev].Sub(at))
	}
	return late
}
