package scheduling

import (
	"errors"
	"fmt"
	"time"
)

// ErrFull is returned when a [Queue] holds as many items as it may.
var ErrFull = errors.New("scheduling queue is full")

// QueueConfig is what a [Queue] is made of.
type QueueConfig[I, E any] struct {
	// Key identifies an item, over all its changes. Required.
	Key func(I) string
	// Priority orders items, the highest first; nil: by time alone.
	Priority func(I) int64
	// Gated reports whether an item may not be scheduled yet; nil: none is.
	Gated func(I) bool
	// Equal reports whether an item's change can't matter to its scheduling;
	// nil: every change may.
	Equal func(old, new I) bool
	// Concerns reports whether an event may let an item fit that the named
	// plugins refused; nil: every event may.
	Concerns func(item I, refusedBy []string, e E) bool
	// BackOff is how long an item waits after its first failure; it doubles with
	// every further one. 0: 1 s.
	BackOff time.Duration
	// MaxBackOff bounds that. 0: 10 s.
	MaxBackOff time.Duration
	// Patience is after how long an item that no event concerned is tried again
	// all the same. 0: 5 min.
	Patience time.Duration
	// Limit is how many items the queue holds at most; Set of another returns
	// ErrFull. 0: 1,000,000.
	Limit int
}

func (c *QueueConfig[I, E]) validate() error {
	if c.Key == nil {
		return errors.New("scheduling: QueueConfig.Key is nil")
	}
	if c.BackOff < 0 || c.MaxBackOff < 0 || c.Patience < 0 || c.Limit < 0 {
		return errors.New("scheduling: QueueConfig: a duration or limit is negative")
	}
	return nil
}

