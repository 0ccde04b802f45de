package care_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// serve runs an embedded member until the test ends.
func serve(tb testing.TB, c embedded.Config) *embedded.Server {
	tb.Helper()
	c.Dir, c.History = tb.TempDir(), -1
	s, err := embedded.New(c)
	require.NoError(tb, err)
	background(tb, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(time.Minute):
		require.FailNow(tb, "etcd is not ready in time")
	}
	return s
}

// background runs something until the test ends, before what was started earlier ends.
func background(tb testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
}

// remote is the same member through a client, on a unix socket.
func remote(t *testing.T, c embedded.Config) (storage.Backend, care.Maintenance, []string) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "etcd") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(sockets) })
	c.ClientListen = "unix://" + filepath.Join(sockets, "s")
	s := serve(t, c)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	b, err := etcd.New(client, etcd.Config{})
	require.NoError(t, err)
	return b, client, client.Endpoints()
}

// TestFullEtcd fills a real etcd to its quota: writes are refused; who deletes enough can write again, without
// doing anything else; and a watcher misses nothing.
func TestFullEtcd(t *testing.T) {
	c := embedded.Config{QuotaBytes: 16 << 20}
	t.Run("embedded", func(t *testing.T) {
		s := serve(t, c)
		fullEtcd(t, s.Backend(), s.Maintenance(), nil)
	})
	t.Run("remote", func(t *testing.T) {
		b, m, endpoints := remote(t, c)
		fullEtcd(t, b, m, endpoints)
	})
}

func fullEtcd(t *testing.T, b storage.Backend, m care.Maintenance, endpoints []string) {
	reg := prometheus.NewRegistry()
	k, err := care.New(care.Config{
		Backend: b, Maintenance: m, Endpoints: endpoints, Interval: 100 * time.Millisecond, Registerer: reg,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	background(t, k.Run)
	db, err := storage.New(b, storage.Config{Prefix: "/registry/"})
	require.NoError(t, err)
	background(t, db.Run)
	table, err := db.Table(storage.Schema{Prefix: "/registry/things/"})
	require.NoError(t, err)
	start, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	seen := follow(t, table, start.Rev())

	large := []byte(strings.Repeat("x", 1<<18))
	want := map[string]int{} // how often each key was written, and deleted
	write := func(key string, v []byte) error {
		_, err := db.Commit(t.Context(), storage.Write{Table: table, Key: key, Value: v, At: storage.AnyRev})
		if err == nil {
			want[key]++
		}
		return err
	}
	n := 0
	for ; err == nil && n < 1_000; n++ {
		err = write(fmt.Sprint(n), large)
	}
	require.ErrorIs(t, err, storage.ErrNoSpace)
	require.Greater(t, n, 10)
	for i := range n - 5 {
		require.NoError(t, write(fmt.Sprint(i), nil), "a full store takes deletions")
	}
	require.Eventually(t, func() bool { return write("after", []byte("1")) == nil }, time.Minute, 20*time.Millisecond)
	require.NoError(t, write("end", []byte("1")))

	got := <-seen
	for key, times := range want {
		require.GreaterOrEqual(t, got[key], times, key)
	}
	require.Zero(t, got[""], "the watcher lived through it")
	require.Positive(t, value1(t, reg, "defragment"))
	require.Positive(t, value1(t, reg, "compact"))
	require.Positive(t, value1(t, reg, "lift_alarm"))
	size := value(t, reg, "apiserver_storage_size_bytes")
	require.Less(t, size, float64(16<<20))
	page, err := b.Range(t.Context(), storage.Range{Prefix: "/registry/things/"})
	require.NoError(t, err)
	require.Less(t, len(page.KVs), 10)
}

func value1(t *testing.T, g prometheus.Gatherer, action string) float64 {
	return value(t, g, "bedplate_etcd_care_actions_total", "action", action, "result", "success")
}

// follow counts the events of each key until the key "end"; those of "" are losses.
func follow(t *testing.T, table *storage.Table, since int64) <-chan map[string]int {
	t.Helper()
	w, err := table.Watch(since, storage.Filter{})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	done := make(chan map[string]int, 1)
	go func() {
		seen := map[string]int{}
		defer func() { done <- seen }()
		for {
			events, err := w.Next(t.Context())
			if err != nil {
				seen[""]++
				return
			}
			for _, ev := range events {
				e := ev.New
				if e == nil {
					e = ev.Old
				}
				seen[e.Key]++
				if e.Key == "end" {
					return
				}
			}
		}
	}()
	return done
}

// TestCareOfEtcd: history goes by time, with a writer under way, and free space is given back.
func TestCareOfEtcd(t *testing.T) {
	s := serve(t, embedded.Config{})
	for i := range 200 {
		_, err := s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{
			{Key: fmt.Sprint("/registry/a/", i%4), Value: []byte(strings.Repeat("x", 1<<16))},
		}})
		require.NoError(t, err)
	}
	size := func() int64 {
		status, err := s.Maintenance().Status(t.Context(), "")
		require.NoError(t, err)
		return status.DbSize
	}
	require.Greater(t, size(), int64(8<<20))
	k, err := care.New(care.Config{
		Backend: s.Backend(), Maintenance: s.Maintenance(), Interval: 50 * time.Millisecond,
		History: 300 * time.Millisecond, MinFree: 4 << 20,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	background(t, k.Run)
	begin := time.Now()
	for size() > 4<<20 && time.Since(begin) < time.Minute {
		_, err := s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: "/registry/b", Value: []byte("x")}}})
		require.NoError(t, err)
	}
	require.Less(t, size(), int64(4<<20))
	_, err = s.Backend().Range(t.Context(), storage.Range{At: 10})
	require.ErrorIs(t, err, storage.ErrTooOld)
}

// BenchmarkDefragment tells what a defragmentation blocks: writes wait for about as long as it takes.
func BenchmarkDefragment(b *testing.B) {
	s := serve(b, embedded.Config{})
	const values, size = 2_000, 16 << 10
	for round := range 2 { // half of it goes
		for i := range values {
			_, err := s.Backend().Commit(b.Context(), storage.Txn{Then: []storage.Op{
				{Key: fmt.Sprint("/registry/a/", i), Value: []byte(strings.Repeat(fmt.Sprint(round), size))},
			}})
			require.NoError(b, err)
		}
	}
	rev, err := s.Backend().Revision(b.Context())
	require.NoError(b, err)
	require.NoError(b, s.Backend().(care.Compacter).Compact(b.Context(), rev))
	var longest, took time.Duration // the longest of one, all of the other
	for b.Loop() {
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				begin := time.Now()
				op := storage.Op{Key: "/registry/b", Value: []byte("x")}
				if _, err := s.Backend().Commit(b.Context(), storage.Txn{Then: []storage.Op{op}}); err != nil {
					b.Error(err)
					return
				}
				longest = max(longest, time.Since(begin))
			}
		})
		begin := time.Now()
		_, err := s.Maintenance().Defragment(b.Context(), "")
		took += time.Since(begin)
		require.NoError(b, err)
		stop.Store(true)
		wg.Wait()
	}
	mb := float64(values*size) / 1e6
	b.ReportMetric(float64(took.Milliseconds())/mb/float64(b.N), "ms/MB")
	b.ReportMetric(float64(longest.Milliseconds()), "longest-write-ms")
}
