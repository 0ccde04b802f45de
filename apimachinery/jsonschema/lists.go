package jsonschema

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// uniqueLists validates that the items of sets, and the keys of list maps, occur once.
func uniqueLists(at *field.Path, v any, n *node) (errs field.ErrorList) {
	if n == nil || !n.marks.has(anyUnique) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if n.extra != nil {
				errs = append(errs, uniqueLists(at.Key(name), v[name], n.extra)...)
			}
			if child, ok := n.property(name); ok {
				errs = append(errs, uniqueLists(at.Child(name), v[name], child)...)
			}
			if len(errs) > MaxErrors {
				break
			}
		}
	case []any:
		errs = append(errs, uniqueItemsOf(at, v, n)...)
		if n.items == nil || !n.items.marks.has(anyUnique) {
			return errs
		}
		for i, item := range v {
			errs = append(errs, uniqueLists(at.Index(i), item, n.items)...)
			if len(errs) > MaxErrors {
				break
			}
		}
	}
	return errs
}

func uniqueItemsOf(at *field.Path, items []any, n *node) field.ErrorList {
	if n.list == nil {
		return nil
	}
	switch n.list.kind {
	case "set":
		return duplicates(at, items)
	case "map":
		for i, item := range items {
			if _, ok := item.(map[string]any); item != nil && !ok {
				return field.ErrorList{field.Invalid(at.Index(i), item, "must be an object for an array of list-type map")}
			}
		}
		if len(items) <= 1 {
			return nil
		}
		keys := make([]any, len(items))
		for i, item := range items {
			keys[i] = keyOf(item, n.list.keys)
		}
		errs := duplicates(at, keys)
		if len(n.list.keys) == 1 { // a bad value is an object with the keys
			for _, err := range errs {
				if err.BadValue == any(noKey{}) {
					err.BadValue = map[string]any{}
				} else {
					err.BadValue = map[string]any{n.list.keys[0]: err.BadValue}
				}
			}
		}
		return errs
	}
	return nil
}

// noKey is the key of an item that doesn't have it.
type noKey struct{}

// keyOf returns the value of the only key field of an item, or an object with the several that it has.
func keyOf(item any, keys []string) any {
	o, _ := item.(map[string]any)
	if len(keys) == 1 {
		if v, ok := o[keys[0]]; ok {
			return v
		}
		return noKey{}
	}
	key := map[string]any{}
	for _, name := range keys {
		if v, ok := o[name]; ok {
			key[name] = v
		}
	}
	return key
}

// duplicates returns an error at the second of equal items.
func duplicates(at *field.Path, items []any) (errs field.ErrorList) {
	if len(items) <= 1 {
		return nil
	}
	seen := make(map[any]int, len(items))
	for i, item := range items {
		key := item
		switch item.(type) {
		case map[string]any, []any:
			raw, err := json.Marshal(item)
			if err != nil {
				return field.ErrorList{field.Invalid(at.Index(i), item, "internal error")}
			}
			key = compound(raw)
		}
		if seen[key]++; seen[key] == 2 {
			errs = append(errs, field.Duplicate(at.Index(i), item))
			if len(errs) > MaxErrors {
				return errs
			}
		}
	}
	return errs
}

// compound is the JSON of an item that is no scalar.
type compound string
