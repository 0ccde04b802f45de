package events

import (
	"container/list"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// id is what makes two events the same.
type id struct {
	group, kind, namespace, name string
	uid                          types.UID
	typ, reason, note            string
}

func (i id) source() id {
	return id{group: i.group, kind: i.kind, namespace: i.namespace, name: i.name, uid: i.uid}
}
func (i id) similar() id {
	i.note = ""
	return i
}

// verdict is what becomes of an event.
type verdict struct {
	drop  bool
	note  string  // what it says now
	first bool    // to be created; else count was raised
	known *record // what is remembered of it
}

// record is an event that was told before.
type record struct {
	key       string // of the stored event
	namespace string
	first     time.Time
	last      time.Time
	count     int32
}

// correlator decides which events are told, and which are the same. It is a pure machine: no clock, no lock. It
// remembers at most so many of each thing, and forgets the longest unused.
type correlator struct {
	burst int
	every time.Duration

	buckets *lru[id, *bucket]
	groups  *lru[id, *group]
	records *lru[id, *record]
}

// bucket limits the events of one object.
type bucket struct {
	left float64
	at   time.Time
}

// group counts the different notes of otherwise equal events.
type group struct {
	notes map[string]struct{}
	last  time.Time
}

const (
	similarMost = 10
	similarFor  = 10 * time.Minute
	sameFor     = time.Hour
	combined    = "(combined from similar events): "
)

func newCorrelator(burst int, every time.Duration, remember int) *correlator {
	return &correlator{
		burst: burst, every: every,
		buckets: newLRU[id, *bucket](remember), groups: newLRU[id, *group](remember), records: newLRU[id, *record](remember),
	}
}

// see judges an event.
func (c *correlator) see(now time.Time, i id) (id, verdict) {
	if !c.allowed(now, i.source()) {
		return i, verdict{drop: true}
	}
	note := i.note
	if c.crowded(now, i) {
		note = combined + i.note
		i = i.similar()
	}
	r, ok := c.records.get(i)
	if !ok || now.Sub(r.last) > sameFor {
		r = &record{first: now}
		c.records.put(i, r)
	}
	r.count++
	r.last = now
	return i, verdict{note: note, first: r.count == 1, known: r}
}

// forget makes the next event of an id a first one.
func (c *correlator) forget(i id) { c.records.drop(i) }

func (c *correlator) allowed(now time.Time, source id) bool {
	b, ok := c.buckets.get(source)
	if !ok {
		b = &bucket{left: float64(c.burst), at: now}
		c.buckets.put(source, b)
	}
	b.left = min(float64(c.burst), b.left+float64(now.Sub(b.at))/float64(c.every))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (c *correlator) crowded(now time.Time, i id) bool {
	g, ok := c.groups.get(i.similar())
	if !ok || now.Sub(g.last) > similarFor {
		g = &group{notes: map[string]struct{}{}}
		c.groups.put(i.similar(), g)
	}
	g.last = now
	if len(g.notes) < similarMost {
		g.notes[i.note] = struct{}{}
	}
	return len(g.notes) >= similarMost
}

// lru is a map that forgets what was not used for longest.
type lru[K comparable, V any] struct {
	most  int
	order *list.List // of pair
	at    map[K]*list.Element
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](most int) *lru[K, V] {
	return &lru[K, V]{most: most, order: list.New(), at: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (v V, ok bool) {
	e, ok := l.at[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(pair[K, V]).value, true
}

func (l *lru[K, V]) put(key K, v V) {
	l.drop(key)
	l.at[key] = l.order.PushFront(pair[K, V]{key, v})
	if l.order.Len() > l.most {
		l.drop(l.order.Back().Value.(pair[K, V]).key)
	}
}

func (l *lru[K, V]) drop(key K) {
	if e, ok := l.at[key]; ok {
		l.order.Remove(e)
		delete(l.at, key)
	}
}
