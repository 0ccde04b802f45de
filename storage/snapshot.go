package storage

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/tidwall/btree"
)

// Snapshot is a table at one revision. Immutable; reading it takes no lock. It keeps the objects of its
// revision alive for as long as it is referred to.
type Snapshot struct {
	rev     int64
	table   *Table
	tree    *btree.Map[string, *Entry]
	index   []*btree.BTreeG[indexed] // nil for a revision of the past
	corrupt map[string]*Entry
}

// Snapshot returns the table at one revision.
//
// at 0: the latest, linearizable; -1 (Cached): whatever the cache has; otherwise not older than that
// revision, or exactly that revision if exact is set. Errors are those of Get, and *TooOldError for an exact
// revision that has left the window.
func (t *Table) Snapshot(ctx context.Context, at int64, exact bool) (*Snapshot, error) {
	s, err := t.snapshot(ctx, at, exact)
	if err != nil {
		return nil, &tableError{"list", t.schema.Prefix, err}
	}
	return s, nil
}

func (t *Table) snapshot(ctx context.Context, at int64, exact bool) (*Snapshot, error) {
	if err := t.reach(ctx, at); err != nil {
		return nil, err
	}
	applied := t.db.applied.Load() // before the state, which then holds all of it
	st := t.state.Load()
	if !exact || at <= 0 {
		return t.present(st, max(applied, st.rev)), nil
	}
	switch {
	case at < st.start:
		return nil, &TooOldError{Rev: at, Oldest: st.start}
	case at >= st.rev:
		return t.present(st, at), nil
	}
	return t.past.get(t, st, at), nil
}

func (t *Table) present(st *state, rev int64) *Snapshot {
	return &Snapshot{rev: rev, table: t, tree: st.tree, index: st.index, corrupt: st.corrupt}
}

func (p *pastSnapshots) get(t *Table, st *state, at int64) *Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(s *Snapshot) bool { return s.rev < st.start })
	i := slices.IndexFunc(p.list, func(s *Snapshot) bool { return s.rev == at })
	if i < 0 {
		if len(p.list) == maxPast {
			p.list = slices.Delete(p.list, 0, 1)
		}
		p.list = append(p.list, t.undo(st, at))
	} else {
		used := p.list[i]
		p.list = append(slices.Delete(p.list, i, i+1), used)
	}
	return p.list[len(p.list)-1]
}

// undo makes the table as it was at a revision inside the window. The caller holds past.mu, which keeps
// two copies of one tree from being made at once.
func (t *Table) undo(st *state, at int64) *Snapshot {
	tree := st.tree.IsoCopy()
	for i := len(st.chunks) - 1; i >= 0; i-- {
		evs := st.eventsOf(i)
		for j := len(evs) - 1; j >= 0; j-- {
			ev := evs[j]
			if ev.Rev <= at {
				return &Snapshot{rev: at, table: t, tree: tree, corrupt: st.corrupt}
			}
			if ev.Old != nil {
				tree.Set(ev.Old.Key, ev.Old)
			} else {
				tree.Delete(ev.New.Key)
			}
		}
	}
	return &Snapshot{rev: at, table: t, tree: tree, corrupt: st.corrupt}
}

// Rev is the snapshot's revision: it holds every change up to and including it, and none after it.
func (s *Snapshot) Rev() int64 { return s.rev }

// Len is the number of objects, corrupt ones included.
func (s *Snapshot) Len() int { return s.tree.Len() }

// Get returns the object at a key relative to the table; false if there is none, or a corrupt one.
func (s *Snapshot) Get(key string) (*Entry, bool) {
	e, ok := s.tree.Get(key)
	if !ok || e.corrupt != nil {
		return nil, false
	}
	return e, true
}

// All yields the selected objects at or after the key from (relative; "": from the first), in key order.
// To go on after an entry, from is its key + "\x00". Corrupt objects are left out; see Corrupt.
func (s *Snapshot) All(f Filter, from string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		s.tree.Ascend(max(from, f.Prefix), func(key string, e *Entry) bool {
			if !hasPrefix(key, f.Prefix) {
				return false
			}
			if e.corrupt != nil || !f.matchHead(&e.Head) {
				return true
			}
			return yield(e)
		})
	}
}

// ByIndex yields, in key order, the objects whose value of the declared index is value. Nothing if there
// is no such index. It looks at those alone, but at every object at a revision of the past and in snapshots
// from before anybody asked: the table keeps an index from the first call on.
func (s *Snapshot) ByIndex(name, value string) iter.Seq[*Entry] {
	at := slices.Index(s.table.schema.Indexes, name)
	switch {
	case at < 0:
		return func(func(*Entry) bool) {}
	case s.index == nil || s.index[at] == nil:
		s.table.keepIndex(at)
		return s.scanIndex(at, value)
	}
	return func(yield func(*Entry) bool) {
		s.index[at].Ascend(indexed{value, &Entry{}}, func(i indexed) bool {
			return i.value == value && yield(i.entry)
		})
	}
}

func (s *Snapshot) scanIndex(at int, value string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for e := range s.All(Filter{}, "") {
			if e.indexValue(at) == value && !yield(e) {
				return
			}
		}
	}
}

// Corrupt yields the objects that the schema's Head refused, in key order. In a snapshot of the past it
// yields the present ones.
func (s *Snapshot) Corrupt() iter.Seq[*CorruptError] {
	return func(yield func(*CorruptError) bool) {
		for _, key := range slices.Sorted(maps.Keys(s.corrupt)) {
			if !yield(s.corrupt[key].corrupt) {
				return
			}
		}
	}
}
