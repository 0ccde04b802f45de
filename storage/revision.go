package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// revisionTimeout bounds one request for the backend's revision, which many callers may share.
const revisionTimeout = 10 * time.Second

// Revision returns the store's current revision, linearizable. Concurrent callers share one request to the
// backend; a caller never joins a request that began before it came. It needs no Run.
func (db *DB) Revision(ctx context.Context) (int64, error) {
	rev, err := db.shared.get(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the store's revision: %w", err)
	}
	return rev, nil
}

// WaitFor returns once the caches are at rev or later. After Config.Wait it returns a *FutureError.
func (db *DB) WaitFor(ctx context.Context, rev int64) error {
	ok, err := db.waitApplied(ctx, rev)
	if err == nil && !ok {
		err = &FutureError{Rev: rev, Current: db.applied.Load()}
	}
	return err
}

// consistent returns once the caches hold everything acknowledged before the call.
func (db *DB) consistent(ctx context.Context) error {
	rev, err := db.Revision(ctx)
	if err != nil {
		return err
	}
	ok, err := db.waitApplied(ctx, rev)
	if err == nil && !ok {
		err = fmt.Errorf("%w: at revision %d, the store at %d%s", ErrBehind, db.applied.Load(), rev, db.why())
	}
	return err
}

// why returns the error that keeps the watch from going on, as the end of a message.
func (db *DB) why() string {
	if p := db.lastErr.Load(); p != nil && *p != nil {
		return " (" + (*p).Error() + ")"
	}
	return ""
}

// waitApplied waits until the caches are at rev; false after Config.Wait.
func (db *DB) waitApplied(ctx context.Context, rev int64) (bool, error) {
	if db.applied.Load() >= rev {
		return true, nil
	}
	ch := db.waits.add(rev)
	defer db.waits.remove(ch)
	if db.applied.Load() >= rev {
		return true, nil
	}
	timer := time.NewTimer(db.c.Wait)
	defer timer.Stop()
	select {
	case <-ch:
		return true, nil
	case <-timer.C:
		return db.applied.Load() >= rev, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-db.done:
		return false, ErrClosed
	}
}

// waitList is who waits for which revision.
type waitList struct {
	n    atomic.Int32
	mu   sync.Mutex
	list []waiting
}

type waiting struct {
	rev int64
	ch  chan struct{}
}

func (l *waitList) add(rev int64) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := make(chan struct{})
	l.list = append(l.list, waiting{rev, ch})
	l.n.Store(int32(len(l.list)))
	return ch
}

func (l *waitList) remove(ch chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(w waiting) bool { return w.ch == ch })
	l.n.Store(int32(len(l.list)))
}

// fire lets go all that wait for rev or less. It must come after the revision was published.
func (l *waitList) fire(rev int64) {
	if l.n.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(w waiting) bool {
		if w.rev <= rev {
			close(w.ch)
		}
		return w.rev <= rev
	})
	l.n.Store(int32(len(l.list)))
}

// signal wakes all that wait for the next firing.
type signal struct {
	waited atomic.Bool
	mu     sync.Mutex
	ch     chan struct{}
}

// wait returns a channel that the next fire closes. Whoever waits must look again after having it.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
		s.waited.Store(true)
	}
	return s.ch
}

func (s *signal) fire() {
	if !s.waited.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
		s.waited.Store(false)
	}
}

// sharedRevision asks for the backend's revision, once for all who wait: one request runs at a time, and
// all who come meanwhile share the next.
type sharedRevision struct {
	ask func(context.Context) (int64, error)

	mu      sync.Mutex
	running bool
	next    *revisionCall
}

type revisionCall struct {
	done chan struct{}
	rev  int64
	err  error
}

func (s *sharedRevision) get(ctx context.Context) (int64, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &revisionCall{done: make(chan struct{})}
	}
	c := s.next
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	select {
	case <-c.done:
		return c.rev, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *sharedRevision) run() {
	for {
		s.mu.Lock()
		c := s.next
		s.next = nil
		if c == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), revisionTimeout)
		c.rev, c.err = s.ask(ctx)
		cancel()
		close(c.done)
	}
}