func (c *QueueConfig[I, E]) setDefaults() {
	if c.Priority == nil {
		c.Priority = func(I) int64 { return 0 }
	}
	if c.Gated == nil {
		c.Gated = func(I) bool { return false }
	}
	if c.Equal == nil {
		c.Equal = func(I, I) bool { return false }
	}
	if c.Concerns == nil {
		c.Concerns = func(I, []string, E) bool { return true }
	}
	setDefault(&c.BackOff, time.Second)
	setDefault(&c.MaxBackOff, 10*time.Second)
	setDefault(&c.Patience, 5*time.Minute)
	setDefault(&c.Limit, 1_000_000)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Queue holds the items that wait for a host, each in one of these places:
//
//   - active: to be popped, by priority, then by the time it came here;
//   - backing off: active once its time has come;
//   - unfit: waits for an event that concerns it, or until patience ends;
//   - gated: waits for a change of itself;
//   - in flight: popped, and not yet reported on.
//
// An event that comes while an item is in flight isn't lost: if it concerns the
// item, it backs off instead of waiting. A Queue is a pure state that reads no
// clock; it must not be used concurrently.
type Queue[I, E any] struct {
	c       QueueConfig[I, E]
	waiting map[string]*waiting[I]
	active  heap[*waiting[I]]
	backoff heap[*waiting[I]]
	unfit   heap[*waiting[I]]
	events  eventLog[E]
	seq     uint64
}

type waitingState uint8

const (
	isActive waitingState = iota
	isBackingOff
	isUnfit
	isGated
	isInFlight
)

type waiting[I any] struct {
	key       string
	item      I
	priority  int64
	state     waitingState
	at        int // in the heap of its state
	since     time.Time
	seq       uint64 // orders what came at one time
	due       time.Time
	failures  int
	stale     int
	tried     time.Time
	refusedBy []string
	seen      uint64 // position in the event log when it was popped
	changed   bool   // while in flight
}

// Ticket is an item that was popped, until it is reported on.
type Ticket[I any] struct {
	Item I
	w    *waiting[I]
}

// NewQueue returns an empty queue.
func NewQueue[I, E any](c QueueConfig[I, E]) (*Queue[I, E], error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.setDefaults()
	place := func(w *waiting[I]) *int { return &w.at }
	due := heap[*waiting[I]]{place: place, less: func(a, b *waiting[I]) bool {
		return a.due.Before(b.due) || a.due.Equal(b.due) && a.seq < b.seq
	}}
	return &Queue[I, E]{
		c:       c,
		waiting: map[string]*waiting[I]{},
		active: heap[*waiting[I]]{place: place, less: func(a, b *waiting[I]) bool {
			if a.priority != b.priority {
				return a.priority > b.priority
			}
			return a.since.Before(b.since) || a.since.Equal(b.since) && a.seq < b.seq
		}},
		backoff: due,
		unfit:   due,
	}, nil
}

// Set adds an item or changes it. A change that may matter is reason enough to
// try an item again that was unfit; back-off is kept.
func (q *Queue[I, E]) Set(item I, now time.Time) error {
	key := q.c.Key(item)
	w := q.waiting[key]
	if w == nil {
		if len(q.waiting) >= q.c.Limit {
			return fmt.Errorf("%w: it holds %d items", ErrFull, q.c.Limit)
		}
		w = &waiting[I]{key: key, item: item, at: -1, state: isGated}
		q.waiting[key] = w
		q.change(w, item, now)
		return nil
	}
	if q.c.Equal(w.item, item) {
		w.item = item
		return nil
	}
	q.change(w, item, now)
	return nil
}

func (q *Queue[I, E]) change(w *waiting[I], item I, now time.Time) {
	if w.state == isInFlight {
		w.item, w.changed = item, true
		return
	}
	q.leave(w)
	w.item, w.priority = item, q.c.Priority(item)
	q.retry(w, now)
}

// Delete forgets an item, wherever it is. A ticket for it reports to nobody.
func (q *Queue[I, E]) Delete(key string) {
	if w := q.waiting[key]; w != nil {
		q.leave(w)
		delete(q.waiting, key)
	}
}

// Pop takes the first active item into flight, after moving those whose time has
// come. ok is false when there is none.
func (q *Queue[I, E]) Pop(now time.Time) (t Ticket[I], ok bool) {
	q.flush(now)
	if q.active.len() == 0 {
		return t, false
	}
	w := q.active.elems[0]
	q.leave(w)
	w.state, w.changed, w.seen, w.tried = isInFlight, false, q.events.next, now
	return Ticket[I]{Item: w.item, w: w}, true
}

// Live reports whether the ticket's item is still the one in flight: it wasn't
// deleted, nor deleted and added anew.
func (q *Queue[I, E]) Live(t Ticket[I]) bool { return q.waiting[t.w.key] == t.w }

// Done reports that the ticket's item has got a host, which ends its stay here.
func (q *Queue[I, E]) Done(t Ticket[I]) {
	if q.Live(t) {
		delete(q.waiting, t.w.key)
	}
}

// Unfit reports that the named plugins left no host for the ticket's item. It
// waits for an event that concerns it; if one came since it was popped, it backs
// off instead.
func (q *Queue[I, E]) Unfit(t Ticket[I], refusedBy []string, now time.Time) {
	w := t.w
	if !q.Live(t) {
		return
	}
	w.failures++
	w.stale, w.refusedBy, w.tried = 0, refusedBy, now
	w.priority = q.c.Priority(w.item)
	if w.changed || q.missed(w) {
		q.retry(w, now)
		return
	}
	w.state, w.due = isUnfit, now.Add(q.c.Patience)
	q.enter(w, now)
}

// Failed reports that something went wrong with the ticket's item. It backs off.
func (q *Queue[I, E]) Failed(t Ticket[I], now time.Time) {
	if !q.Live(t) {
		return
	}
	t.w.failures++
	t.w.stale, t.w.tried, t.w.priority = 0, now, q.c.Priority(t.w.item)
	q.retry(t.w, now)
}

// Stale reports that the decision for the ticket's item was made on a state that
// is no longer true. It is active again at once; after five times in a row it
// backs off.
func (q *Queue[I, E]) Stale(t Ticket[I], now time.Time) {
	if !q.Live(t) {
		return
	}
	if t.w.stale++; t.w.stale > 5 {
		q.Failed(t, now)
		return
	}
	t.w.priority = q.c.Priority(t.w.item)
	if q.c.Gated(t.w.item) {
		t.w.state = isGated
		return
	}
	q.activate(t.w, now)
}

// Event moves the unfit items that it concerns on.
func (q *Queue[I, E]) Event(e E, now time.Time) {
	q.events.add(e)
	var moved []*waiting[I]
	for _, w := range q.unfit.elems {
		if q.c.Concerns(w.item, w.refusedBy, e) {
			moved = append(moved, w)
		}
	}
	for _, w := range moved {
		q.leave(w)
		q.retry(w, now)
	}
}

// Next returns when the next item becomes active by itself; ok is false when
// only an event or another item can change anything.
func (q *Queue[I, E]) Next() (at time.Time, ok bool) {
	for _, h := range []*heap[*waiting[I]]{&q.backoff, &q.unfit} {
		if h.len() > 0 && (!ok || h.elems[0].due.Before(at)) {
			at, ok = h.elems[0].due, true
		}
	}
	return at, ok
}

// Counts says how many items are where.
type Counts struct{ Active, BackingOff, Unfit, Gated, InFlight int }

// Len counts the items.
func (q *Queue[I, E]) Len() Counts {
	c := Counts{Active: q.active.len(), BackingOff: q.backoff.len(), Unfit: q.unfit.len()}
	for _, w := range q.waiting {
		switch w.state {
		case isGated:
			c.Gated++
		case isInFlight:
			c.InFlight++
		}
	}
	return c
}

// retry makes an item active, now or when it has backed off; or gates it.
func (q *Queue[I, E]) retry(w *waiting[I], now time.Time) {
	if q.c.Gated(w.item) {
		w.state = isGated
		return
	}
	if due := w.tried.Add(q.backOff(w.failures)); w.failures > 0 && due.After(now) {
		w.state, w.due = isBackingOff, due
		q.enter(w, now)
		return
	}
	q.activate(w, now)
}

func (q *Queue[I, E]) activate(w *waiting[I], now time.Time) {
	w.state = isActive
	q.enter(w, now)
}

// backOff doubles with each failure, up to the maximum.
func (q *Queue[I, E]) backOff(failures int) time.Duration {
	d := q.c.BackOff
	for range failures - 1 {
		if d >= q.c.MaxBackOff/2 {
			return q.c.MaxBackOff
		}
		d *= 2
	}
	return min(d, q.c.MaxBackOff)
}

// flush makes active what has backed off, and what has been unfit for too long.
func (q *Queue[I, E]) flush(now time.Time) {
	for _, h := range []*heap[*waiting[I]]{&q.backoff, &q.unfit} {
		for h.len() > 0 && !h.elems[0].due.After(now) {
			w := h.elems[0]
			q.leave(w)
			q.activate(w, now)
		}
	}
}

func (q *Queue[I, E]) heapOf(w *waiting[I]) *heap[*waiting[I]] {
	switch w.state {
	case isActive:
		return &q.active
	case isBackingOff:
		return &q.backoff
	case isUnfit:
		return &q.unfit
	}
	return nil
}

func (q *Queue[I, E]) enter(w *waiting[I], now time.Time) {
	q.seq++
	w.since, w.seq = now, q.seq
	q.heapOf(w).push(w)
}

func (q *Queue[I, E]) leave(w *waiting[I]) {
	if w.at >= 0 {
		q.heapOf(w).remove(w)
	}
}

// missed reports whether an event since w was popped concerns it; when the log
// doesn't reach back that far, one may have.
func (q *Queue[I, E]) missed(w *waiting[I]) bool {
	if q.events.next-w.seen > uint64(len(q.events.ring)) {
		return true
	}
	for at := w.seen; at < q.events.next; at++ {
		if q.c.Concerns(w.item, w.refusedBy, q.events.ring[at%uint64(len(q.events.ring))]) {
			return true
		}
	}
	return false
}

// eventLog remembers the last events.
type eventLog[E any] struct {
	ring [256]E
	next uint64
}

func (l *eventLog[E]) add(e E) {
	l.ring[l.next%uint64(len(l.ring))] = e
	l.next++
}
