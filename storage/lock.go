package storage

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// Errors of locks, to compare with errors.Is.
var (
	// ErrLocked: somebody else holds the lock, or waits for it.
	ErrLocked = errors.New("locked by another")
	// ErrLockLost: the lock was lost before it was released. What was written with its fence until then is
	// written, the rest was refused.
	ErrLockLost = errors.New("lock lost")
)

// LocksConfig configures Locks. The zero value works.
type LocksConfig struct {
	// Prefix is where the locks lie: the prefix of a table that belongs to the locks alone. All who are to
	// exclude each other name the same. It is absolute. Default: the
	// DB's prefix and "locks/".
	Prefix string
	// TTL is how long a lock outlives a holder who is not heard of, at least (see Leaser). It is kept alive
	// each third of it. Whole seconds. Default 15 s.
	TTL time.Duration
	// Wait is how long Acquire waits at most. Default 0: until its context ends.
	Wait time.Duration
	// Holder is stored with each lock, for people who look who holds it.
	Holder string
}

func (c *LocksConfig) validate() error {
	if c.TTL < 0 || c.Wait < 0 {
		return errors.New("a limit is negative")
	}
	return nil
}

// Locks are named locks that many processes share through the store. All methods may be called concurrently.
// They need the DB's Run, and a backend that is a Leaser.
//
// What they guarantee. When Acquire returns a lock, the fences ([Lock.Fence]) of all locks of that name that
// were held before have ceased to hold, for ever, and the store compares a fence in the transaction that
// carries it. So nothing that an earlier holder writes with its fence comes after anything that a later holder
// reads or writes, however long the earlier one was paused or cut off, and whatever its clock says.
//
// What they cannot guarantee. Code has no fence: a holder that was paused for longer than the TTL goes on
// running beside the next one, until it looks at [Lock.Lost] or writes with its fence. What it writes without,
// or does to anything but this store, the lock does not guard.
//
// The locks' keys must keep their revisions: whoever rewrites them, as seal's Rewrite does where a rule covers them,
// takes every lock from its holder.
//
// How they work. Each who wants a lock has a lease, and a key with it: <prefix><name>/<lease>. Whose key was
// created first holds the lock; each other waits until the key before its own is gone, and for that key only.
// So locks are handed over in the order in which they were asked for, and each handing over wakes one waiter.
type Locks struct {
	db *DB
	t  *Table
	c  LocksConfig

	mu       sync.Mutex
	follower *lockFollower // while somebody holds or waits
}

// NewLocks opens the table of the locks; it starts nothing. A DB may have one Locks of a prefix. It returns
// an errors.ErrUnsupported if the backend has no leases.
func NewLocks(db *DB, c LocksConfig) (*Locks, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open locks: %w", err)
	}
	if _, err := db.leaser(); err != nil {
		return nil, fmt.Errorf("open locks: %w", err)
	}
	c.Prefix = orDefault(c.Prefix, db.c.Prefix+"locks/")
	c.TTL = orDefault(c.TTL, 15*time.Second)
	t, err := db.Table(Schema{Prefix: c.Prefix})
	if err != nil {
		return nil, fmt.Errorf("open locks: %w", err)
	}
	return &Locks{db: db, t: t, c: c}, nil
}

// Table returns the table beneath, to see who holds and who waits, and for DB.Drop. It is read only.
func (l *Locks) Table() *Table { return l.t }

// Acquire waits for the lock of a name, first come first served, and returns it held. Any name but "" will do.
// The lock is kept alive in the background until it is released, or lost, or ctx ends: ctx is for holding,
// too. It is not reentrant. Who is paused or cut off for so long that the place in the queue is gone, while
// waiting, is last in the queue again.
//
// It returns ErrLocked after LocksConfig.Wait, the context's error, ErrClosed, and errors of the store. Then
// nothing is left of the attempt; if the store cannot be reached, a key that goes with its lease.
func (l *Locks) Acquire(ctx context.Context, name string) (*Lock, error) {
	waiting := ctx
	if l.c.Wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, l.c.Wait)
		defer cancel()
	}
	for {
		k, err := l.acquire(ctx, waiting, name)
		switch {
		case err == nil:
			return k, nil
		case ctx.Err() != nil:
			err = ctx.Err()
		case waiting.Err() != nil:
			err = ErrLocked
		case errors.Is(err, ErrLockLost):
			continue
		}
		return nil, fmt.Errorf("acquire lock %q: %w", name, err)
	}
}

// acquire takes one place in the queue and waits in it.
func (l *Locks) acquire(ctx, waiting context.Context, name string) (*Lock, error) {
	k, err := l.enqueue(ctx, waiting, name)
	if err != nil {
		return nil, err
	}
	if err := k.wait(waiting); err != nil {
		k.abandon(ctx)
		return nil, err
	}
	return k, nil
}

// TryAcquire returns the lock of a name if nobody holds it and nobody waits for it, else ErrLocked, without
// waiting for others. Besides it is as Acquire. Of some who try at the same moment, at most one gets it.
func (l *Locks) TryAcquire(ctx context.Context, name string) (*Lock, error) {
	k, err := l.tryAcquire(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("try to acquire lock %q: %w", name, err)
	}
	return k, nil
}

func (l *Locks) tryAcquire(ctx context.Context, name string) (*Lock, error) {
	s, err := l.t.Snapshot(ctx, 0, false)
	if err != nil {
		return nil, err
	}
	for range s.All(Filter{Prefix: lockDir(name)}, "") {
		return nil, ErrLocked
	}
	k, err := l.enqueue(ctx, ctx, name)
	if err != nil {
		return nil, err
	}
	before, err := k.before(ctx)
	if err == nil && before != "" {
		err = ErrLocked
	}
	if err != nil {
		k.abandon(ctx)
		return nil, err
	}
	return k, nil
}

// lockDir is where the keys of a name lie in the table. No name's lies in another's.
func lockDir(name string) string { return url.PathEscape(name) + "/" }

// enqueue takes a place in the queue, and keeps it until ctx ends or it is given up. Asking for it takes no
// longer than waiting.
func (l *Locks) enqueue(ctx, waiting context.Context, name string) (*Lock, error) {
	if name == "" {
		return nil, errors.New("a lock has no name")
	}
	asked := time.Now()
	lease, err := l.db.Grant(waiting, l.c.TTL)
	if err != nil {
		return nil, err
	}
	k := &Lock{
		l: l, name: name, dir: lockDir(name), lease: lease, follower: l.join(),
		lost: make(chan struct{}), done: make(chan struct{}),
	}
	k.key = fmt.Sprintf("%s%016x", k.dir, lease.ID)
	changed := k.follower.watch(k.key)
	k.rev, err = l.db.Commit(waiting, Write{Table: l.t, Key: k.key, Value: []byte(l.c.Holder), Lease: lease.ID})
	if err != nil {
		k.follower.unwatch(k.key, changed)
		l.leave(k.follower)
		return nil, k.refused(ctx, err)
	}
	held, stop := context.WithCancel(ctx)
	k.stop = stop
	k.deadline = time.AfterFunc(time.Until(asked.Add(lease.TTL)), func() { k.lose(ErrLockLost) })
	go k.keep(ctx, held, changed)
	return k, nil
}
