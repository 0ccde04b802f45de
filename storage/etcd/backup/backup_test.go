package backup_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
	"github.com/bedplate/bedplate/storage/etcd/backup"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

func TestMain(m *testing.M) {
	if os.Getenv(killAt) != "" {
		os.Exit(restoreAndDie())
	}
	goleak.VerifyTestMain(m)
}

// serve runs a member until the test ends, or stop is called.
func serve(t testing.TB, c embedded.Config) (s *embedded.Server, stop func()) {
	t.Helper()
	s, err := embedded.New(c)
	require.NoError(t, err)
	stop = background(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(time.Minute):
		require.FailNow(t, "etcd is not ready in time")
	}
	return s, stop
}

// background runs something until the test ends, or stop is called.
func background(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return "unix://" + filepath.Join(dir, "s")
}

func connect(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t testing.TB, b storage.Backend, key, value string) int64 {
	t.Helper()
	op := storage.Op{Key: key}
	if value != "" {
		op.Value = []byte(value)
	}
	rev, err := b.Commit(t.Context(), storage.Txn{Then: []storage.Op{op}})
	require.NoError(t, err)
	return rev
}

func contents(t testing.TB, b storage.Backend) map[string]string {
	t.Helper()
	page, err := b.Range(t.Context(), storage.Range{Prefix: "/registry/"})
	require.NoError(t, err)
	all := map[string]string{}
	for _, kv := range page.KVs {
		all[kv.Key] = string(kv.Value)
	}
	return all
}

// ledger is every acknowledged write.
type ledger struct {
	mu     sync.Mutex
	writes []storage.KV
}

func (l *ledger) add(kv storage.KV) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, kv)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.writes)
}

// at returns what is there at a revision, and the newest one.
func (l *ledger) at(rev int64) (all map[string]string, newest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.writes, func(a, b storage.KV) int { return int(a.Rev - b.Rev) })
	all = map[string]string{}
	for _, kv := range l.writes {
		newest = kv.Rev
		switch {
		case kv.Rev > rev:
		case kv.Value == nil:
			delete(all, kv.Key)
		default:
			all[kv.Key] = string(kv.Value)
		}
	}
	return all, newest
}

// load writes until its context ends.
func (l *ledger) load(ctx context.Context, t *testing.T, db *storage.DB, table *storage.Table, writer int) {
	for i := 0; ctx.Err() == nil; i++ {
		w := storage.Write{Table: table, Key: fmt.Sprintf("%d-%d", writer, rand.IntN(50)), At: storage.AnyRev}
		if i%5 != 4 {
			w.Value = []byte(fmt.Sprint(writer, " ", i, strings.Repeat("x", rand.IntN(3_000))))
		}
		rev, err := db.Commit(ctx, w)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		l.add(storage.KV{Key: table.Abs(w.Key), Value: w.Value, Rev: rev})
	}
}

// TestDisaster saves under load, goes on, loses the store and restores the snapshot in its place. A process that has
// seen what is lost never sees an older revision: its watchers are told that theirs is too old, and it goes on.
func TestDisaster(t *testing.T) {
	listen := socket(t)
	old, stop := serve(t, embedded.Config{Dir: t.TempDir(), ClientListen: listen})
	b, err := etcd.New(connect(t, listen), etcd.Config{})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{Wait: time.Minute})
	require.NoError(t, err)
	background(t, db.Run)
	table, err := db.Table(storage.Schema{Prefix: "/registry/things/"})
	require.NoError(t, err)
	start, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	watcher, err := table.Watch(start.Rev(), storage.Filter{})
	require.NoError(t, err)
	t.Cleanup(watcher.Close)

	ctx, cancel := context.WithCancel(t.Context())
	l := &ledger{}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() { l.load(ctx, t, db, table, i) })
	}
	wait := func(n int) {
		require.Eventually(t, func() bool { return l.count() >= n }, time.Minute, time.Millisecond)
	}
	wait(300)
	require.NoError(t, b.Compact(t.Context(), 100))
	_, before := l.at(0)
	path := filepath.Join(t.TempDir(), "snapshot.db")
	info, err := backup.Save(t.Context(), old.Maintenance(), path, nil)
	require.NoError(t, err)
	wait(l.count() + 300)
	cancel()
	wg.Wait()
	want, newest := l.at(info.Revision)
	require.Greater(t, newest, info.Revision)
	require.Len(t, want, info.Keys)
	require.EqualValues(t, 100, info.Compacted)
	acked, _ := l.at(newest)
	require.NotEqual(t, acked, want)
	require.GreaterOrEqual(t, info.Revision, before, "what was acknowledged before is in it")
	require.NoError(t, db.WaitFor(t.Context(), newest))
	for watcher.Rev() < newest {
		_, err := watcher.Next(t.Context())
		require.NoError(t, err)
	}
	stop()

	dir := filepath.Join(t.TempDir(), "data")
	restored, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
	require.NoError(t, err)
	require.Equal(t, info, restored.Info)
	require.Equal(t, info.Revision+1_000_000_000, restored.At)
	s, _ := serve(t, embedded.Config{Dir: dir, ClientListen: listen})
	require.Equal(t, want, contents(t, s.Backend()))

	// The process that knew the old store.
	for err = nil; err == nil; { // what was under way in the end may still come
		var events []storage.Event
		events, err = watcher.Next(t.Context())
		for _, ev := range events {
			require.Less(t, ev.Rev, restored.At)
		}
	}
	require.ErrorIs(t, err, storage.ErrTooOld)
	again, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	require.GreaterOrEqual(t, again.Rev(), restored.At)
	got := map[string]string{}
	for e := range again.All(storage.Filter{}, "") {
		got[table.Abs(e.Key)] = string(e.Raw)
	}
	require.Equal(t, want, got)
	_, err = table.Watch(newest, storage.Filter{})
	require.ErrorIs(t, err, storage.ErrTooOld)
	// One that starts anew, with a revision of the old store.
	for _, err := range s.Backend().Watch(t.Context(), "/registry/", newest) {
		require.ErrorIs(t, err, storage.ErrTooOld)
	}
	for _, at := range []int64{info.Revision, newest, restored.At - 1} {
		_, err = s.Backend().Range(t.Context(), storage.Range{Prefix: "/registry/", At: at})
		require.ErrorIs(t, err, storage.ErrTooOld)
	}
	w, err := table.Watch(again.Rev(), storage.Filter{})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	require.Equal(t, restored.At+1, put(t, s.Backend(), "/registry/things/new", "1"))
	events, err := w.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, restored.At+1, events[0].Rev)
}

