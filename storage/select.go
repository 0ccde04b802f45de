package storage

import (
	"iter"
	"slices"
	"sort"
)

// All yields the selected objects at or after the key from (relative; "": from the first), in key order.
// To go on after an entry, from is its key + "\x00". Corrupt objects are left out; see Corrupt.
//
// It looks at the objects under the filter's prefix, or at those alone that have a value that the filter asks
// for, if the table keeps an index of it: from the first call that asks on. In snapshots from before that, and of
// the past, there is no index.
func (s *Snapshot) All(f Filter, from string) iter.Seq[*Entry] {
	if f.Key != "" {
		return s.one(f, from)
	}
	low := max(from, f.Prefix)
	walk, value, possible := s.narrowest(&f, low)
	switch {
	case !possible:
		return func(func(*Entry) bool) {}
	case walk != nil:
		return walk.all(f, value, low)
	}
	return func(yield func(*Entry) bool) {
		s.tree.Ascend(low, func(key string, e *Entry) bool {
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
// is no such index. It is All with a Filter of this one IndexIs.
func (s *Snapshot) ByIndex(name, value string) iter.Seq[*Entry] {
	return s.All(Filter{IndexIs: []Pair{{name, value}}}, "")
}

func (s *Snapshot) one(f Filter, from string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		if e, ok := s.tree.Get(f.Key); ok && f.Key >= from && f.Match(e) {
			yield(e)
		}
	}
}

// narrowest returns the index, and the value in it, that has the fewest objects to look at; nil if there is none.
// It asks the table to keep those that are missing. possible is false if the filter can't select anything.
func (s *Snapshot) narrowest(f *Filter, low string) (best *kept, value string, possible bool) {
	fewest := -1
	consider := func(name indexName, v string) {
		x := s.indexOf(name)
		if x == nil {
			return
		}
		switch {
		case best == nil:
			best, value = x, v
			return
		case fewest < 0: // counting is worth its while only if there is a choice
			fewest = best.count(value, low, f.Prefix)
		}
		if n := x.count(v, low, f.Prefix); n < fewest {
			best, value, fewest = x, v, n
		}
	}
	for _, p := range f.IndexIs {
		if !slices.Contains(s.table.schema.Indexes, p.Key) {
			return nil, "", false
		}
		consider(indexName{name: p.Key}, p.Value)
	}
	for _, p := range f.LabelIs {
		consider(indexName{label: true, name: p.Key}, p.Value)
	}
	return best, value, true
}

// indexOf returns an index of the snapshot; nil if it has none.
func (s *Snapshot) indexOf(name indexName) *kept {
	if s.past {
		return nil
	}
	now := s.table.asked.Add(1)
	x := findIndex(s.index, name)
	if x == nil {
		s.table.keepIndex(name)
		return nil
	}
	x.used.Store(now)
	return x
}

// count returns how many objects have the value and a key at or after low that begins with prefix: O(log² n).
func (x *kept) count(value, low, prefix string) int {
	first := x.search(func(i indexed) bool { return i.value > value || i.value == value && i.entry.Key >= low })
	end := x.search(func(i indexed) bool {
		return i.value > value || i.value == value && i.entry.Key >= prefix && !hasPrefix(i.entry.Key, prefix)
	})
	return max(end-first, 0)
}

func (x *kept) search(reached func(indexed) bool) int {
	return sort.Search(x.tree.Len(), func(at int) bool {
		i, _ := x.tree.GetAt(at)
		return reached(i)
	})
}

// all yields what the filter selects of the objects that have the value, from a key on.
func (x *kept) all(f Filter, value, low string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		x.tree.Ascend(indexed{value, &Entry{Key: low}}, func(i indexed) bool {
			if i.value != value || !hasPrefix(i.entry.Key, f.Prefix) {
				return false
			}
			return !f.matchHead(&i.entry.Head) || yield(i.entry)
		})
	}
}
