package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/storetest"
)

// slice makes a store that has been written to look empty: what lies under one prefix, from one revision on. So one
// cluster does for all tests of the suite.
type slice struct {
	b      storage.Backend
	prefix string
	base   int64 // added to a revision
}

var _ storage.Backend = (*slice)(nil)

func newSlice(t *testing.T, b storage.Backend, prefix string) *slice {
	t.Helper()
	rev, err := b.Revision(t.Context())
	require.NoError(t, err)
	return &slice{b: b, prefix: prefix, base: rev - 1}
}

func (s *slice) in(rev int64) int64 {
	if rev == 0 {
		return 0
	}
	return rev + s.base
}

func (s *slice) out(rev int64) int64 {
	if rev == 0 {
		return 0
	}
	return rev - s.base
}

func (s *slice) key(k string) string {
	if k == "" {
		return "" // for the store to refuse
	}
	return s.prefix + k
}

func (s *slice) kvs(kvs []storage.KV) []storage.KV {
	for i := range kvs {
		kv := &kvs[i]
		kv.Key = strings.TrimPrefix(kv.Key, s.prefix)
		kv.Rev, kv.Created = s.out(kv.Rev), s.out(kv.Created)
	}
	return kvs
}

func (s *slice) err(err error) error {
	var conflict *storage.ConflictError
	var old *storage.TooOldError
	var future *storage.FutureError
	switch {
	case errors.As(err, &conflict):
		return &storage.ConflictError{
			Key: strings.TrimPrefix(conflict.Key, s.prefix), Want: s.out(conflict.Want), Have: s.out(conflict.Have), Exists: conflict.Exists,
		}
	case errors.As(err, &old):
		return &storage.TooOldError{Rev: s.out(old.Rev), Oldest: s.out(old.Oldest)}
	case errors.As(err, &future):
		return &storage.FutureError{Rev: s.out(future.Rev), Current: s.out(future.Current)}
	}
	return err
}

// Range implements storage.Backend.
func (s *slice) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	r.Prefix, r.From, r.At = s.prefix+r.Prefix, s.key(r.From), s.in(r.At)
	page, err := s.b.Range(ctx, r)
	page.KVs, page.Rev = s.kvs(page.KVs), s.out(page.Rev)
	return page, s.err(err)
}

// Commit implements storage.Backend.
func (s *slice) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	own := storage.Txn{}
	for _, c := range t.If {
		c.Key, c.Rev = s.key(c.Key), s.in(c.Rev)
		own.If = append(own.If, c)
	}
	for _, op := range t.Then {
		op.Key = s.key(op.Key)
		own.Then = append(own.Then, op)
	}
	rev, err := s.b.Commit(ctx, own)
	return s.out(rev), s.err(err)
}

// Watch implements storage.Backend.
func (s *slice) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		for b, err := range s.b.Watch(ctx, s.prefix+prefix, s.in(after)) {
			b.Rev, b.Events = s.out(b.Rev), s.kvs(b.Events)
			if !yield(b, s.err(err)) {
				return
			}
		}
	}
}

// Revision implements storage.Backend.
func (s *slice) Revision(ctx context.Context) (int64, error) {
	rev, err := s.b.Revision(ctx)
	return s.out(rev), s.err(err)
}

// Compact implements storetest.Compacter.
func (s *slice) Compact(ctx context.Context, rev int64) error {
	return s.err(s.b.(storetest.Compacter).Compact(ctx, s.in(rev)))
}

// leased is a slice with leases. An end of a lease later on would be a write in another slice, so all end with it.
type leased struct {
	*slice
	mu     sync.Mutex
	leases []int64
}

var _ storage.Leaser = (*leased)(nil)

func newLeased(t *testing.T, b storage.Backend, prefix string) *leased {
	t.Helper()
	s := &leased{slice: newSlice(t, b, prefix)}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range s.leases {
			if err := b.(storage.Leaser).Revoke(context.Background(), id); err != nil {
				require.ErrorIs(t, err, storage.ErrNotFound)
			}
		}
	})
	return s
}

// Grant implements storage.Leaser.
func (s *leased) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	lease, err := s.b.(storage.Leaser).Grant(ctx, ttl)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases = append(s.leases, lease.ID)
	return lease, err
}

// KeepAlive implements storage.Leaser.
func (s *leased) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	return s.b.(storage.Leaser).KeepAlive(ctx, lease)
}

// Revoke implements storage.Leaser.
func (s *leased) Revoke(ctx context.Context, lease int64) error {
	return s.b.(storage.Leaser).Revoke(ctx, lease)
}

// TestStoreOfLeader runs the suite against the member of a cluster of three that leads, for which leases are those of
// a single member.
func TestStoreOfLeader(t *testing.T) {
	t.Parallel()
	leader, _ := three(t)
	n := 0
	storetest.Run(t, func(t *testing.T) storage.Backend {
		n++
		return newSlice(t, leader.Backend(), fmt.Sprintf("/%d", n))
	})
}

// TestStoreOfFollower runs it against one that follows, with leases.
func TestStoreOfFollower(t *testing.T) {
	t.Parallel()
	_, follower := three(t)
	n := 0
	storetest.Run(t, func(t *testing.T) storage.Backend {
		n++
		return newLeased(t, follower.Backend(), fmt.Sprintf("/%d", n))
	})
}
