package seal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/seal"
)

// fill writes n secrets and returns what each holds.
func fill(t testing.TB, to storage.Backend, n int) map[string]string {
	t.Helper()
	want := map[string]string{}
	for i := range n {
		key, value := fmt.Sprintf("%sns/%04d", secrets, i), fmt.Sprintf("value %d", i)
		put(t, to, key, value)
		want[key] = value
	}
	return want
}

// all reads everything, which must be sound.
func all(t testing.TB, from storage.Backend) map[string]string {
	t.Helper()
	page, err := from.Range(t.Context(), storage.Range{Prefix: "/registry/"})
	require.NoError(t, err)
	got := map[string]string{}
	for _, kv := range page.KVs {
		require.Nil(t, kv.Corrupt)
		got[kv.Key] = string(kv.Value)
	}
	return got
}

// TestRotation is a key's life: put behind, put first, everything rewritten, the old one dropped.
func TestRotation(t *testing.T) {
	for name, open := range map[string]func(testing.TB) storage.Backend{
		"memory": func(t testing.TB) storage.Backend { return newMemory(t) }, "etcd": newEtcd,
	} {
		t.Run(name, func(t *testing.T) {
			below := open(t)
			s := sealed(t, below, under(gcm(t, "old", 1)))
			want := fill(t, s.Backend(), 450)
			require.NoError(t, s.SetRules(under(xaes(t, "new", 2), gcm(t, "old", 1))))
			put(t, s.Backend(), a, "written by the new one")
			want[a] = "written by the new one"
			var seen []seal.Progress
			p, err := s.Rewrite(t.Context(), func(p seal.Progress) { seen = append(seen, p) })
			require.NoError(t, err)
			require.Equal(t, seal.Progress{Done: 451, Total: 451, Rewritten: 450}, p)
			require.Equal(t, seal.Progress{Total: 451}, seen[0])
			require.Equal(t, p, seen[len(seen)-1])
			require.Len(t, seen, 4, "page by page")
			require.NoError(t, s.SetRules(under(xaes(t, "new", 2))))
			require.Equal(t, want, all(t, s.Backend()))
			p, err = s.Rewrite(t.Context(), nil)
			require.NoError(t, err)
			require.Zero(t, p.Rewritten, "nothing is left to do")
		})
	}
}

// TestInAndOut encrypts a plain store and decrypts it again; the secret of the same name changes in between.
func TestInAndOut(t *testing.T) {
	below := newMemory(t)
	want := fill(t, below, 30)
	s := sealed(t, below)
	for _, step := range []struct {
		rules     []seal.Rule
		rewritten int
	}{
		{nil, 0},
		{[]seal.Rule{under(gcm(t, "k", 1), seal.Identity)}, 30},
		{[]seal.Rule{under(gcm(t, "k", 2), gcm(t, "k", 1))}, 30},
		{[]seal.Rule{under(gcm(t, "k", 2))}, 0},
		{[]seal.Rule{{Prefixes: []string{secrets + "ns/", secrets}, Providers: []seal.Provider{box(t, "k", 2), gcm(t, "k", 2)}}, under(gcm(t, "k", 3))}, 30},
		{[]seal.Rule{under(seal.Identity, box(t, "k", 2))}, 30},
		{[]seal.Rule{under(seal.Identity)}, 0},
	} {
		require.NoError(t, s.SetRules(step.rules...))
		p, err := s.Rewrite(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, step.rewritten, p.Rewritten)
		require.Equal(t, p.Total, p.Done)
		require.Equal(t, want, all(t, s.Backend()))
	}
	require.Equal(t, want, all(t, below))
}

// TestRewriteUnderWrites: counters are raised, and keys made and deleted, all the time; nothing is lost.
func TestRewriteUnderWrites(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below, under(gcm(t, "k0", 100)))
	db := runDB(t, s.Backend())
	store, err := storage.NewStore[int](db, secrets, nil)
	require.NoError(t, err)
	const counters, writers, rounds, raises = 20, 4, 20, 3_000
	for i := range counters {
		_, err := store.Create(t.Context(), fmt.Sprint(i), 0)
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	raised := make([][counters]int, writers)
	var total atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := (n*7 + w) % counters
				if _, err := store.Update(t.Context(), fmt.Sprint(i), func(v int) (int, error) { return v + 1, nil }); err != nil {
					t.Errorf("update: %v", err)
					return
				}
				raised[w][i]++
				total.Add(1)
				key := fmt.Sprintf("%d-%d", w, n%5)
				var err error
				if n%2 == 0 {
					_, err = store.Create(t.Context(), key, n)
				} else {
					err = store.Delete(t.Context(), key, 0)
				}
				if err != nil && !errors.Is(err, storage.ErrConflict) && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	rewritten := 0
	keys := []seal.Provider{gcm(t, "k0", 100)}
	for n := 1; !t.Failed() && (n <= rounds || total.Load() < raises); n++ {
		keys = slices.Insert(keys, 0, seal.Provider(gcm(t, fmt.Sprint("k", n), byte(100+n))))
		keys = keys[:min(len(keys), 3)] // the one before the last is for events that are still to come
		require.NoError(t, s.SetRules(under(keys...)))
		p, err := s.Rewrite(t.Context(), nil)
		require.NoError(t, err)
		rewritten += p.Rewritten
		require.NoError(t, db.WaitFor(t.Context(), revision(t, below)))
	}
	close(stop)
	wg.Wait()
	require.NoError(t, db.WaitFor(t.Context(), revision(t, below)))
	require.NoError(t, s.SetRules(under(keys[0])))
	t.Logf("%d values rewritten under %d updates", rewritten, total.Load())
	for i := range counters {
		want := 0
		for w := range writers {
			want += raised[w][i]
		}
		item, err := store.Get(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, want, item.Value, "counter %d", i)
	}
	all(t, s.Backend())
}

