//go:build linux

package image

import (
	"context"
	"sync"
)

// flights shares work between callers who want the same thing at the same time. The work belongs to
// none of them: it goes on while anyone waits, and is cancelled when the last one stops waiting.
type flights[V any] struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	m      map[string]*flight[V]
}

type flight[V any] struct {
	tracker tracker
	cancel  context.CancelFunc
	waiting int
	done    chan struct{}
	value   V
	err     error
}

// do runs work for key, or joins the run that is under way, and reports which. parent ends the work as well;
// ctx gives it nothing but its values.
func (f *flights[V]) do(ctx, parent context.Context, key string, note func(Progress), work func(context.Context, *tracker) (V, error)) (v V, joined bool, err error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return v, false, ErrClosed
	}
	fl, joined := f.m[key]
	if !joined {
		fl = &flight[V]{done: make(chan struct{})}
		f.start(ctx, parent, key, fl, work)
	}
	fl.waiting++
	f.mu.Unlock()
	defer fl.tracker.join(note)()
	select {
	case <-fl.done:
		return fl.value, joined, fl.err
	case <-ctx.Done():
		f.leave(key, fl)
		return v, joined, context.Cause(ctx)
	}
}

func (f *flights[V]) start(ctx, parent context.Context, key string, fl *flight[V], work func(context.Context, *tracker) (V, error)) {
	if f.m == nil {
		f.m = map[string]*flight[V]{}
	}
	f.m[key] = fl
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl.cancel = cancel
	stop := context.AfterFunc(parent, cancel)
	f.wg.Go(func() {
		defer cancel()
		defer stop()
		fl.value, fl.err = work(run, &fl.tracker)
		f.mu.Lock()
		f.drop(key, fl)
		f.mu.Unlock()
		close(fl.done)
	})
}

func (f *flights[V]) leave(key string, fl *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		f.drop(key, fl) // so that nobody joins what is being given up
		fl.cancel()
	}
}

func (f *flights[V]) drop(key string, fl *flight[V]) {
	if f.m[key] == fl {
		delete(f.m, key)
	}
}

// close lets nothing start any more, and waits for the end of what is under way.
func (f *flights[V]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
}

// Progress is how far a pull is. Bytes are compressed ones; layers that were there already count as done.
type Progress struct {
	Layers, LayersDone int
	Bytes, BytesTotal  int64
}

// tracker tells everyone who waits for a pull how far it is.
type tracker struct {
	mu    sync.Mutex
	now   Progress
	told  int64 // bytes at the last call
	next  int
	notes map[int]func(Progress)
}

const progressStep = 1 << 20

func (t *tracker) join(note func(Progress)) (leave func()) {
	if note == nil {
		return func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.notes == nil {
		t.notes = map[int]func(Progress){}
	}
	id := t.next
	t.next++
	t.notes[id] = note
	if t.now != (Progress{}) {
		note(t.now)
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.notes, id)
	}
}

// update changes the figures, and tells them when a layer is done or enough bytes have come.
func (t *tracker) update(change func(*Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.now
	change(&t.now)
	if t.now.Layers == before.Layers && t.now.LayersDone == before.LayersDone && t.now.Bytes-t.told < progressStep {
		return
	}
	t.told = t.now.Bytes
	for _, note := range t.notes {
		note(t.now)
	}
}
