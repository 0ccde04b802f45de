//go:build linux

package soak

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// buggy is a backend with a bug put in.
type buggy struct {
	storage.Backend
	commit   func(ctx context.Context, t storage.Txn) (int64, error)
	revision func(ctx context.Context) (int64, error)
	batch    func(n int, b storage.Batch) []storage.Batch // n counts the batches that have events
}

func (b *buggy) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	if b.commit == nil {
		return b.Backend.Commit(ctx, t)
	}
	return b.commit(ctx, t)
}

func (b *buggy) Revision(ctx context.Context) (int64, error) {
	if b.revision == nil {
		return b.Backend.Revision(ctx)
	}
	return b.revision(ctx)
}

func (b *buggy) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		n := 0
		for batch, err := range b.Backend.Watch(ctx, prefix, after) {
			out := []storage.Batch{batch}
			if b.batch != nil && len(batch.Events) > 0 {
				n++
				out = b.batch(n, batch)
			}
			for _, one := range out {
				if !yield(one, err) {
					return
				}
			}
		}
	}
}

// every is true once in n calls.
func every(n int64) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1)%n == 0 }
}

// TestKnownBugs puts bugs that stores have had into a backend and sees that the checks find each of them, and nothing
// where there is none.
func TestKnownBugs(t *testing.T) {
	const rare = 200
	for _, bug := range []struct {
		name string
		make func(b storage.Backend) *buggy
		want string // begins one of the problems; "": there must be none
	}{
		{"none", func(b storage.Backend) *buggy { return &buggy{Backend: b} }, ""},
		{"stale revision", func(b storage.Backend) *buggy {
			// A read index that is confirmed by nobody: what the member knew a moment ago.
			var mu sync.Mutex
			var old int64
			sometimes := every(5)
			return &buggy{Backend: b, revision: func(ctx context.Context) (int64, error) {
				mu.Lock()
				defer mu.Unlock()
				rev, err := b.Revision(ctx)
				if err != nil || sometimes() || old == 0 {
					old = rev
				}
				return old, err
			}, batch: func(n int, batch storage.Batch) []storage.Batch {
				pause(t.Context(), time.Millisecond) // the watch lags a little, as real ones do
				return []storage.Batch{batch}
			}}
		}, "stale: "},
		{"lost event", func(b storage.Backend) *buggy {
			return &buggy{Backend: b, batch: func(n int, batch storage.Batch) []storage.Batch {
				if n%rare == 0 {
					return []storage.Batch{{Rev: batch.Rev}}
				}
				return []storage.Batch{batch}
			}}
		}, "watch: "},
		{"half a revision", func(b storage.Backend) *buggy {
			return &buggy{Backend: b, batch: func(n int, batch storage.Batch) []storage.Batch {
				if len(batch.Events) > 1 && n%10 == 0 {
					return []storage.Batch{{Rev: batch.Rev, Events: batch.Events[:1]}, {Rev: batch.Rev, Events: batch.Events[1:]}}
				}
				return []storage.Batch{batch}
			}}
		}, "watch: "},
		{"events out of order", func(b storage.Backend) *buggy {
			var held *storage.Batch
			var mu sync.Mutex
			return &buggy{Backend: b, batch: func(n int, batch storage.Batch) []storage.Batch {
				mu.Lock()
				defer mu.Unlock()
				if n%rare == 0 {
					held = &batch
					return nil
				}
				if held == nil {
					return []storage.Batch{batch}
				}
				first := *held
				held = nil
				return []storage.Batch{batch, first}
			}}
		}, "watch: "},
		{"event of another time", func(b storage.Backend) *buggy {
			var before *storage.Batch
			var mu sync.Mutex
			return &buggy{Backend: b, batch: func(n int, batch storage.Batch) []storage.Batch {
				mu.Lock()
				defer mu.Unlock()
				out := batch
				if n%rare == 0 && before != nil { // the same event again, under the next revision
					out = storage.Batch{Rev: batch.Rev}
					for _, kv := range before.Events {
						kv.Rev = batch.Rev
						out.Events = append(out.Events, kv)
					}
				}
				before = &batch
				return []storage.Batch{out}
			}}
		}, "watch: "},
		{"acknowledged and not done", func(b storage.Backend) *buggy {
			sometimes := every(rare)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				if sometimes() {
					return b.Revision(ctx)
				}
				return b.Commit(ctx, t)
			}}
		}, "lost: "},
		{"done and called refused", func(b storage.Backend) *buggy {
			sometimes := every(rare / 3)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				rev, err := b.Commit(ctx, t)
				if err == nil && len(t.If) > 0 && sometimes() {
					return 0, &storage.ConflictError{Key: t.If[0].Key, Want: t.If[0].Rev, Have: rev, Exists: true}
				}
				return rev, err
			}}
		}, "commit: "},
		{"done twice", func(b storage.Backend) *buggy {
			// A client that tries again after its answer was lost.
			sometimes := every(rare / 3)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				rev, err := b.Commit(ctx, t)
				if err == nil && len(t.If) == 0 && sometimes() {
					return b.Commit(ctx, t)
				}
				return rev, err
			}}
		}, "history: "},
		{"conditions not looked at", func(b storage.Backend) *buggy {
			sometimes := every(20)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				if sometimes() {
					t.If = nil
				}
				return b.Commit(ctx, t)
			}}
		}, "porcupine: Illegal"},
		{"half a transaction", func(b storage.Backend) *buggy {
			sometimes := every(20)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				if len(t.Then) > 1 && sometimes() {
					t.Then = t.Then[:1]
				}
				return b.Commit(ctx, t)
			}}
		}, "lost: "},
		{"undone after a crash", func(b storage.Backend) *buggy {
			// An unanswered write that is there for a moment, and then not: the old value comes back.
			sometimes := every(rare)
			return &buggy{Backend: b, commit: func(ctx context.Context, t storage.Txn) (int64, error) {
				if len(t.Then) == 0 || !sometimes() {
					return b.Commit(ctx, t)
				}
				before, err := b.Range(ctx, storage.Range{Prefix: t.Then[0].Key})
				if err != nil || len(before.KVs) == 0 {
					return b.Commit(ctx, t)
				}
				if _, err := b.Commit(ctx, t); err != nil {
					return 0, err
				}
				back := storage.Op{Key: t.Then[0].Key, Value: before.KVs[0].Value}
				if _, err := b.Commit(ctx, storage.Txn{Then: []storage.Op{back}}); err != nil {
					return 0, err
				}
				return 0, errors.New("no answer")
			}}
		}, "history: "},
	} {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			problems := soakBackend(t, bug.make)
			if bug.want == "" {
				require.Empty(t, problems)
				return
			}
			for _, p := range problems {
				if strings.HasPrefix(p, bug.want) {
					t.Log(p)
					return
				}
			}
			t.Fatalf("not caught; what was: %q", problems)
		})
	}
}

