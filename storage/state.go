package storage

import (
	"maps"
	"sort"

	"github.com/tidwall/btree"
)

// state is what a table shows to readers: immutable, replaced as a whole with each revision.
type state struct {
	tree    *btree.Map[string, *Entry]
	index   []kept // those that somebody has asked for
	corrupt map[string]*Entry
	chunks  []*chunk
	end     uint64 // the number that the next event will have
	start   int64  // every change after this revision is in the chunks
	rev     int64  // the newest change, or the revision loaded at
}

// chunk is a stretch of the event window. The events of one revision lie in one chunk. Events are written
// once, before the state that shows them is published.
type chunk struct {
	base  uint64 // the number of its first event
	buf   []Event
	bytes int64 // guarded by the DB
}

const (
	chunkMin   = 8
	chunkMax   = 256
	chunkBytes = 1 << 20
)

// treeDegree is that of the trees. Every write copies the nodes on its way in each of them: small nodes make that
// cheap, at some cost to reading.
const treeDegree = 8

// first is the number of the oldest event kept.
func (s *state) first() uint64 {
	if len(s.chunks) == 0 {
		return s.end
	}
	return s.chunks[0].base
}

// chunkEnd is the number after the last event of a chunk.
func (s *state) chunkEnd(i int) uint64 {
	if i == len(s.chunks)-1 {
		return s.end
	}
	return s.chunks[i+1].base
}

func (s *state) eventsOf(i int) []Event {
	c := s.chunks[i]
	n := s.chunkEnd(i) - c.base
	return c.buf[:n:n]
}

// from returns the events from number n to the end of its chunk; n is not before first.
func (s *state) from(n uint64) []Event {
	if n >= s.end {
		return nil
	}
	i := len(s.chunks) - 1
	if n < s.chunks[i].base {
		i = sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].base > n }) - 1
	}
	return s.eventsOf(i)[n-s.chunks[i].base:]
}

// after returns the number of the first event after a revision.
func (s *state) after(rev int64) uint64 {
	if rev >= s.rev {
		return s.end
	}
	i := sort.Search(len(s.chunks), func(i int) bool {
		evs := s.eventsOf(i)
		return evs[len(evs)-1].Rev > rev
	})
	if i == len(s.chunks) {
		return s.end
	}
	evs := s.eventsOf(i)
	return s.chunks[i].base + uint64(sort.Search(len(evs), func(j int) bool { return evs[j].Rev > rev }))
}

// writer is the side of a table that changes. The DB's mu guards it.
type writer struct {
	state
	tail    int   // events in the last chunk
	bytes   int64 // of all chunks
	indexes []*index
	stale   bool     // state.index is not what indexes are
	buckets *buckets // nil before the first fill
	keyed   *keyed   // the same
}

// fill sets the objects of a table that had none.
func (w *writer) fill(t *Table, entries []*Entry, rev int64) {
	w.buckets = &t.buckets
	w.tree = btree.NewMap[string, *Entry](treeDegree)
	w.corrupt = nil
	w.keyed = &t.keyed
	w.keyed.reset(len(entries))
	for _, e := range entries {
		w.tree.Load(e.Key, e)
		w.keyed.set(e.Key, nil, e)
		w.noteCorrupt(nil, e)
	}
	for _, x := range w.indexes {
		x.build(w.tree)
	}
	w.stale = true
	w.start, w.rev = rev, rev
}

// refill replaces all objects after a gap: no watcher can cross it. What did not change stays the same
// entry, with its forms.
func (w *writer) refill(t *Table, entries []*Entry, rev int64) {
	for i, e := range entries {
		if old, ok := w.tree.Get(e.Key); ok && old.Rev == e.Rev && old.corrupt == nil {
			entries[i] = old
		}
	}
	t.db.windowBytes -= w.bytes
	w.chunks, w.tail, w.bytes = nil, 0, 0
	w.end++
	t.buckets.cut(w.end)
	w.fill(t, entries, rev)
}

// set puts an entry in the place of another; either may be nil.
func (w *writer) set(key string, old, e *Entry) {
	w.keyed.set(key, old, e)
	if e == nil {
		w.tree.Delete(key)
	} else {
		w.tree.Set(key, e)
	}
	w.reindex(old, e)
}

// reindex keeps the indexes, and what is known of corrupt objects, up to date.
func (w *writer) reindex(old, e *Entry) {
	for _, x := range w.indexes {
		if x.change(old, e) {
			w.stale = true
		}
	}
	w.noteCorrupt(old, e)
}

func (w *writer) noteCorrupt(old, e *Entry) {
	isCorrupt, wasCorrupt := e != nil && e.corrupt != nil, old != nil && old.corrupt != nil
	if !isCorrupt && !wasCorrupt {
		return
	}
	w.corrupt = maps.Clone(w.corrupt)
	if w.corrupt == nil {
		w.corrupt = map[string]*Entry{}
	}
	if isCorrupt {
		w.corrupt[e.Key] = e
	} else {
		delete(w.corrupt, old.Key)
	}
}

// add appends the events of one revision to the window and returns the bytes they keep alive.
func (w *writer) add(events []Event) (bytes int64) {
	last := len(w.chunks) - 1
	if last < 0 || w.tail+len(events) > len(w.chunks[last].buf) || w.chunks[last].bytes > chunkBytes {
		size := chunkMin
		if last >= 0 {
			size = min(2*len(w.chunks[last].buf), chunkMax)
		}
		w.chunks = append(w.chunks, &chunk{base: w.end, buf: make([]Event, max(size, len(events)))})
		w.tail = 0
		last++
	}
	c := w.chunks[last]
	for i, ev := range events {
		c.buf[w.tail+i] = ev
		bytes += kvOverhead
		if ev.Old != nil {
			bytes += int64(len(ev.Old.Raw))
		}
	}
	if w.buckets != nil {
		w.buckets.put(events, w.end)
	}
	w.tail += len(events)
	w.end += uint64(len(events))
	c.bytes += bytes
	w.bytes += bytes
	return bytes
}

// dropChunk forgets the oldest chunk; there must be a younger one. Published states keep their own slice.
func (w *writer) dropChunk() (bytes int64) {
	evs := w.eventsOf(0)
	w.start = evs[len(evs)-1].Rev
	bytes = w.chunks[0].bytes
	w.chunks = append([]*chunk(nil), w.chunks[1:]...)
	if w.buckets != nil {
		w.buckets.drop(evs, w.first())
	}
	w.bytes -= bytes
	return bytes
}

// trim drops old chunks as long as a window of events is left.
func (w *writer) trim(window int) (bytes int64) {
	for len(w.chunks) > 1 && w.end-w.chunks[1].base >= uint64(window) {
		bytes += w.dropChunk()
	}
	return bytes
}

// publishable returns the present state for readers.
func (w *writer) publishable() *state {
	if w.stale {
		w.index, w.stale = shown(w.indexes), false
	}
	s := w.state
	s.tree = w.tree.IsoCopy()
	return &s
}
