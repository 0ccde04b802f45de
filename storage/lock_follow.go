package storage

import (
	"context"
	"errors"
	"sync"
)

// lockFollower wakes who waits for a change of a key of the table: one goroutine and one watcher for all.
type lockFollower struct {
	users int // guarded by Locks.mu
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	waiting map[string][]chan struct{}
}

// join returns the follower, starting it for the first user. Each user must leave it.
func (l *Locks) join() *lockFollower {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower == nil {
		ctx, stop := context.WithCancel(context.Background())
		f := &lockFollower{stop: stop, done: make(chan struct{}), waiting: map[string][]chan struct{}{}}
		l.follower = f
		w, err := l.t.Watch(0, Filter{}) // it stands before anybody waits
		go f.follow(ctx, l.t, w, err)
	}
	l.follower.users++
	return l.follower
}

// leave ends the follower with its last user.
func (l *Locks) leave(f *lockFollower) {
	l.mu.Lock()
	f.users--
	last := f.users == 0
	if last {
		l.follower = nil
	}
	l.mu.Unlock()
	if last {
		f.stop()
		<-f.done
	}
}

// follow wakes waiters until ctx, or the table, ends. After a gap all of them look for themselves.
func (f *lockFollower) follow(ctx context.Context, t *Table, w *Watcher, err error) {
	defer close(f.done)
	for {
		var events []Event
		if err == nil {
			events, err = w.Next(ctx)
		}
		switch {
		case ctx.Err() != nil:
			if w != nil {
				w.Close()
			}
			return
		case errors.Is(err, ErrTooOld):
			w, err = t.Watch(0, Filter{})
			f.wakeAll()
		case err != nil: // the table has ended, as they will see
			f.wakeAll()
			return
		}
		for _, ev := range events {
			if ev.Old != nil {
				f.wake(ev.Old.Key)
			}
		}
	}
}

// watch returns a channel that is closed when the key changes or is deleted, or when changes were missed.
func (f *lockFollower) watch(key string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{})
	f.waiting[key] = append(f.waiting[key], c)
	return c
}

func (f *lockFollower) unwatch(key string, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left []chan struct{}
	for _, c := range f.waiting[key] {
		if c != changed {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		delete(f.waiting, key)
		return
	}
	f.waiting[key] = left
}

func (f *lockFollower) wake(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.waiting[key] {
		close(c)
	}
	delete(f.waiting, key)
}

func (f *lockFollower) wakeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, waiting := range f.waiting {
		for _, c := range waiting {
			close(c)
		}
	}
	clear(f.waiting)
}
