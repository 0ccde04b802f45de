package storage

import (
	"sort"
	"strings"
	"sync"
)

// term is the one thing of a filter that its watchers wait for: a key, a namespace, or a value of an index.
type term struct {
	kind  termKind
	value string
}

// termKind is what a term's value is of.
type termKind struct {
	of   byte
	name string // of the index or label
}

const (
	ofKey   = 'k'
	ofSpace = 's'
	ofIndex = 'i'
	ofLabel = 'l'
)

// term returns what watchers of the filter wait for; false: any change.
func (f *Filter) term() (term, bool) {
	slash := strings.IndexByte(f.Prefix, '/')
	switch {
	case f.Key != "":
		return term{termKind{of: ofKey}, f.Key}, true
	case len(f.IndexIs) > 0:
		return term{termKind{ofIndex, f.IndexIs[0].Key}, f.IndexIs[0].Value}, true
	case len(f.LabelIs) > 0:
		return term{termKind{ofLabel, f.LabelIs[0].Key}, f.LabelIs[0].Value}, true
	case slash >= 0:
		return term{termKind{of: ofSpace}, f.Prefix[:slash+1]}, true
	}
	return term{}, false
}

// buckets are the terms that somebody watches.
type buckets struct {
	names []string // of the declared indexes

	mu    sync.Mutex
	end   uint64 // the events before it have been put where they belong
	kinds map[termKind]map[string]*bucket

	touched []*bucket // guarded by the DB's mu: to be woken once the state is published
}

// bucket is one term with the events of the window that touched it: those whose old or new entry has the value.
type bucket struct {
	term   term
	users  int    // guarded by buckets.mu
	since  uint64 // the number of the first event that could be in it
	signal signal // fires with each state that has a new event for it

	mu      sync.Mutex
	numbers []uint64 // ascending; replaced or appended to, never modified
	lost    uint64   // the number after the last event of it that has left the window
}

// join returns the bucket of a term. Whoever joins must leave.
func (b *buckets) join(t term) *bucket {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.kinds[t.kind][t.value]
	if k == nil {
		k = &bucket{term: t, since: b.end}
		if b.kinds == nil {
			b.kinds = map[termKind]map[string]*bucket{}
		}
		if b.kinds[t.kind] == nil {
			b.kinds[t.kind] = map[string]*bucket{}
		}
		b.kinds[t.kind][t.value] = k
	}
	k.users++
	return k
}

func (b *buckets) leave(k *bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k.users--; k.users > 0 {
		return
	}
	of := b.kinds[k.term.kind]
	if delete(of, k.term.value); len(of) == 0 {
		delete(b.kinds, k.term.kind)
	}
}

// put takes the events of one revision, the first of which has the number. The DB's mu is held; wake must follow.
func (b *buckets) put(events []Event, number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = number + uint64(len(events))
	if len(b.kinds) == 0 {
		return
	}
	for i := range events {
		b.each(&events[i], func(k *bucket) {
			k.add(number + uint64(i))
			b.touched = append(b.touched, k)
		})
	}
}

// drop takes back events that leave the window, of which first is the oldest that stays.
func (b *buckets) drop(events []Event, first uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kinds) == 0 {
		return
	}
	for i := range events {
		b.each(&events[i], func(k *bucket) { k.trim(first) })
	}
}

// cut says that there was a gap before a number, that nobody can cross.
func (b *buckets) cut(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = number
	for _, of := range b.kinds {
		for _, k := range of {
			k.cut(number)
			b.touched = append(b.touched, k)
		}
	}
}

// wake wakes those whose buckets were touched. The DB's mu is held.
func (b *buckets) wake() {
	for _, k := range b.touched {
		k.signal.fire()
	}
	clear(b.touched)
	b.touched = b.touched[:0]
}

// each calls do with each bucket that an event touches, sometimes twice. The caller holds mu.
func (b *buckets) each(ev *Event, do func(*bucket)) {
	key := ev.key()
	b.visit(termKind{of: ofKey}, key, do)
	if slash := strings.IndexByte(key, '/'); slash >= 0 {
		b.visit(termKind{of: ofSpace}, key[:slash+1], do)
	}
	for _, e := range [2]*Entry{ev.Old, ev.New} {
		if e == nil {
			continue
		}
		for at, name := range b.names {
			b.visit(termKind{ofIndex, name}, e.Head.indexAt(at), do)
		}
		for i := range e.Head.Labels {
			b.visit(termKind{ofLabel, e.Head.Labels[i].Key}, e.Head.Labels[i].Value, do)
		}
	}
}

func (b *buckets) visit(kind termKind, value string, do func(*bucket)) {
	if k := b.kinds[kind][value]; k != nil {
		do(k)
	}
}

func (k *bucket) add(number uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.numbers); n == 0 || k.numbers[n-1] != number {
		k.numbers = append(k.numbers, number)
	}
}

func (k *bucket) trim(first uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.numbers) > 0 && k.numbers[0] < first {
		k.lost = k.numbers[0] + 1
		k.numbers = k.numbers[1:]
	}
}

func (k *bucket) cut(number uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.numbers, k.lost = nil, number
}

// from returns the numbers of the bucket's events in [number, end), to be read only; false if the window has lost
// one after number.
func (k *bucket) from(number, end uint64) ([]uint64, bool) {
	k.mu.Lock()
	list, lost := k.numbers, k.lost
	k.mu.Unlock()
	if number < lost {
		return nil, false
	}
	at := func(n uint64) int { return sort.Search(len(list), func(i int) bool { return list[i] >= n }) }
	return list[at(number):at(end)], true
}
