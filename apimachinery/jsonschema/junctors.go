package jsonschema

import "fmt"

// junctors validates by what is nested in allOf, anyOf, oneOf and not. These tell nothing of old values: a part of
// them that was violated before is violated still.
func (w *walker) junctors(l *rules, v any, at *where) (r result) {
	if len(l.anyOf) > 0 {
		r.merge(w.anyOf(l.anyOf, v, at))
	}
	if len(l.oneOf) > 0 {
		r.merge(w.oneOf(l.oneOf, v, at))
	}
	if len(l.allOf) > 0 {
		r.merge(w.allOf(l.allOf, v, at))
	}
	if l.not != nil {
		if not := w.value(l.not, v, at); not.valid() {
			r.add(nested(at, "%q must not validate the schema (not)"))
		}
	}
	r.matches++
	return r
}

func (w *walker) anyOf(list []*node, v any, at *where) (r result) {
	var best *result
	for _, n := range list {
		one := w.value(n, v, at)
		if one.valid() {
			return one
		}
		if best == nil || one.matches > best.matches {
			best = &one
		}
	}
	r.add(nested(at, "%q must validate at least one schema (anyOf)"))
	r.merge(*best)
	return r
}

func (w *walker) oneOf(list []*node, v any, at *where) (r result) {
	var best, first *result
	valid := 0
	for _, n := range list {
		one := w.value(n, v, at)
		if one.valid() {
			if valid++; first == nil {
				first = &one
			}
			best = nil
			continue
		}
		if valid == 0 && (best == nil || one.matches > best.matches) {
			best = &one
		}
	}
	if valid == 1 {
		return *first
	}
	found := "Found none valid"
	if valid > 0 {
		found = fmt.Sprintf("Found %d valid alternatives", valid)
	}
	r.add(nested(at, "%q must validate one and only one schema (oneOf). %s", found))
	if best != nil {
		r.merge(*best)
	}
	return r
}

func (w *walker) allOf(list []*node, v any, at *where) (r result) {
	valid := 0
	for _, n := range list {
		one := w.value(n, v, at)
		if one.valid() {
			valid++
		}
		r.merge(one)
	}
	if valid != len(list) {
		none := ""
		if valid == 0 {
			none = ". None validated"
		}
		r.add(nested(at, "%q must validate all the schemas (allOf)%s", none))
	}
	return r
}
