// Package queue is a work queue of keys: deduplicated, by priority without starvation, with a back-off for each
// key that failed, and delayed adds.
//
// [Queue] is the pure machine: its steps take the time and do nothing but change it, so that a simulation can own
// every interleaving. [Blocking] is the same behind a lock, with a real clock, for workers that wait.
//
// A queue holds each key once, however often it is added, so it is as large as the set of keys that are in use;
// it has no other bound, because to drop a key would be to forget work.
package queue

import (
	"container/heap"
	"slices"
	"time"
)

// Config configures a queue. The zero value works.
type Config struct {
	// First is the back-off after a key's first failure; it doubles with each further one. Default 5 ms.
	First time.Duration
	// Last is the longest back-off. Default 1,000 s.
	Last time.Duration
	// Fair is how often the key that has waited longest comes next, whatever its priority: every Fair-th time.
	// So nobody starves. Default 8.
	Fair int
}

func (c *Config) complete() {
	if c.First <= 0 {
		c.First = 5 * time.Millisecond
	}
	if c.Last <= 0 {
		c.Last = 1000 * time.Second
	}
	if c.Fair <= 0 {
		c.Fair = 8
	}
}

// Queue hands out keys one at a time each: a key that is being worked on is handed out again only after
// [Queue.Done]. It is not safe for concurrent use. Times must not go back.
type Queue[K comparable] struct {
	c     Config
	keys  map[K]*entry[K]
	ready byPriority[K] // may hold entries that left by the other
	wait  byAge[K]
	timed byTime[K]
	count int // ready keys
	seq   uint64
	taken int
}

// entry is what is known of a key.
type entry[K comparable] struct {
	key      K
	priority int
	seq      uint64 // when it became ready; 0: it is not
	added    time.Time
	busy     bool // being worked on
	again    bool // added while busy
	due      time.Time
	dueAt    int // place in timed, -1: not there
	failures int
}

// New returns an empty queue.
func New[K comparable](c Config) *Queue[K] {
	c.complete()
	return &Queue[K]{c: c, keys: map[K]*entry[K]{}}
}

// Len is the number of keys that are ready to be handed out.
func (q *Queue[K]) Len() int { return q.count }

// Keys is the number of keys that the queue knows of: ready, delayed, being worked on, or with failures to
// remember.
func (q *Queue[K]) Keys() int { return len(q.keys) }

func (q *Queue[K]) entry(key K) *entry[K] {
	e := q.keys[key]
	if e == nil {
		e = &entry[K]{key: key, dueAt: -1}
		q.keys[key] = e
	}
	return e
}

// Add makes a key ready, now. A higher priority comes first; of two adds the higher one counts. A key that is
// being worked on becomes ready once that is done. An add overtakes a delay or back-off of the key.
func (q *Queue[K]) Add(now time.Time, key K, priority int) {
	q.tick(now)
	e := q.entry(key)
	if !e.again && e.seq == 0 && e.dueAt < 0 {
		e.priority = priority
	}
	q.undelay(e)
	if e.busy {
		e.again = true
		e.priority = max(e.priority, priority)
		return
	}
	q.makeReady(now, e, max(e.priority, priority))
}

func (q *Queue[K]) makeReady(now time.Time, e *entry[K], priority int) {
	if e.seq > 0 && priority == e.priority {
		return
	}
	if e.seq == 0 {
		q.seq++
		e.seq, e.added = q.seq, now
		q.count++
		heap.Push(&q.wait, ticket[K]{e, e.seq})
	}
	e.priority = priority
	heap.Push(&q.ready, place[K]{ticket[K]{e, e.seq}, priority})
	q.compact()
}

// compact throws void tickets away when they are the most.
func (q *Queue[K]) compact() {
	most := 2*q.count + 64
	if len(q.wait) > most {
		q.wait = slices.DeleteFunc(q.wait, func(t ticket[K]) bool { return !t.valid() })
		heap.Init(&q.wait)
	}
	if len(q.ready) > most {
		q.ready = slices.DeleteFunc(q.ready, func(p place[K]) bool { return !p.valid() })
		heap.Init(&q.ready)
	}
}