// soakBackend has twelve clients work over two DBs of one store, both through the bug, and returns what was found. The
// history is the store's own.
func soakBackend(t *testing.T, bug func(storage.Backend) *buggy) []string {
	store, err := memory.New(memory.Config{History: 1 << 20})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running, working, watching sync.WaitGroup
	defer running.Wait()
	defer cancel()
	w := newWork("bug", 1, time.Millisecond)
	h := newHistory(1, nil)
	running.Go(func() { h.recordBackend(ctx, store) })
	var doors []door
	for range 2 {
		db, err := storage.New(bug(store), storage.Config{Wait: time.Second})
		require.NoError(t, err)
		running.Go(func() { _ = db.Run(ctx) }) // what it may return is a bug that was put in
		d, err := newDBDoor(db)
		require.NoError(t, err)
		doors = append(doors, d)
	}
	open := func(r *rand.Rand) door { return doors[r.IntN(len(doors))] }
	watchCtx, stopWatches := context.WithCancel(ctx)
	defer watching.Wait()
	defer stopWatches()
	for id := range 4 {
		watching.Go(func() { w.watch(watchCtx, id, open) })
	}
	workCtx, stop := context.WithCancel(ctx)
	defer stop()
	for id := range clients {
		working.Go(func() { w.client(workCtx, id, open) })
	}
	require.NoError(t, h.await(ctx, 1500))
	stop()
	working.Wait()
	end, err := store.Revision(ctx)
	require.NoError(t, err)
	require.NoError(t, h.await(ctx, end))
	stopWatches()
	watching.Wait()
	return w.check(h).problems
}
