package jsonschema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// update validates v by n, and forgives what is wrong if v is what it was. Nothing is forgiven of a part of it that
// changed.
func (w *walker) update(n *node, v, old any, at *where) result {
	r := w.checked(n, v, old, true, at)
	if !r.valid() && w.same(n, v, old) {
		r.failures = nil
	}
	return r
}

// same reports whether a value is what it was. An object is not if the schema doesn't specify all of it; list maps
// are compared without regard to their order.
func (w *walker) same(n *node, v, old any) bool {
	if w.steps--; w.steps < 0 || v == nil || old == nil {
		return v == nil && old == nil
	}
	switch v := v.(type) {
	case []any:
		was, ok := old.([]any)
		if !ok || len(v) != len(was) {
			return false
		}
		return w.sameItems(n, v, was)
	case map[string]any:
		was, ok := old.(map[string]any)
		if !ok || len(v) != len(was) {
			return false
		}
		for name, m := range v {
			before, ok := was[name]
			child, _ := n.member(name)
			if !ok || child == nil || !w.same(child, m, before) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(v, old)
}

func (w *walker) sameItems(n *node, v, was []any) bool {
	if n.list == nil || n.list.kind != "map" {
		w.steps -= len(v)
		return reflect.DeepEqual(v, was)
	}
	before := correlated(n, was, true)
	for _, item := range v {
		old := before.get(n, item)
		if old == nil || n.items == nil || !w.same(n.items, item, old) {
			return false
		}
	}
	return true
}

// oldItems are the items of a list map by their keys.
type oldItems map[any]any

// correlated returns the old items that new ones can be compared with: none but for list maps.
func correlated(n *node, old any, ratchet bool) oldItems {
	items, _ := old.([]any)
	if !ratchet || len(items) == 0 || n.types != tArray || n.list == nil || n.list.kind != "map" || len(n.list.keys) == 0 {
		return nil
	}
	out := make(oldItems, len(items))
	for _, item := range items {
		if key := itemKey(n, item); key != nil {
			if _, ok := out[key]; !ok {
				out[key] = item
			}
		}
	}
	return out
}

// get returns what an item was, or nil.
func (o oldItems) get(n *node, item any) any {
	if len(o) == 0 {
		return nil
	}
	key := itemKey(n, item)
	if key == nil {
		return nil
	}
	return o[key]
}

// itemKey returns the key of an item of a list map, or nil if it is incomplete or no scalar.
func itemKey(n *node, item any) any {
	o, ok := item.(map[string]any)
	if !ok {
		return nil
	}
	scalar := func(v any) bool { t, _ := typeOf(v); return t&(tString|tBoolean|tInteger|tNumber) != 0 }
	if len(n.list.keys) == 1 {
		if v := o[n.list.keys[0]]; scalar(v) {
			return v
		}
		return nil
	}
	var b strings.Builder
	for _, name := range n.list.keys {
		v := o[name]
		if !scalar(v) {
			return nil
		}
		switch v := v.(type) {
		case float64:
			fmt.Fprintf(&b, "\x00%f", v)
		default:
			fmt.Fprintf(&b, "\x00%#v", v)
		}
	}
	return b.String()
}

// repeats reports whether two items are equal.
func repeats(items []any) bool {
	var compounds []any
	seen := make(map[any]bool, len(items))
	for _, item := range items {
		switch item.(type) {
		case map[string]any, []any:
			if slices.ContainsFunc(compounds, func(o any) bool { return reflect.DeepEqual(o, item) }) {
				return true
			}
			compounds = append(compounds, item)
			continue
		}
		if seen[item] {
			return true
		}
		seen[item] = true
	}
	return false
}
