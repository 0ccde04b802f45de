package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Leaser is what a Backend may offer beside: keys that go by themselves when nobody keeps their lease alive.
// All methods may be called concurrently. Leases are etcd's, in memory too.
//
// A lease lasts whole seconds, counted by the store. When it has ended, all keys that are attached to it
// (Op.Lease) are deleted in one transaction, with a revision of its own that watches see; a lease without
// keys ends without a revision. It never ends early, but it may end late: a store looks now and then, and one
// that changes its leader or starts anew begins to count anew. A lease is there until its keys are gone.
type Leaser interface {
	// Grant makes a lease that ends after ttl unless it is kept alive. The ttl is rounded up to whole
	// seconds and must be positive; the store may grant more than was asked for, Lease.TTL tells. Errors are
	// those of Backend.Commit; if the outcome is open, a lease may be left that nobody knows, until it ends.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)

	// KeepAlive makes the lease last its whole time again, from now on, and returns this time. It tries
	// once. A *LeaseError says that the lease has ended.
	KeepAlive(ctx context.Context, lease int64) (ttl time.Duration, err error)

	// Revoke ends the lease at once and deletes its keys. A *LeaseError says that it had ended before.
	Revoke(ctx context.Context, lease int64) error
}

// Lease is a lease that was granted.
type Lease struct {
	ID  int64         // positive
	TTL time.Duration // how long it lasts from Grant, and from each KeepAlive on
}

// LeaseError says that a lease has ended, or never was. From a transaction nothing was written. It is
// ErrNotFound.
type LeaseError struct {
	Lease int64 // 0: one of those that the transaction names, the store does not say which
}

// Error implements error.
func (e *LeaseError) Error() string {
	if e.Lease == 0 {
		return "a lease has ended"
	}
	return fmt.Sprintf("lease %x has ended", e.Lease)
}

// Is makes errors.Is(e, ErrNotFound) true.
func (e *LeaseError) Is(target error) bool { return target == ErrNotFound }

// leaser returns the backend's leases, or an error that is errors.ErrUnsupported.
func (db *DB) leaser() (Leaser, error) {
	l, ok := db.b.(Leaser)
	if !ok {
		return nil, fmt.Errorf("the backend (%T) has no leases: %w", db.b, errors.ErrUnsupported)
	}
	return l, nil
}

// Grant makes a lease, to be named in Write.Lease. See Leaser.Grant; errors.ErrUnsupported if the backend has
// no leases, as from the two others. It needs no Run.
func (db *DB) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	b, err := db.leaser()
	if err != nil {
		return Lease{}, fmt.Errorf("grant a lease: %w", err)
	}
	lease, err := b.Grant(ctx, ttl)
	if err != nil {
		return Lease{}, fmt.Errorf("grant a lease of %s: %w", ttl, err)
	}
	return lease, nil
}

// KeepAlive lets a lease begin anew. See Leaser.KeepAlive.
func (db *DB) KeepAlive(ctx context.Context, lease int64) (ttl time.Duration, err error) {
	b, err := db.leaser()
	if err == nil {
		ttl, err = b.KeepAlive(ctx, lease)
	}
	if err != nil {
		return 0, fmt.Errorf("keep lease %x alive: %w", lease, err)
	}
	return ttl, nil
}

// Revoke ends a lease and deletes its keys. See Leaser.Revoke.
func (db *DB) Revoke(ctx context.Context, lease int64) error {
	b, err := db.leaser()
	if err == nil {
		err = b.Revoke(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("revoke lease %x: %w", lease, err)
	}
	return nil
}
