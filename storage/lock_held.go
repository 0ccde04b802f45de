package storage

import (
	"context"
	"errors"
	"sync"
	"time"
)

// releaseTimeout bounds the giving back of a lock.
const releaseTimeout = 5 * time.Second

// Lock is a lock that is held, or was. All methods may be called concurrently.
type Lock struct {
	l        *Locks
	name     string
	dir, key string // in the table
	rev      int64  // that created the key
	lease    Lease
	follower *lockFollower

	stop     context.CancelFunc // ends the keeper
	done     chan struct{}      // closed when the keeper has ended
	deadline *time.Timer        // when the lease may have ended, as far as we know here

	once sync.Once
	lost chan struct{}
	why  error // set before lost is closed; nil: it was given back

	mu   sync.Mutex
	over bool // the lease has ended
}

// Name is the lock's name.
func (k *Lock) Name() string { return k.name }

// Fence is a condition that holds only while this lock is held: for Write.If. It never holds again
// afterwards; a transaction with it is then refused with a *ConflictError.
func (k *Lock) Fence() Cond { return Cond{Key: k.l.t.Abs(k.key), Rev: k.rev} }

// Lost is closed when the lock has ended: it was released, its lease has ended or may have ended without our
// hearing of it, somebody deleted its key, or Acquire's context ended. It may come late, after a pause of the
// process for instance. What must not be late is for Fence.
func (k *Lock) Lost() <-chan struct{} { return k.lost }

func (k *Lock) isLost() bool {
	select {
	case <-k.lost:
		return true
	default:
		return false
	}
}

func (k *Lock) lose(why error) {
	k.once.Do(func() {
		k.why = why
		close(k.lost)
	})
}

// Release gives the lock back. All that was started for it has ended when it returns, with or without an
// error. It takes until ctx ends, and 5 s at most; if ctx has ended already, it takes its time nevertheless.
// It returns ErrLockLost if the lock was lost before, and the store's error if the store did not hear of it:
// then the lock goes with its lease, or Release is called once more. A lock that was released, by hand or
// by the end of Acquire's context, may be released again.
func (k *Lock) Release(ctx context.Context) error {
	k.lose(nil)
	k.stop()
	<-k.done
	return k.giveBack(ctx)
}

// giveBack ends the lease, and with it the key.
func (k *Lock) giveBack(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return k.why
	}
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	err := k.l.db.Revoke(ctx, k.lease.ID)
	switch {
	case err == nil:
		k.over = true
		return k.why
	case errors.Is(err, ErrNotFound):
		k.over = true
		if k.why == nil {
			k.why = ErrLockLost
		}
		return k.why
	}
	return err
}

// refused cleans up after the key could not be written, or perhaps was, and returns the reason.
func (k *Lock) refused(ctx context.Context, why error) error {
	err := k.giveBack(ctx)
	if errors.Is(why, ErrNotFound) { // the lease ended in between
		return ErrLockLost
	}
	if err != nil && !errors.Is(err, ErrLockLost) {
		k.l.db.c.Log.Warn("lease of a lock not revoked, it ends by itself", "lock", k.name, "err", err)
	}
	return why
}

// abandon releases a lock that nobody gets to see.
func (k *Lock) abandon(ctx context.Context) {
	if err := k.Release(ctx); err != nil && !errors.Is(err, ErrLockLost) {
		k.l.db.c.Log.Warn("place in the queue for a lock not given up, it goes with its lease", "lock", k.name, "err", err)
	}
}

// before returns the key that was created last before the lock's own, "" if it is the first: the lock is
// held then. Keys are created in the order of revisions, so none can come before it later.
func (k *Lock) before(ctx context.Context) (string, error) {
	if k.isLost() {
		return "", ErrLockLost
	}
	s, err := k.l.t.Snapshot(ctx, k.rev, false)
	if err != nil {
		return "", err
	}
	if own, ok := s.Get(k.key); !ok || own.Rev != k.rev {
		return "", ErrLockLost
	}
	var last *Entry
	for e := range s.All(Filter{Prefix: k.dir}, "") {
		if e.Created < k.rev && (last == nil || e.Created > last.Created) {
			last = e
		}
	}
	if last == nil {
		return "", nil
	}
	return last.Key, nil
}

// wait returns nil when the lock is held.
func (k *Lock) wait(ctx context.Context) error {
	var watched string
	var changed <-chan struct{}
	defer func() { k.follower.unwatch(watched, changed) }()
	for {
		before, err := k.before(ctx)
		switch {
		case errors.Is(err, ErrFuture):
			continue // the cache lags, and was waited for
		case err == nil && before == "" && ctx.Err() == nil:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case before != watched: // look again: it may have gone before it was watched
			k.follower.unwatch(watched, changed)
			watched, changed = before, k.follower.watch(before)
			continue
		}
		select {
		case <-changed:
			watched = ""
		case <-k.lost:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keep keeps the lock until it is released, lost, or Acquire's context ends; then it gives it back.
func (k *Lock) keep(ctx, held context.Context, changed <-chan struct{}) {
	defer close(k.done)
	defer k.l.leave(k.follower)
	k.lose(k.tend(held, changed))
	k.stop()
	k.deadline.Stop()
	if k.why != nil {
		k.l.db.c.Log.Warn("lock lost", "lock", k.name)
	}
	if ctx.Err() == nil {
		return
	}
	if err := k.giveBack(ctx); err != nil && !errors.Is(err, ErrLockLost) {
		k.l.db.c.Log.Warn("lock not given back, it goes with its lease", "lock", k.name, "err", err)
	}
}

// tend keeps the lease alive, and looks after the key. It returns nil if ctx ended.
func (k *Lock) tend(ctx context.Context, changed <-chan struct{}) error {
	beat := time.NewTimer(k.lease.TTL / 3)
	defer beat.Stop()
	defer func() { k.follower.unwatch(k.key, changed) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.lost:
			return ErrLockLost
		case <-changed:
			changed = k.follower.watch(k.key)
			if !k.intact(ctx) {
				return ErrLockLost
			}
		case <-beat.C:
			pause, err := k.renew(ctx)
			if errors.Is(err, ErrNotFound) {
				return ErrLockLost
			}
			beat.Reset(pause)
		}
	}
}

// renew keeps the lease alive, and returns when to do it next.
func (k *Lock) renew(ctx context.Context) (time.Duration, error) {
	asked := time.Now()
	call, cancel := context.WithTimeout(ctx, k.lease.TTL/3)
	defer cancel()
	ttl, err := k.l.db.KeepAlive(call, k.lease.ID)
	if err != nil {
		if ctx.Err() == nil {
			k.l.db.c.Log.Debug("lock not kept alive, trying again", "lock", k.name, "err", err)
		}
		return k.lease.TTL / 10, err
	}
	k.deadline.Reset(time.Until(asked.Add(ttl)))
	return ttl / 3, nil
}

// intact tells whether the lock's key is as it was made, as far as the cache knows.
func (k *Lock) intact(ctx context.Context) bool {
	s, err := k.l.t.Snapshot(ctx, Cached, false)
	if err != nil || s.Rev() < k.rev {
		return true // nothing speaks against it
	}
	own, ok := s.Get(k.key)
	return ok && own.Rev == k.rev
}
