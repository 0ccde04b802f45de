package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// maxLease is etcd's longest lease.
const maxLease = 9_000_000_000 * time.Second

// lease is a lease that lasts. The Backend's mu guards it.
type lease struct {
	id    int64
	ttl   time.Duration
	end   time.Time
	timer *time.Timer // ends it; it holds no goroutine
	keys  map[string]struct{}
}

var _ storage.Leaser = (*Backend)(nil)

// Grant implements storage.Leaser. A lease ends exactly when its time is over.
func (b *Backend) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	switch {
	case ttl <= 0:
		return storage.Lease{}, errors.New("it must be positive")
	case ttl > maxLease:
		return storage.Lease{}, fmt.Errorf("the longest is %s", maxLease)
	case ctx.Err() != nil:
		return storage.Lease{}, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastLease++
	l := &lease{id: b.lastLease, ttl: (ttl + time.Second - 1).Truncate(time.Second), keys: map[string]struct{}{}}
	l.end = time.Now().Add(l.ttl)
	l.timer = time.AfterFunc(l.ttl, func() { b.expire(l) })
	b.leases[l.id] = l
	return storage.Lease{ID: l.id, TTL: l.ttl}, nil
}

// KeepAlive implements storage.Leaser.
func (b *Backend) KeepAlive(ctx context.Context, id int64) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[id]
	now := time.Now()
	if !ok || !now.Before(l.end) {
		return 0, &storage.LeaseError{Lease: id}
	}
	l.end = now.Add(l.ttl)
	l.timer.Reset(l.ttl)
	return l.ttl, nil
}

// Revoke implements storage.Leaser.
func (b *Backend) Revoke(ctx context.Context, id int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[id]
	if !ok {
		return &storage.LeaseError{Lease: id}
	}
	b.end(l)
	return nil
}

// expire ends a lease whose timer fired, unless it was kept alive, or revoked, at the same moment.
func (b *Backend) expire(l *lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leases[l.id] == l && !time.Now().Before(l.end) {
		b.end(l)
	}
}

// end forgets a lease and deletes its keys. The caller holds mu.
func (b *Backend) end(l *lease) {
	l.timer.Stop()
	delete(b.leases, l.id)
	if len(l.keys) == 0 {
		return
	}
	batch := storage.Batch{Rev: b.rev + 1}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		delete(b.leaseOf, key)
		batch.Events = append(batch.Events, storage.KV{Key: key, Rev: batch.Rev})
	}
	b.append(batch)
}

// checkLeases tells whether all leases that a transaction names last. The caller holds mu.
func (b *Backend) checkLeases(ops []storage.Op) error {
	for _, op := range ops {
		switch _, ok := b.leases[op.Lease]; {
		case ok || op.Lease == 0 || op.Value == nil:
		case op.Lease != storage.KeepLease:
			return &storage.LeaseError{Lease: op.Lease}
		case b.current(op.Key).Rev == 0:
			return fmt.Errorf("keep the lease of %s: %w", op.Key, storage.ErrNotFound)
		}
	}
	return nil
}

// attach gives a key that is about to be written the lease of the write. The caller holds mu.
func (b *Backend) attach(op storage.Op) {
	if op.Lease == storage.KeepLease && op.Value != nil {
		return
	}
	if l, ok := b.leaseOf[op.Key]; ok {
		delete(l.keys, op.Key)
		delete(b.leaseOf, op.Key)
	}
	if op.Lease != 0 && op.Value != nil {
		l := b.leases[op.Lease]
		l.keys[op.Key] = struct{}{}
		b.leaseOf[op.Key] = l
	}
}
