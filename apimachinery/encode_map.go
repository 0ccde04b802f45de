package apimachinery

import (
	"reflect"
	"slices"
	"strings"
)

// mapScratch is what a walk over a map needs beside the map, kept for the next one.
type mapScratch struct {
	pairs []mapPair
	key   reflect.Value // one key
	elems reflect.Value // the elements, in a slice, so that they have addresses
}

type mapPair struct {
	key string
	at  int // in elems
}

// maxKeptElems bounds the elements that a mapScratch keeps room for.
const maxKeptElems = 64

func newMapScratch(t reflect.Type) *mapScratch {
	elems := reflect.New(reflect.SliceOf(t.Elem())).Elem()
	return &mapScratch{key: reflect.New(t.Key()).Elem(), elems: elems}
}

// mapping writes a map whose keys are strings of any name.
func (e *encoder) mapping(dst []byte, pl *encodePlan, p ref, depth int) ([]byte, bool) {
	m := p.value(pl.t)
	if m.IsNil() {
		return append(dst, "null"...), true
	}
	if depth >= maxPlainDepth {
		return dst, false
	}
	s := pl.scratch.Get().(*mapScratch)
	s.read(m)
	first := refOf(s.elems)
	size := pl.elem.t.Size()
	dst = append(dst, '{')
	ok := true
	for i, pair := range s.pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, pair.key), ':')
		if dst, ok = e.value(dst, pl.elem, first.field(uintptr(pair.at)*size), depth+1); !ok {
			break
		}
	}
	if len(s.pairs) <= maxKeptElems {
		s.clear()
		pl.scratch.Put(s)
	}
	return append(dst, '}'), ok
}

// read copies a map's content, keys sorted.
func (s *mapScratch) read(m reflect.Value) {
	n := m.Len()
	if s.elems.Cap() < n {
		s.elems.Grow(n)
	}
	s.elems.SetLen(n)
	var it reflect.MapIter
	it.Reset(m)
	for i := 0; i < n && it.Next(); i++ {
		s.key.SetIterKey(&it)
		s.elems.Index(i).SetIterValue(&it)
		s.pairs = append(s.pairs, mapPair{s.key.String(), i})
	}
	slices.SortFunc(s.pairs, func(a, b mapPair) int { return strings.Compare(a.key, b.key) })
}

// clear lets go of what was read.
func (s *mapScratch) clear() {
	s.elems.Clear()
	s.elems.SetLen(0)
	clear(s.pairs)
	s.pairs = s.pairs[:0]
	s.key.SetZero()
}
