package informer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/bedplate/bedplate/apimachinery"
)

// store is the state of an informer and its pure steps: no clock, goroutine, lock or I/O.
type store[T apimachinery.Object] struct {
	items   btree.Map[string, *item[T]]
	indexes map[string]*index[T]
	rev     int64
	synced  bool
}

// index maps values to keys.
type index[T apimachinery.Object] struct {
	of     func(T) []string
	keys   map[string]map[string]struct{}
	values map[string][]string // by key: what the object has in keys
}

// step is what a source found: a whole new state, or some updates, up to rev.
type step[T apimachinery.Object] struct {
	whole   bool
	updates []update[T]
	rev     int64
}

// apply makes a step and returns what changed by it. Objects that can't be decoded are left out, with the error.
func (s *store[T]) apply(st step[T]) (changes []Change[T], errs []error) {
	if st.whole {
		st.updates = append(st.updates, s.missing(st.updates)...)
	}
	for _, u := range st.updates {
		old, had := s.items.Get(u.key)
		if u.item == nil {
			if had {
				changes = s.remove(changes, u.key, old)
			}
			continue
		}
		var err error
		if changes, err = s.put(changes, u, old, had, st.whole); err != nil {
			errs = append(errs, keyed(u.key, err))
		}
	}
	s.rev = max(s.rev, st.rev)
	s.synced = s.synced || st.whole
	return changes, errs
}

// missing are the deletions that turn the present state into a whole new one.
func (s *store[T]) missing(now []update[T]) (gone []update[T]) {
	have := make(map[string]struct{}, len(now))
	for _, u := range now {
		have[u.key] = struct{}{}
	}
	s.items.Scan(func(key string, _ *item[T]) bool {
		if _, ok := have[key]; !ok {
			gone = append(gone, update[T]{key: key})
		}
		return true
	})
	return gone
}

func (s *store[T]) put(changes []Change[T], u update[T], old *item[T], had, whole bool) ([]Change[T], error) {
	now, err := u.item.view()
	if err != nil {
		if had {
			changes = s.remove(changes, u.key, old)
		}
		return changes, err
	}
	u.item.uid = now.GetUID()
	if !had {
		return s.insert(changes, u, now), nil
	}
	before, err := old.view()
	if err != nil || old.uid != u.item.uid {
		return s.insert(s.remove(changes, u.key, old), u, now), nil
	}
	if whole && before.GetResourceVersion() == now.GetResourceVersion() {
		return changes, nil
	}
	s.set(u, now)
	return append(changes, Change[T]{Key: u.key, Old: before, New: now}), nil
}

func (s *store[T]) insert(changes []Change[T], u update[T], now T) []Change[T] {
	s.set(u, now)
	return append(changes, Change[T]{Key: u.key, New: now, Added: true})
}

func (s *store[T]) set(u update[T], now T) {
	s.items.Set(u.key, u.item)
	for _, x := range s.indexes {
		x.set(u.key, x.of(now))
	}
}

func (s *store[T]) remove(changes []Change[T], key string, old *item[T]) []Change[T] {
	s.items.Delete(key)
	for _, x := range s.indexes {
		x.set(key, nil)
	}
	c := Change[T]{Key: key, Deleted: true}
	if o, err := old.view(); err == nil {
		c.Old = o
		return append(changes, c)
	}
	return changes
}

func (s *store[T]) addIndex(name string, of func(T) []string) error {
	if _, taken := s.indexes[name]; taken {
		return fmt.Errorf("index %q exists already", name)
	}
	if s.indexes == nil {
		s.indexes = map[string]*index[T]{}
	}
	x := &index[T]{of: of, keys: map[string]map[string]struct{}{}, values: map[string][]string{}}
	s.indexes[name] = x
	s.items.Scan(func(key string, i *item[T]) bool {
		if o, err := i.view(); err == nil {
			x.set(key, of(o))
		}
		return true
	})
	return nil
}

func (x *index[T]) set(key string, values []string) {
	old := x.values[key]
	if slices.Equal(old, values) {
		return
	}
	for _, v := range old {
		delete(x.keys[v], key)
		if len(x.keys[v]) == 0 {
			delete(x.keys, v)
		}
	}
	if len(values) == 0 {
		delete(x.values, key)
		return
	}
	x.values[key] = slices.Clone(values)
	for _, v := range values {
		if x.keys[v] == nil {
			x.keys[v] = map[string]struct{}{}
		}
		x.keys[v][key] = struct{}{}
	}
}

// in returns the items of a namespace, or all, ordered by key.
func (s *store[T]) in(namespace string) []*item[T] {
	if namespace == "" {
		return s.items.Values()
	}
	prefix := namespace + "/"
	var out []*item[T]
	s.items.Ascend(prefix, func(key string, i *item[T]) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		out = append(out, i)
		return true
	})
	return out
}

// by returns the items with a value in an index, ordered by key.
func (s *store[T]) by(name, value string) []*item[T] {
	x := s.indexes[name]
	if x == nil {
		return nil
	}
	keys := make([]string, 0, len(x.keys[value]))
	for key := range x.keys[value] {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	out := make([]*item[T], 0, len(keys))
	for _, key := range keys {
		if i, ok := s.items.Get(key); ok {
			out = append(out, i)
		}
	}
	return out
}
