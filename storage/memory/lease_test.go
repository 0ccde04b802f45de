package memory_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

func commit(t *testing.T, b *memory.Backend, op storage.Op) {
	t.Helper()
	_, err := b.Commit(t.Context(), storage.Txn{Then: []storage.Op{op}})
	require.NoError(t, err)
}

// In virtual time a lease ends to the nanosecond.
func TestLeaseTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New(memory.Config{})
		require.NoError(t, err)
		there := func() int {
			page, err := b.Range(t.Context(), storage.Range{})
			require.NoError(t, err)
			return len(page.KVs)
		}
		lease, err := b.Grant(t.Context(), 9500*time.Millisecond)
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, lease.TTL)
		commit(t, b, storage.Op{Key: "/a", Value: []byte("1"), Lease: lease.ID})
		time.Sleep(9 * time.Second)
		ttl, err := b.KeepAlive(t.Context(), lease.ID)
		require.NoError(t, err)
		require.Equal(t, lease.TTL, ttl)
		time.Sleep(10*time.Second - 1)
		require.Equal(t, 1, there())
		time.Sleep(1)
		synctest.Wait()
		require.Equal(t, 0, there())
		_, err = b.KeepAlive(t.Context(), lease.ID)
		require.ErrorIs(t, err, storage.ErrNotFound)
	})
}

// deaf is a store that does not hear of a holder: its requests for leases wait until they are given up.
type deaf struct {
	*memory.Backend
	off chan struct{} // closed: deaf
}

func (d *deaf) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	select {
	case <-d.off:
		<-ctx.Done()
		return 0, ctx.Err()
	default:
		return d.Backend.KeepAlive(ctx, lease)
	}
}

// A holder that is cut off knows by its own clock when the lock may be another's.
func TestLockTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New(memory.Config{})
		require.NoError(t, err)
		store := &deaf{b, make(chan struct{})}
		db, err := storage.New(store, storage.Config{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- db.Run(ctx) }()
		defer func() {
			cancel()
			require.NoError(t, <-ended)
		}()
		locks, err := storage.NewLocks(db, storage.LocksConfig{TTL: 30 * time.Second})
		require.NoError(t, err)
		lock, err := locks.Acquire(t.Context(), "x")
		require.NoError(t, err)
		time.Sleep(24 * time.Hour)
		select {
		case <-lock.Lost():
			require.FailNow(t, "lost, though it was kept alive")
		default:
		}
		close(store.off)
		begin := time.Now()
		<-lock.Lost()
		require.LessOrEqual(t, time.Since(begin), 30*time.Second)
		require.Greater(t, time.Since(begin), 15*time.Second)
		require.ErrorIs(t, lock.Release(t.Context()), storage.ErrLockLost)
	})
}