// TestRestoredTwice: two folders of one snapshot hold the same, are not one cluster, and last.
func TestRestoredTwice(t *testing.T) {
	path := saved(t, 20)
	var hashes []uint32
	var clusters []uint64
	for i := range 2 {
		dir := filepath.Join(t.TempDir(), "new", "data")
		restored, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir, Bump: 1_000, Above: 5_000}, nil)
		require.NoError(t, err)
		require.EqualValues(t, 5_001, restored.At)
		for range 2 {
			s, stop := serve(t, embedded.Config{Dir: dir})
			rev, err := s.Backend().Revision(t.Context())
			require.NoError(t, err)
			require.Equal(t, restored.At, rev)
			h, err := s.Maintenance().HashKV(t.Context(), "", rev)
			require.NoError(t, err)
			hashes, clusters = append(hashes, h.Hash), append(clusters, h.Header.ClusterId)
			stop()
		}
		require.Equal(t, hashes[0], hashes[2*i])
		require.NoFileExists(t, dir+".restoring.lock")
		require.NoDirExists(t, dir+".restoring")
	}
	require.Len(t, slices.Compact(hashes), 1)
	require.Len(t, slices.Compact(clusters), 2)
}

// saved makes a snapshot of a store in which the last write was a deletion that was compacted.
func saved(t testing.TB, keys int) string {
	t.Helper()
	s, stop := serve(t, embedded.Config{Dir: t.TempDir()})
	defer stop()
	for i := range keys {
		put(t, s.Backend(), fmt.Sprint("/registry/a/", i), strings.Repeat("v", 1_000))
	}
	rev := put(t, s.Backend(), "/registry/a/0", "")
	require.NoError(t, s.Backend().(interface {
		Compact(context.Context, int64) error
	}).Compact(t.Context(), rev))
	require.Eventually(t, func() bool { // it goes on in the background
		path := filepath.Join(t.TempDir(), "x")
		info, err := backup.Save(t.Context(), s.Maintenance(), path, nil)
		return err == nil && info.Compacted == rev
	}, time.Minute, 10*time.Millisecond)
	path := filepath.Join(t.TempDir(), "snapshot.db")
	info, err := backup.Save(t.Context(), s.Maintenance(), path, nil)
	require.NoError(t, err)
	require.Equal(t, rev, info.Revision)
	require.Equal(t, keys-1, info.Keys)
	return path
}

// TestFullStoreRestored: the alarm stays behind.
func TestFullStoreRestored(t *testing.T) {
	s, _ := serve(t, embedded.Config{Dir: t.TempDir(), QuotaBytes: 1 << 20})
	var err error
	for i := 0; err == nil && i < 1_000; i++ {
		_, err = s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{
			{Key: fmt.Sprint("/registry/", i), Value: []byte(strings.Repeat("x", 1<<18))},
		}})
	}
	require.ErrorIs(t, err, storage.ErrNoSpace)
	path, dir := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "d")
	_, err = backup.Save(t.Context(), s.Maintenance(), path, nil)
	require.NoError(t, err)
	_, err = backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
	require.NoError(t, err)
	n, _ := serve(t, embedded.Config{Dir: dir})
	require.Equal(t, contents(t, s.Backend()), contents(t, n.Backend()))
	put(t, n.Backend(), "/registry/more", "1")
}

// TestProgress: the stages come in order, each from its begin, and long ones tell more.
func TestProgress(t *testing.T) {
	s, _ := serve(t, embedded.Config{Dir: t.TempDir()})
	for i := range 30 {
		put(t, s.Backend(), fmt.Sprint("/registry/", i), strings.Repeat("x", 1<<17))
	}
	var stages []backup.Stage
	reports := map[backup.Stage]int{}
	report := func(p backup.Progress) {
		if reports[p.Stage]++; reports[p.Stage] == 1 {
			stages = append(stages, p.Stage)
		}
		require.True(t, p.Total == 0 || p.Done <= p.Total)
	}
	path := filepath.Join(t.TempDir(), "s")
	_, err := backup.Save(t.Context(), s.Maintenance(), path, report)
	require.NoError(t, err)
	require.Equal(t, []backup.Stage{backup.Reading, backup.Syncing, backup.Verifying, backup.Placing, backup.Done}, stages)
	require.Greater(t, reports[backup.Reading], 3)
	stages, reports = nil, map[backup.Stage]int{}
	_, err = backup.Restore(t.Context(), path, backup.Config{Dir: filepath.Join(t.TempDir(), "d")}, report)
	require.NoError(t, err)
	require.Equal(t, []backup.Stage{backup.Verifying, backup.Building, backup.Syncing, backup.Placing, backup.Done}, stages)
	require.ElementsMatch(t, stages, slices.Collect(maps.Keys(reports)))
}
