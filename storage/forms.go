package storage

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

const maxForms = 8

// forms is the memo of one entry.
type forms struct {
	budget *formBudget // nil: bounded by maxForms alone
	memo   atomic.Pointer[memo]
}

// memo exists apart from the entry so that the budget's queue does not keep entries alive.
type memo struct {
	ready atomic.Pointer[[]*form] // replaced, never modified
	mu    sync.Mutex
	doing []*making
}

type form struct {
	owner *memo
	key   any
	value any
	cost  int64
	used  atomic.Bool

	queued, dead bool // guarded by the budget
}

type making struct {
	key   any
	done  chan struct{}
	value any
	err   error
}

var errFormPanicked = errors.New("make form: another caller's make function panicked")

func (f *forms) get(key any, rawLen int, fn func() (any, error)) (any, error) {
	m := f.memo.Load()
	if m == nil {
		f.memo.CompareAndSwap(nil, new(memo))
		m = f.memo.Load()
	}
	if v, ok := m.lookup(key); ok {
		return v, nil
	}
	return m.make(key, rawLen, fn, f.budget)
}

func (m *memo) lookup(key any) (any, bool) {
	list := m.ready.Load()
	if list == nil {
		return nil, false
	}
	for _, f := range *list {
		if f.key == key {
			if !f.used.Load() {
				f.used.Store(true)
			}
			return f.value, true
		}
	}
	return nil, false
}

func (m *memo) make(key any, rawLen int, fn func() (any, error), b *formBudget) (any, error) {
	m.mu.Lock()
	if v, ok := m.lookup(key); ok {
		m.mu.Unlock()
		return v, nil
	}
	for _, d := range m.doing {
		if d.key == key {
			m.mu.Unlock()
			<-d.done
			return d.value, d.err
		}
	}
	d := &making{key: key, done: make(chan struct{}), err: errFormPanicked}
	m.doing = append(m.doing, d)
	m.mu.Unlock()
	defer m.finish(d, rawLen, b)
	d.value, d.err = fn()
	return d.value, d.err
}

// finish keeps the form, if one was made, and lets the waiting go on.
func (m *memo) finish(d *making, rawLen int, b *formBudget) {
	m.mu.Lock()
	m.doing = slices.DeleteFunc(m.doing, func(o *making) bool { return o == d })
	var added, dropped *form
	if d.err == nil {
		added = &form{owner: m, key: d.key, value: d.value, cost: formCost(d.value, rawLen)}
		dropped = m.keep(added)
	}
	m.mu.Unlock()
	close(d.done)
	if b != nil && added != nil {
		b.add(added, dropped)
	}
}

// keep adds a form to the list and returns the one that had to go for it, if any.
func (m *memo) keep(f *form) (dropped *form) {
	var list []*form
	if p := m.ready.Load(); p != nil {
		list = *p
	}
	next := append(make([]*form, 0, len(list)+1), list...)
	if len(next) == maxForms {
		at := max(0, slices.IndexFunc(next, func(o *form) bool { return !o.used.Swap(false) }))
		dropped = next[at]
		next = slices.Delete(next, at, at+1)
	}
	next = append(next, f)
	m.ready.Store(&next)
	return dropped
}

func (m *memo) drop(f *form) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := *m.ready.Load()
	next := make([]*form, 0, len(list))
	for _, o := range list {
		if o != f {
			next = append(next, o)
		}
	}
	m.ready.Store(&next)
}

func formCost(v any, rawLen int) int64 {
	const overhead = 128
	if b, ok := v.([]byte); ok {
		return int64(len(b)) + overhead
	}
	return 2*int64(rawLen) + overhead
}

// formBudget bounds the forms of all entries by dropping the cold ones: a queue in which a form that was
// used since it was last looked at gets a second chance.
type formBudget struct {
	limit int64

	mu    sync.Mutex
	bytes int64
	live  int     // forms in the queue that are not dead
	queue []*form // from head on; may hold dead ones
	head  int
}

func (b *formBudget) add(f, dropped *form) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if dropped != nil {
		b.forget(dropped)
	}
	if f.dead { // pushed out by its siblings before it came here
		return
	}
	f.queued = true
	b.queue = append(b.queue, f)
	b.bytes += f.cost
	b.live++
	for chances := 2 * b.live; b.bytes > b.limit && b.live > 0; chances-- {
		b.evict(chances <= 0)
	}
	b.compact()
}

// forget takes a form that its memo dropped out of the account; it leaves the queue later.
func (b *formBudget) forget(f *form) {
	if f.dead { // its memo and the budget dropped it at the same time
		return
	}
	f.dead = true
	if f.queued {
		b.bytes -= f.cost
		b.live--
	}
}

// evict looks at the oldest form: it goes, or to the back of the queue if it was used lately.
func (b *formBudget) evict(force bool) {
	f := b.queue[b.head]
	b.queue[b.head] = nil
	b.head++
	switch {
	case f.dead:
	case f.used.Swap(false) && !force:
		b.queue = append(b.queue, f)
	default:
		b.forget(f)
		f.owner.drop(f)
	}
}

// compact gives back what the front and the dead take, once that is more than half of the queue.
func (b *formBudget) compact() {
	if len(b.queue) < 64 || len(b.queue) < 2*b.live {
		return
	}
	kept := make([]*form, 0, b.live+b.live/2)
	for _, f := range b.queue[b.head:] {
		if !f.dead {
			kept = append(kept, f)
		}
	}
	b.queue, b.head = kept, 0
}
