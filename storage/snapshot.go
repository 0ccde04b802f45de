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
	past    bool   // of a revision before the newest change: there are no indexes
	index   []kept // those that the table kept
	corrupt map[string]*Entry
}

// Snapshot returns the table at one revision.
//
// at 0: the latest, linearizable; -1 (Cached): whatever the cache has; otherwise not older than that
// revision, or exactly that revision if exact is set.
//
// An exact revision inside the window is made from the window. An older one is read from the store, which costs
// as much as loading the table, less what is still the same. Either is kept for a minute after its last use, so
// that the pages of a list share it: of each table the last 4, as long as what they have beside the present
// objects is not more than a quarter of Config.WindowBytes (the last one is kept in any case). One table reads one
// old revision at a time; callers who want the same one share it, and it goes on until the last of them has left.
//
// Errors are those of Get, *TooOldError for an exact revision that the store has compacted away, and the store's.
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
	switch {
	case !exact || at <= 0:
		return t.present(st, max(applied, st.rev)), nil
	case at >= st.rev:
		return t.present(st, at), nil
	case at >= st.start:
		return t.past.undone(st, at), nil
	}
	return t.past.read(ctx, at)
}

func (t *Table) present(st *state, rev int64) *Snapshot {
	return &Snapshot{rev: rev, table: t, tree: st.tree, index: st.index, corrupt: st.corrupt}
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

// Corrupt yields the objects that the schema's Head refused, in key order. In a snapshot of the past that was
// made from the window it yields the present ones.
func (s *Snapshot) Corrupt() iter.Seq[*CorruptError] {
	return func(yield func(*CorruptError) bool) {
		for _, key := range slices.Sorted(maps.Keys(s.corrupt)) {
			if !yield(s.corrupt[key].corrupt) {
				return
			}
		}
	}
}
