package storage

import (
	"context"
	"fmt"
	"slices"
)

// Version is what an object was from one revision on, until the next version.
type Version struct {
	Rev   int64  // the revision that made it so
	Entry *Entry // nil: deleted, or corrupt
}

// History returns the versions of the object at a key, as far as the table's window goes, oldest first. It is
// complete from revision since on: the first version may be older, it is what was there then. Nothing is there if
// the object did not exist since then. The last version is at least as new as any write acknowledged before the
// call. The entries are shared: read only.
//
// A version costs a search of the window, less than a microsecond; a time in which the object did not exist, or was
// corrupt, costs a look at each event of the table in that time, 10 to 50 ns each.
//
// Errors: those of Get, without ErrNotFound and *CorruptError.
func (t *Table) History(ctx context.Context, key string) (versions []Version, since int64, err error) {
	if err := t.reach(ctx, 0); err != nil {
		return nil, 0, &tableError{"read the history of", t.Abs(key), err}
	}
	st := t.state.Load()
	var first *Event
	for ev := range st.backwards(key) {
		versions = append(versions, Version{ev.Rev, ev.New})
		first = &ev
	}
	switch e, ok := st.tree.Get(key); {
	case first == nil && ok && e.corrupt == nil:
		versions = []Version{{e.Rev, e}}
	case first != nil && first.Old != nil:
		versions = append(versions, Version{first.Old.Rev, first.Old})
	}
	slices.Reverse(versions)
	return versions, st.start, nil
}

// GetAt returns the object at a key as it was at exactly this revision; 0 and Cached are as in Get. Inside the
// table's window it costs what History does, as far back as the revision; before that it is a read of the store.
// ErrNotFound may stand for an object that was corrupt then and was deleted since.
//
// Errors are those of Get, *TooOldError for a revision that the store has compacted away, and the store's.
func (t *Table) GetAt(ctx context.Context, key string, rev int64) (*Entry, error) {
	if rev <= 0 {
		return t.Get(ctx, key, rev)
	}
	e, err := t.getAt(ctx, key, rev)
	if err == nil && e.corrupt != nil {
		err = e.corrupt
	}
	if err != nil {
		return nil, &tableError{"get", t.Abs(key), err}
	}
	return e, nil
}

func (t *Table) getAt(ctx context.Context, key string, rev int64) (*Entry, error) {
	if err := t.reach(ctx, rev); err != nil {
		return nil, err
	}
	st := t.state.Load()
	e, ok := st.tree.Get(key)
	switch {
	case ok && e.Rev <= rev:
		return e, nil
	case rev < st.start:
		return t.readAt(ctx, key, rev)
	}
	for ev := range st.backwards(key) {
		if ev.Rev <= rev {
			break
		}
		if e, ok = ev.Old, ev.Old != nil; !ok && ev.New.Created <= rev {
			return t.readAt(ctx, key, rev) // it was corrupt, which the window does not keep
		}
	}
	switch {
	case !ok:
		return nil, ErrNotFound
	case e.Rev > rev: // corrupt, and so was what it replaced
		return t.readAt(ctx, key, rev)
	}
	return e, nil
}

// readAt reads one object as the store had it.
func (t *Table) readAt(ctx context.Context, key string, rev int64) (*Entry, error) {
	page, err := t.db.b.Range(ctx, Range{Prefix: t.Abs(key), At: rev, Limit: 1})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read at revision %d: %w", rev, err)
	case len(page.KVs) == 0 || page.KVs[0].Key != t.Abs(key):
		return nil, ErrNotFound
	}
	return t.parse(page.KVs[0]), nil
}

// backwards yields the events of one object that the window has, the newest first. As long as there is an object,
// its revision says where the event is; else every event has to be looked at.
func (s *state) backwards(key string) func(func(Event) bool) {
	return func(yield func(Event) bool) {
		e, _ := s.tree.Get(key)
		before := s.end // events from here on have been looked at
		for e == nil || e.Rev > s.start {
			ev, n, ok := s.madeBy(key, e)
			if !ok {
				ev, n, ok = s.lastOf(key, before)
			}
			if !ok || !yield(ev) {
				return
			}
			e, before = ev.Old, n
		}
	}
}

// madeBy returns the event that made an entry what it is, if there is one, and its number.
func (s *state) madeBy(key string, e *Entry) (Event, uint64, bool) {
	if e == nil || e.corrupt != nil {
		return Event{}, 0, false
	}
	for n := s.after(e.Rev - 1); n < s.end; n++ {
		ev := s.from(n)[0]
		if ev.Rev != e.Rev {
			break
		}
		if ev.New == e {
			return ev, n, true
		}
	}
	return Event{}, 0, false
}

// lastOf returns the last event of a key before a number.
func (s *state) lastOf(key string, before uint64) (Event, uint64, bool) {
	for i := len(s.chunks) - 1; i >= 0; i-- {
		base := s.chunks[i].base
		if base >= before {
			continue
		}
		evs := s.eventsOf(i)
		for j := int(min(before-base, uint64(len(evs)))) - 1; j >= 0; j-- {
			if evs[j].key() == key {
				return evs[j], base + uint64(j), true
			}
		}
	}
	return Event{}, 0, false
}

// key is that of an event that is no bookmark.
func (ev *Event) key() string {
	if ev.New != nil {
		return ev.New.Key
	}
	return ev.Old.Key
}
