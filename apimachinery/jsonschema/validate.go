package jsonschema

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate validates new, which Prune, Default and CoerceMetadata have seen, at a path: nil for an object itself. It
// covers the schema, the metadata of embedded resources, and the uniqueness of sets and of the keys of list maps;
// not the object's own metadata. Errors have the type, path, bad value and words that Kubernetes gives them.
//
// Where old is not nil, new replaces it, and what is wrong with a part that did not change is no error
// (KEP-4008): parts are fields, and items of list maps, with correlated old values.
func (s *Schema) Validate(path *field.Path, new, old any) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := s.values(path, new, old)
	errs = append(errs, embeddedResources(path, new, s.root)...)
	if old == nil || len(uniqueLists(path, old, s.root)) == 0 {
		errs = append(errs, uniqueLists(path, new, s.root)...)
	}
	if len(errs) > MaxErrors {
		errs = append(errs[:MaxErrors:MaxErrors], field.Invalid(path, field.OmitValueType{}, "more errors than are told"))
	}
	return errs
}

// values validates by the schema alone.
func (s *Schema) values(path *field.Path, new, old any) field.ErrorList {
	w := walker{steps: MaxSteps}
	var r result
	if old == nil {
		r = w.value(s.root, new, nil)
	} else {
		r = w.update(s.root, new, old, nil)
	}
	if w.steps < 0 {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, fmt.Sprintf("validation takes more than %d steps", MaxSteps))}
	}
	return r.errorList(path)
}

// walker validates one value.
type walker struct {
	steps int
}

// result is what came of a value by one schema.
type result struct {
	failures []failure
	matches  int // how many checks were made: of several alternatives, the one with most is told
}

func (r *result) valid() bool { return len(r.failures) == 0 }

func (r *result) add(f ...failure) {
	if len(r.failures) <= MaxErrors {
		r.failures = append(r.failures, f...)
	}
}

func (r *result) merge(o result) {
	if len(o.failures) > 0 {
		r.add(o.failures...)
	}
	r.matches += o.matches
}

// errorList returns each failure once.
func (r *result) errorList(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[string]bool, len(r.failures))
	for i := range r.failures {
		f := &r.failures[i]
		if !seen[f.message] {
			seen[f.message] = true
			errs = append(errs, f.error(path))
		}
	}
	return errs
}

// where is the path to a value, linked to those before. It lives on the stack.
type where struct {
	up   *where
	name string
	item int // the index, where it is an item
	kind uint8
}

const (
	aProperty uint8 = iota
	aMember         // of additionalProperties
	anItem
)

// String is the path as failures name it: a member of additionalProperties, or what is required, begins with a point
// even at the root.
func (p *where) String() string { return string(p.append(nil)) }

func (p *where) append(b []byte) []byte {
	if p == nil {
		return b
	}
	b = p.up.append(b)
	switch p.kind {
	case anItem:
		return fmt.Appendf(b, "[%d]", p.item)
	case aMember:
		b = append(b, '.')
	default:
		if len(b) > 0 {
			b = append(b, '.')
		}
	}
	return append(b, p.name...)
}

// value validates v by n.
func (w *walker) value(n *node, v any, at *where) (r result) {
	return w.checked(n, v, nil, false, at)
}

// checked validates v by n. Where ratchet is true, members and items are compared with those of old.
func (w *walker) checked(n *node, v, old any, ratchet bool, at *where) (r result) {
	if w.steps--; w.steps < 0 {
		return r
	}
	if v == nil {
		if n.types != 0 && !n.marks.has(nullable) && n.other != "null" {
			r.add(wrongType(at, n.typeName(), "null"))
		} else {
			r.matches++
		}
		r.merge(enum(n, nil, at))
		return r
	}
	l := n.limits()
	if n.types != 0 || l.format != "" {
		r.merge(checkType(n, l, v, at))
		r.matches++
	}
	r.merge(w.junctors(l, v, at))
	r.matches++
	switch v := v.(type) {
	case string:
		r.merge(checkString(l, v, at))
		r.matches++
		if l.known {
			r.merge(checkFormat(l, v, at))
			r.matches++
		}
	case int64, float64:
		r.merge(checkNumber(n, l, v, at))
		r.matches++
	case []any:
		r.merge(w.array(n, l, v, old, ratchet, at))
		r.matches++
	}
	r.merge(enum(n, v, at))
	r.matches++
	if o, ok := v.(map[string]any); ok {
		r.merge(w.object(n, l, o, old, ratchet, at))
		r.matches++
	}
	r.matches++
	return r
}

func (w *walker) array(n *node, l *rules, items []any, old any, ratchet bool, at *where) (r result) {
	if n.items != nil {
		before := correlated(n, old, ratchet)
		for i, item := range items {
			here := where{up: at, kind: anItem, item: i}
			if was := before.get(n, item); was != nil {
				r.merge(w.update(n.items, item, was, &here))
			} else {
				r.merge(w.value(n.items, item, &here))
			}
			if len(r.failures) > MaxErrors || w.steps < 0 {
				return r
			}
		}
	}
	size := int64(len(items))
	if l.minItems != nil && size < *l.minItems {
		r.add(invalid(at, size, "%s in body should have at least %d items", *l.minItems))
	}
	if l.maxItems != nil && size > *l.maxItems {
		r.add(tooMany(at, size, *l.maxItems, "items"))
	}
	if n.marks.has(uniqueItems) && repeats(items) {
		r.add(invalid(at, nil, "%s in body shouldn't contain duplicates"))
	}
	r.matches++
	return r
}

func (w *walker) object(n *node, l *rules, o map[string]any, old any, ratchet bool, at *where) (r result) {
	size := int64(len(o))
	if l.minProperties != nil && size < *l.minProperties {
		r.add(invalid(at, size, "%s in body should have at least %d properties", *l.minProperties))
	}
	if l.maxProperties != nil && size > *l.maxProperties {
		r.add(tooMany(at, size, *l.maxProperties, "properties"))
	}
	before, _ := old.(map[string]any)
	child := func(c *node, name string, v any, kind uint8) {
		here := where{up: at, name: name, kind: kind}
		was, ok := before[name]
		if !ratchet || !ok || at == nil && (name == "apiVersion" || name == "kind") {
			r.merge(w.value(c, v, &here))
			return
		}
		r.merge(w.update(c, v, was, &here))
	}
	if n.marks.has(deniesAdditional) || n.extra != nil {
		var few [16]string
		names := few[:0]
		for name := range o {
			if _, ok := n.property(name); !ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if n.extra == nil {
				r.add(forbidden(at, name))
			} else {
				child(n.extra, name, o[name], aMember)
			}
			if len(r.failures) > MaxErrors || w.steps < 0 {
				return r
			}
		}
	}
	for i := range n.props {
		if v, ok := o[n.props[i].name]; ok {
			child(n.props[i].node, n.props[i].name, v, aProperty)
		}
	}
	for _, name := range l.required {
		if _, ok := o[name]; !ok {
			r.add(missing(&where{up: at, name: name, kind: aMember}))
		}
	}
	return r
}
