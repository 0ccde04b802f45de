package managedfields

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
)

// mapEntry is an entry of one map or of both.
type mapEntry struct {
	key  string
	l, r value
}

// merged returns the entries of two maps, sorted by key.
func (p *valuePlan) merged(l, r value) []mapEntry {
	all := make([]mapEntry, 0, 8)
	if l.is == there {
		all = p.appendEntries(all, l, func(v value) mapEntry { return mapEntry{l: v} })
	}
	n := len(all)
	if r.is == there {
		all = p.appendEntries(all, r, func(v value) mapEntry { return mapEntry{r: v} })
	}
	slices.SortFunc(all, func(a, b mapEntry) int { return strings.Compare(a.key, b.key) })
	if n == 0 || n == len(all) {
		return all
	}
	out := all[:0]
	for _, e := range all {
		last := len(out) - 1
		switch {
		case last < 0 || out[last].key != e.key:
			out = append(out, e)
		case out[last].l.is == gone:
			out[last].l = e.l
		default:
			out[last].r = e.r
		}
	}
	return out
}

// mapKind says which maps are read as what they are: those of strings and of quantities, whatever their names.
type mapKind uint8

const (
	otherMap mapKind = iota
	textMap
	quantityMap
)

func (p *valuePlan) kindOfMap() mapKind {
	switch {
	case p.elem.pointers > 0:
	case p.elem.how == asText:
		return textMap
	case p.elem.how == asQuantity:
		return quantityMap
	}
	return otherMap
}

// appendEntries appends the entries of a map. Values lie in memory of their own: those of a map have no address.
func (p *valuePlan) appendEntries(all []mapEntry, v value, of func(value) mapEntry) []mapEntry {
	switch p.kindOfMap() {
	case textMap:
		return appendTyped(all, *(*map[string]string)(v.at), of)
	case quantityMap:
		return appendTyped(all, *(*map[string]resource.Quantity)(v.at), of)
	}
	m := p.reflected(v)
	values := reflect.MakeSlice(reflect.SliceOf(p.rt.Elem()), m.Len(), m.Len())
	for each, i := m.MapRange(), 0; each.Next(); i++ {
		at := values.Index(i)
		at.SetIterValue(each)
		e := of(p.elem.seen(at.Addr().UnsafePointer()))
		e.key = each.Key().String()
		all = append(all, e)
	}
	return all
}

func appendTyped[T any](all []mapEntry, m map[string]T, of func(value) mapEntry) []mapEntry {
	values := make([]T, len(m))
	i := 0
	for key, one := range m {
		values[i] = one
		e := of(value{unsafe.Pointer(&values[i]), there})
		e.key = key
		all, i = append(all, e), i+1
	}
	return all
}

func (p *valuePlan) equalMaps(l, r value) (same, known bool) {
	switch p.kindOfMap() {
	case textMap:
		return maps.Equal(*(*map[string]string)(l.at), *(*map[string]string)(r.at)), true
	case quantityMap:
		return maps.EqualFunc(*(*map[string]resource.Quantity)(l.at), *(*map[string]resource.Quantity)(r.at), equalQuantities), true
	}
	if p.reflected(l).Len() != p.reflected(r).Len() {
		return false, true
	}
	for _, e := range p.merged(l, r) {
		if same, known := p.elem.equal(e.l, e.r); !same {
			return false, known
		}
	}
	return true, true
}

func equalQuantities(a, b resource.Quantity) bool { return a.Format == b.Format && a.Cmp(b) == 0 }
