package storage

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// Of labels, a table keeps so many indexes. One gives way to another label once it was not used the last so many
// times that anybody asked for a label: whoever asks for ever other ones can't keep the table busy making them.
const (
	maxLabelIndexes = 32
	labelIndexIdle  = 256
)

// indexName names an index: a label, or a declared one.
type indexName struct {
	label bool
	name  string
}

// kept is an index as a state shows it to readers.
type kept struct {
	indexName
	tree *btree.BTreeG[indexed]
	used *atomic.Uint64 // Table.asked when it was last used
}

// index is the writer's side of one that is kept.
type index struct {
	kept
	at   int                    // of a declared one: its place in Head.Index
	copy *btree.BTreeG[indexed] // what readers have; nil: the tree has changed since
}

type indexed struct {
	value string
	entry *Entry
}

func lessIndexed(a, b indexed) bool {
	if c := cmp.Compare(a.value, b.value); c != 0 {
		return c < 0
	}
	return a.entry.Key < b.entry.Key
}

// keepIndex makes the table keep an index from now on. Readers call it and never wait for others: while somebody
// else is changing tables it does nothing, and whoever asks next makes the index.
func (t *Table) keepIndex(name indexName) {
	if findIndex(t.state.Load().index, name) != nil || !t.db.mu.TryLock() {
		return
	}
	defer t.db.mu.Unlock()
	if t.isGone() || slices.ContainsFunc(t.w.indexes, func(x *index) bool { return x.indexName == name }) {
		return
	}
	now := t.asked.Load()
	if name.label && !t.w.makeRoom(now) {
		return
	}
	x := &index{kept: kept{indexName: name, used: new(atomic.Uint64)}, at: slices.Index(t.schema.Indexes, name.name)}
	x.used.Store(now)
	x.build(t.w.tree)
	t.w.indexes, t.w.stale = append(t.w.indexes, x), true
	t.state.Store(t.w.publishable())
}

// makeRoom makes room for the index of one more label; false if all that there are are in use.
func (w *writer) makeRoom(now uint64) bool {
	n, oldest := 0, -1
	for i, x := range w.indexes {
		if !x.label {
			continue
		}
		if n++; oldest < 0 || x.used.Load() < w.indexes[oldest].used.Load() {
			oldest = i
		}
	}
	if n < maxLabelIndexes {
		return true
	}
	if now < w.indexes[oldest].used.Load()+labelIndexIdle {
		return false
	}
	w.indexes, w.stale = slices.Delete(w.indexes, oldest, oldest+1), true
	return true
}

func findIndex(list []kept, name indexName) *kept {
	for i := range list {
		if list[i].indexName == name {
			return &list[i]
		}
	}
	return nil
}

// shown returns the indexes as readers get them.
func shown(list []*index) []kept {
	out := make([]kept, len(list))
	for i, x := range list {
		if x.copy == nil {
			x.copy = x.tree.IsoCopy()
		}
		out[i] = kept{x.indexName, x.copy, x.used}
	}
	return out
}

// value returns the value that an entry has in the index; false if it is not in it.
func (x *index) value(e *Entry) (string, bool) {
	switch {
	case e == nil || e.corrupt != nil:
		return "", false
	case x.label:
		return e.Head.label(x.name)
	}
	return e.Head.indexAt(x.at), true
}

// build makes the index of the objects that there are.
func (x *index) build(tree *btree.Map[string, *Entry]) {
	byValue := map[string][]*Entry{}
	tree.Scan(func(_ string, e *Entry) bool {
		if v, ok := x.value(e); ok {
			byValue[v] = append(byValue[v], e)
		}
		return true
	})
	x.copy = nil
	x.tree = btree.NewBTreeGOptions(lessIndexed, btree.Options{NoLocks: true, Degree: treeDegree})
	for _, value := range slices.Sorted(maps.Keys(byValue)) {
		for _, e := range byValue[value] {
			x.tree.Load(indexed{value, e})
		}
	}
}

// change puts an entry in the place of another; either may be nil. It tells whether the index changed.
func (x *index) change(old, e *Entry) bool {
	was, had := x.value(old)
	is, has := x.value(e)
	if !had && !has {
		return false
	}
	if had && (!has || was != is) {
		x.tree.Delete(indexed{was, old})
	}
	if has {
		x.tree.Set(indexed{is, e}) // replaces the old entry if that had the same value
	}
	x.copy = nil
	return true
}
