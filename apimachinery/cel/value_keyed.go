package cel

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// keyedList is a list of type set or map: order doesn't matter for equality, and what is added replaces or leaves
// out what is there under the same key.
type keyedList struct {
	listValue
	keys keys
}

// addedList is the sum of keyed lists.
type addedList struct {
	traits.Lister
	keys keys
}

// keys are the escaped names of a map's keys; a set has none.
type keys []string

func keysOf(n *node) keys {
	if n.listType != "map" {
		return nil
	}
	k := make(keys, len(n.listKeys))
	for i, name := range n.listKeys {
		k[i] = name
		if ident, ok := Escape(name); ok {
			k[i] = ident
		}
	}
	return k
}

// of is what identifies an element, fit for a key of a Go map; err is set for elements that can't be in a set.
func (k keys) of(v ref.Val) (key any, err ref.Val) {
	if k == nil {
		switch v.(type) {
		case traits.Lister, traits.Mapper:
			return nil, types.NewErr("listSet operations are only supported on lists of scalar values")
		}
		return rawKey(v), nil
	}
	if len(k) == 1 {
		return keyField(v, k[0]), nil
	}
	var b strings.Builder
	for _, name := range k {
		fmt.Fprintf(&b, "%#v\x00", keyField(v, name))
	}
	return b.String(), nil
}

// keyField reads one key of an element; what isn't there is nil.
func keyField(v ref.Val, name string) any {
	m, ok := v.(traits.Mapper)
	if !ok {
		return nil
	}
	f, found := m.Find(types.String(name))
	if !found || f == nil || types.IsUnknownOrError(f) {
		return nil
	}
	return rawKey(f)
}

func rawKey(v ref.Val) any {
	raw := v.Value()
	if raw != nil && !reflect.TypeOf(raw).Comparable() {
		return fmt.Sprintf("%#v", raw)
	}
	return raw
}

// Equal ignores the order.
func (l *keyedList) Equal(other ref.Val) ref.Val { return l.keys.equal(l.vals(), other) }

// Add merges: places are kept, what is new comes at the end.
func (l *keyedList) Add(other ref.Val) ref.Val { return l.keys.add(l.vals(), other) }

// Equal ignores the order.
func (l *addedList) Equal(other ref.Val) ref.Val { return l.keys.equal(elementsOf(l), other) }

// Add merges further.
func (l *addedList) Add(other ref.Val) ref.Val { return l.keys.add(elementsOf(l), other) }

func elementsOf(l traits.Lister) []ref.Val {
	var vals []ref.Val
	for it := l.Iterator(); it.HasNext() == types.True; {
		vals = append(vals, it.Next())
	}
	return vals
}

func (k keys) equal(vals []ref.Val, other ref.Val) ref.Val {
	with, ok := other.(traits.Lister)
	switch {
	case !ok:
		return types.MaybeNoSuchOverloadErr(other)
	case types.Int(len(vals)) != with.Size():
		return types.False
	}
	mine := make(map[any]ref.Val, len(vals))
	for _, v := range vals {
		key, err := k.of(v)
		if err != nil {
			return err
		}
		mine[key] = v
	}
	seen := make(map[any]struct{}, len(mine))
	for _, v := range elementsOf(with) {
		key, err := k.of(v)
		if err != nil {
			return err
		}
		own, found := mine[key]
		if !found {
			return types.False
		}
		if k != nil {
			if eq := own.Equal(v); eq != types.True {
				return eq
			}
		}
		seen[key] = struct{}{}
	}
	return types.Bool(len(seen) == len(mine))
}

func (k keys) add(vals []ref.Val, other ref.Val) ref.Val {
	with, ok := other.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	at := make(map[any]int, len(vals))
	for i, v := range vals {
		key, err := k.of(v)
		if err != nil {
			return err
		}
		at[key] = i
	}
	for _, v := range elementsOf(with) {
		key, err := k.of(v)
		if err != nil {
			return err
		}
		i, found := at[key]
		switch {
		case !found:
			if k == nil { // of a map, two new elements with one key both stay
				at[key] = len(vals)
			}
			vals = append(vals, v)
		case k != nil:
			vals[i] = v
		}
	}
	return &addedList{types.NewRefValList(types.DefaultTypeAdapter, vals), k}
}
