package cel

import (
	"fmt"
	"reflect"
	"strings"
)

// ratchet says, for a place in an object, whether its data are what they were (KEP-4008).
type ratchet struct {
	// here is nil where older data can't be found; above is then the nearest place where they can.
	here, above *pair
}

// equal says whether nothing changed: here, or at the nearest place above that has older data.
func (r ratchet) equal() bool {
	if r.here != nil {
		return r.here.equal()
	}
	return r.above.equal()
}

// key is the place of a property or value. Of a whole resource, apiVersion and kind have nothing to compare: both
// objects were converted to the same.
func (r ratchet) key(name string) ratchet {
	switch {
	case r.here == nil:
		return r
	case r.above == nil && (name == "apiVersion" || name == "kind"):
		return ratchet{}
	}
	return ratchet{here: r.here.key(name), above: r.here}
}

// index is the place of an element.
func (r ratchet) index(i int) ratchet {
	if r.here == nil {
		return r
	}
	return ratchet{here: r.here.index(i), above: r.here}
}

// pair are new and older data of one place. What was compared is remembered.
type pair struct {
	new, old any
	n        *node
	compared bool
	same     bool
	lists    *listIndex
	children map[any]*pair
}

// key finds the pair of a property or value, nil if one of the two isn't there or the schema doesn't know it.
func (p *pair) key(name string) *pair {
	if c, ok := p.children[name]; ok {
		return c
	}
	newer, ok := p.new.(map[string]any)
	older, okOld := p.old.(map[string]any)
	if !ok || !okOld {
		return nil
	}
	v, ok := newer[name]
	w, okOld := older[name]
	n := p.n.props[name]
	if n == nil {
		n = p.n.additional
	}
	if !ok || !okOld || n == nil {
		return nil
	}
	return p.child(name, &pair{new: v, old: w, n: n})
}

// index finds the pair of an element by its keys, nil if the list has no keys.
func (p *pair) index(i int) *pair {
	if c, ok := p.children[i]; ok {
		return c
	}
	newer, ok := p.new.([]any)
	older, okOld := p.old.([]any)
	if !ok || !okOld || i >= len(newer) || p.n.listType != "map" || p.n.items == nil {
		return nil
	}
	if p.lists == nil {
		p.lists = newIndex(p.n, older)
	}
	w := p.lists.find(newer[i])
	if w == nil {
		return nil
	}
	return p.child(i, &pair{new: newer[i], old: w, n: p.n.items})
}

func (p *pair) child(at any, c *pair) *pair {
	if p.children == nil {
		p.children = map[any]*pair{}
	}
	p.children[at] = c
	return c
}

// equal compares; lists with keys in any order, and only what the schema knows can be equal.
func (p *pair) equal() bool {
	if p == nil {
		return false
	}
	if !p.compared {
		p.same, p.compared = p.compare(), true
	}
	return p.same
}

func (p *pair) compare() bool {
	if p.new == nil || p.old == nil {
		return p.new == nil && p.old == nil
	}
	switch newer := p.new.(type) {
	case []any:
		older, ok := p.old.([]any)
		return ok && len(newer) == len(older) && p.compareList(newer, older)
	case map[string]any:
		older, ok := p.old.(map[string]any)
		if !ok || len(newer) != len(older) {
			return false
		}
		for k := range newer {
			if !p.key(k).equal() {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(p.old, p.new)
}

func (p *pair) compareList(newer, older []any) bool {
	for i := range newer {
		c := p.index(i)
		if c == nil && p.lists == nil { // a list without keys is compared as one
			return reflect.DeepEqual(older, newer)
		}
		if !c.equal() {
			return false
		}
	}
	return true
}

// listIndex finds elements of a list with keys.
type listIndex struct {
	keys  []string
	items []any
	found map[any]any
}

// newIndex is nil, which finds nothing, for other lists.
func newIndex(n *node, items []any) *listIndex {
	if n.kind != "array" || n.listType != "map" || len(n.listKeys) == 0 || len(items) == 0 {
		return nil
	}
	return &listIndex{keys: n.listKeys, items: items}
}

// find returns the first element with the keys of v, nil if there is none or v lacks a key.
func (x *listIndex) find(v any) any {
	if x == nil {
		return nil
	}
	key, ok := x.key(v)
	if !ok {
		return nil
	}
	if x.found == nil {
		x.found = make(map[any]any, len(x.items))
		for _, item := range x.items {
			if k, ok := x.key(item); ok {
				if _, twice := x.found[k]; !twice {
					x.found[k] = item
				}
			}
		}
	}
	return x.found[key]
}

func (x *listIndex) key(v any) (any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	var b strings.Builder
	for _, name := range x.keys {
		k, ok := m[name]
		if !ok {
			return nil, false
		}
		switch k.(type) {
		case bool, float64, int64, string:
		default:
			return nil, false
		}
		if len(x.keys) == 1 {
			return k, true
		}
		fmt.Fprintf(&b, "%#v\x00", k)
	}
	return b.String(), true
}