// TestRewriteResumes is stopped after each page, and goes on.
func TestRewriteResumes(t *testing.T) {
	below := newMemory(t)
	want := fill(t, below, 900)
	s := sealed(t, below, under(box(t, "k", 1), seal.Identity))
	total, calls := 0, 0
	for {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := s.Rewrite(ctx, func(p seal.Progress) {
			if p.Rewritten > 0 {
				cancel()
			}
		})
		cancel()
		total += p.Rewritten
		calls++
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, 900, total, "nothing is done twice")
	require.Greater(t, calls, 3)
	require.NoError(t, s.SetRules(under(box(t, "k", 1))))
	require.Equal(t, want, all(t, s.Backend()))
}

// TestRewriteLeavesUnreadable tells of what it cannot open, and does all else.
func TestRewriteLeavesUnreadable(t *testing.T) {
	below := newMemory(t)
	fill(t, below, 10)
	overwrite(t, below, a, []byte("k8s:enc:aesgcm:v1:lost:…"))
	overwrite(t, below, b, []byte("k8s:enc:aesgcm:v1:lost:…"))
	s := sealed(t, below, under(box(t, "k", 1), seal.Identity))
	p, err := s.Rewrite(t.Context(), nil)
	var corrupt *storage.CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Contains(t, []string{a, b}, corrupt.Key)
	require.ErrorContains(t, err, "aesgcm:v1:lost:")
	require.Equal(t, seal.Progress{Done: 12, Total: 12, Rewritten: 10, Unreadable: 2}, p)
	require.Equal(t, "k8s:enc:aesgcm:v1:lost:…", string(get(t, below, a).Value))
}

// TestRewriteStale seals anew what its provider calls stale, as an envelope whose key service has a new key.
func TestRewriteStale(t *testing.T) {
	p := &service{Provider: xaes(t, "k", 1), prefix: "k8s:enc:kms:v2:cloud:"}
	s := sealed(t, newMemory(t), under(p))
	want := fill(t, s.Backend(), 3)
	p.stale.Store(true)
	got, err := s.Rewrite(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 3, got.Rewritten)
	p.away.Store(true)
	_, err = s.Rewrite(t.Context(), nil)
	require.ErrorIs(t, err, seal.ErrUnavailable)
	p.away.Store(false)
	require.Equal(t, want, all(t, s.Backend()))
}

// TestRewriteKeepsLeases: a key with a lease goes with it, rewritten or not.
func TestRewriteKeepsLeases(t *testing.T) {
	for name, below := range map[string]storage.Backend{"memory": newMemory(t), "etcd": newEtcd(t)} {
		t.Run(name, func(t *testing.T) {
			s := sealed(t, below, under(gcm(t, "k", 1)))
			leaser := s.Backend().(storage.Leaser)
			lease, err := leaser.Grant(t.Context(), time.Hour)
			require.NoError(t, err)
			_, err = s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{
				{Key: a, Value: []byte("1"), Lease: lease.ID}, {Key: b, Value: []byte("1")},
			}})
			require.NoError(t, err)
			require.NoError(t, s.SetRules(under(gcm(t, "k", 2), gcm(t, "k", 1))))
			p, err := s.Rewrite(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, 2, p.Rewritten)
			require.NoError(t, leaser.Revoke(t.Context(), lease.ID))
			require.Equal(t, map[string]string{b: "1"}, all(t, s.Backend()))
		})
	}
}

// slow holds commits until they are let go.
type slow struct {
	storage.Backend
	entered, let chan struct{}
}

func (b *slow) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	if b.entered != nil {
		b.entered <- struct{}{}
		<-b.let
	}
	return b.Backend.Commit(ctx, t)
}

// TestRewriteWaitsForCommits: a commit that was sealed by the old key and is still under way is not missed.
func TestRewriteWaitsForCommits(t *testing.T) {
	below := &slow{Backend: newMemory(t), entered: make(chan struct{}), let: make(chan struct{})}
	s := sealed(t, below, under(gcm(t, "old", 1)))
	committed := make(chan error)
	go func() {
		_, err := s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: a, Value: []byte("1")}}})
		committed <- err
	}()
	<-below.entered
	require.NoError(t, s.SetRules(under(gcm(t, "new", 2), gcm(t, "old", 1))))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Rewrite(ctx, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded, "it waits")
	rewritten := make(chan seal.Progress)
	go func() {
		p, err := s.Rewrite(t.Context(), nil)
		if err != nil {
			t.Errorf("rewrite: %v", err)
		}
		rewritten <- p
	}()
	below.let <- struct{}{}
	require.NoError(t, <-committed)
	<-below.entered
	below.let <- struct{}{}
	require.Equal(t, 1, (<-rewritten).Rewritten)
	require.NoError(t, s.SetRules(under(gcm(t, "new", 2))))
	require.Equal(t, map[string]string{a: "1"}, all(t, s.Backend()))
}

// TestRewriteWhileRulesChange is an error: what it began is not what is wanted.
func TestRewriteWhileRulesChange(t *testing.T) {
	below := newMemory(t)
	fill(t, below, 300)
	s := sealed(t, below, under(gcm(t, "k", 1), seal.Identity))
	_, err := s.Rewrite(t.Context(), func(p seal.Progress) {
		if p.Done == 0 {
			require.NoError(t, s.SetRules(under(gcm(t, "k", 2), gcm(t, "k", 1), seal.Identity)))
		}
	})
	require.ErrorContains(t, err, "rules were changed")
	_, err = s.Rewrite(t.Context(), nil)
	require.NoError(t, err)
}
