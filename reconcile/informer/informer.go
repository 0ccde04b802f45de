package informer

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/bedplate/bedplate/apimachinery"
)

// Lister reads objects from a cache, by key ("namespace/name", or "name"). Get's are the caller's own; those of
// View and List are shared, and nobody may change them.
type Lister[T apimachinery.Object] interface {
	Get(key string) (T, bool)
	View(key string) (T, bool)
	List(namespace string) iter.Seq[T]
}

// Informer is a [Lister] that keeps itself current while Run runs. It holds every object that its source
// selects, so its memory is bounded by theirs. All methods may be called concurrently.
type Informer[T apimachinery.Object] struct {
	source source[T]
	log    *slog.Logger
	began  atomic.Bool
	synced chan struct{}

	order    sync.Mutex // one step at a time, with its handlers; taken before mu
	handlers []*Handler[T]

	mu      sync.RWMutex
	store   store[T]
	waiters map[chan struct{}]int64
}

// source feeds an informer until ctx ends. It returns why it can't go on, and never a temporary error.
type source[T apimachinery.Object] interface {
	run(ctx context.Context, emit func(step[T])) error
}

var _ Lister[apimachinery.Object] = (*Informer[apimachinery.Object])(nil)

func assemble[T apimachinery.Object](s source[T], log *slog.Logger) *Informer[T] {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Informer[T]{source: s, log: log, synced: make(chan struct{}), waiters: map[chan struct{}]int64{}}
}

// Run keeps the cache current until ctx ends, and then returns nil. What fails on the way is logged and tried
// again, ever more slowly. It may be called once.
func (i *Informer[T]) Run(ctx context.Context) error {
	if i.began.Swap(true) {
		return errors.New("run informer: it runs already, or has run")
	}
	err := i.source.run(ctx, i.step)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Synced is closed once the cache holds the objects that there were at the start, and all handlers were told.
func (i *Informer[T]) Synced() <-chan struct{} { return i.synced }

// Rev is the revision that the cache shows; 0 before the first objects came. It never goes back.
func (i *Informer[T]) Rev() int64 {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.store.rev
}

// Len is the number of objects.
func (i *Informer[T]) Len() int {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.store.items.Len()
}

// Get returns the caller's own copy of an object.
func (i *Informer[T]) Get(key string) (T, bool) {
	o, ok := i.View(key)
	if !ok {
		return o, false
	}
	return o.DeepCopyObject().(T), true
}

// View returns the shared object, which nobody may change.
func (i *Informer[T]) View(key string) (T, bool) {
	i.mu.RLock()
	it, ok := i.store.items.Get(key)
	i.mu.RUnlock()
	if !ok {
		var zero T
		return zero, false
	}
	o, err := it.view()
	return o, err == nil
}

// List yields the shared objects of a namespace, or all if it is empty, as they were when the loop began, ordered
// by key. Nobody may change them.
func (i *Informer[T]) List(namespace string) iter.Seq[T] {
	return func(yield func(T) bool) {
		i.mu.RLock()
		items := i.store.in(namespace)
		i.mu.RUnlock()
		views(items, yield)
	}
}

// ByIndex yields the shared objects that have a value in an index, as [Informer.List] does; none if there is no
// such index.
func (i *Informer[T]) ByIndex(name, value string) iter.Seq[T] {
	return func(yield func(T) bool) {
		i.mu.RLock()
		items := i.store.by(name, value)
		i.mu.RUnlock()
		views(items, yield)
	}
}

func views[T apimachinery.Object](items []*item[T], yield func(T) bool) {
	for _, it := range items {
		if o, err := it.view(); err == nil && !yield(o) {
			return
		}
	}
}

// AddIndex adds an index: of returns the values under which [Informer.ByIndex] finds an object. It must be a pure
// function. Indexes may be added at any time; a name that is taken is an error.
func (i *Informer[T]) AddIndex(name string, of func(T) []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.store.addIndex(name, of)
}

// EnsureIndex is AddIndex, but for several users who mean the same: where the name is taken, it does nothing.
func (i *Informer[T]) EnsureIndex(name string, of func(T) []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, taken := i.store.indexes[name]; taken {
		return nil
	}
	return i.store.addIndex(name, of)
}

// Handle adds a handler. Before it returns, the handler has been told of every object that there is, as added;
// from then on of every change. stop ends that: no call comes after it. Neither may be called from a handler.
func (i *Informer[T]) Handle(h Handler[T]) (stop func()) {
	i.order.Lock()
	defer i.order.Unlock()
	i.mu.RLock()
	items, keys, rev := i.store.items.Values(), i.store.items.Keys(), i.store.rev
	i.mu.RUnlock()
	for n, it := range items {
		if h.Change == nil {
			break
		}
		if o, err := it.view(); err == nil {
			h.Change(Change[T]{Key: keys[n], New: o, Added: true})
		}
	}
	if h.Progress != nil && rev > 0 {
		h.Progress(rev)
	}
	mine := &h
	i.handlers = append(i.handlers, mine)
	return func() { i.unhandle(mine) }
}

func (i *Informer[T]) unhandle(h *Handler[T]) {
	i.order.Lock()
	defer i.order.Unlock()
	for n, have := range i.handlers {
		if have == h {
			i.handlers = append(i.handlers[:n:n], i.handlers[n+1:]...)
			return
		}
	}
}

// step applies what the source found, tells the handlers and wakes who waits.
func (i *Informer[T]) step(s step[T]) {
	i.order.Lock()
	defer i.order.Unlock()
	i.mu.Lock()
	was := i.store.synced
	changes, errs := i.store.apply(s)
	now, rev := i.store.synced, i.store.rev
	i.mu.Unlock()
	for _, err := range errs {
		i.log.Error("leave out an object that can't be decoded", "err", err)
	}
	for _, h := range i.handlers {
		h.tell(changes, rev)
	}
	i.wake(rev)
	if now && !was {
		close(i.synced)
	}
}

func (h *Handler[T]) tell(changes []Change[T], rev int64) {
	if h.Change != nil {
		for _, c := range changes {
			h.Change(c)
		}
	}
	if h.Progress != nil {
		h.Progress(rev)
	}
}

// WaitFor returns once the cache shows rev or later and the handlers have been told, or with ctx's error.
func (i *Informer[T]) WaitFor(ctx context.Context, rev int64) error {
	i.mu.Lock()
	if i.store.rev >= rev {
		i.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	i.waiters[c] = rev
	i.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		i.mu.Lock()
		delete(i.waiters, c)
		i.mu.Unlock()
		return context.Cause(ctx)
	}
}

func (i *Informer[T]) wake(rev int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for c, want := range i.waiters {
		if want <= rev {
			delete(i.waiters, c)
			close(c)
		}
	}
}