// AddAfter makes a key ready after d, unless it is ready sooner for another reason.
func (q *Queue[K]) AddAfter(now time.Time, key K, priority int, d time.Duration) {
	if d <= 0 {
		q.Add(now, key, priority)
		return
	}
	q.tick(now)
	e, due := q.entry(key), now.Add(d)
	if e.seq > 0 || e.again {
		return
	}
	if e.dueAt >= 0 {
		e.priority = max(e.priority, priority)
		if due.Before(e.due) {
			e.due = due
			heap.Fix(&q.timed, e.dueAt)
		}
		return
	}
	e.due, e.priority = due, priority
	heap.Push(&q.timed, e)
}

func (q *Queue[K]) undelay(e *entry[K]) {
	if e.dueAt >= 0 {
		heap.Remove(&q.timed, e.dueAt)
	}
}

// Next hands out a key, and marks it as being worked on. waited is how long it has been ready.
func (q *Queue[K]) Next(now time.Time) (key K, waited time.Duration, ok bool) {
	q.tick(now)
	e := q.pop()
	if e == nil {
		return key, 0, false
	}
	q.count--
	e.seq, e.busy = 0, true
	return e.key, now.Sub(e.added), true
}

// tick makes ready what is due. A key that is being worked on still waits until that is done.
func (q *Queue[K]) tick(now time.Time) {
	for len(q.timed) > 0 && !q.timed[0].due.After(now) {
		e := heap.Pop(&q.timed).(*entry[K])
		if e.busy {
			e.again = true
			continue
		}
		q.makeReady(now, e, e.priority)
	}
}

func (q *Queue[K]) pop() *entry[K] {
	if q.taken++; q.taken >= q.c.Fair {
		q.taken = 0
		for q.wait.Len() > 0 {
			if t := heap.Pop(&q.wait).(ticket[K]); t.valid() {
				return t.e
			}
		}
		return nil
	}
	for q.ready.Len() > 0 {
		p := heap.Pop(&q.ready).(place[K])
		if p.valid() {
			return p.e
		}
	}
	return nil
}

// Done says that work on a key has ended. If the key was added meanwhile, it is ready again.
func (q *Queue[K]) Done(now time.Time, key K) {
	q.tick(now)
	e := q.keys[key]
	if e == nil || !e.busy {
		return
	}
	e.busy = false
	if e.again {
		e.again = false
		q.makeReady(now, e, e.priority)
		return
	}
	q.forgetIdle(e)
}

// Retry counts a failure of a key that is being worked on, and adds it after its back-off, which is returned. An
// add that comes first overtakes the back-off, but the failures stay counted until [Queue.Forget].
func (q *Queue[K]) Retry(now time.Time, key K, priority int) time.Duration {
	e := q.entry(key)
	d := q.c.Last
	if e.failures < 40 {
		d = min(q.c.First<<e.failures, q.c.Last)
	}
	e.failures++
	q.AddAfter(now, key, priority, d)
	return d
}

// Failures is how often a key failed since it last succeeded.
func (q *Queue[K]) Failures(key K) int {
	if e := q.keys[key]; e != nil {
		return e.failures
	}
	return 0
}

// Forget clears a key's failures: it succeeded, or is gone.
func (q *Queue[K]) Forget(key K) {
	if e := q.keys[key]; e != nil {
		e.failures = 0
		q.forgetIdle(e)
	}
}

func (q *Queue[K]) forgetIdle(e *entry[K]) {
	if !e.busy && e.seq == 0 && e.dueAt < 0 && e.failures == 0 {
		delete(q.keys, e.key)
	}
}

// Due is when the next delayed key becomes ready; false if none is delayed.
func (q *Queue[K]) Due() (time.Time, bool) {
	if len(q.timed) == 0 {
		return time.Time{}, false
	}
	return q.timed[0].due, true
}
