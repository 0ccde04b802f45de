package managedfields

import "github.com/bedplate/bedplate/apimachinery/structural"

// owned finds what somebody owns who applies an object: its scalars, its wholes, the items of its lists, and what is
// null or empty.
type owned struct {
	d       *tape
	nodes   []node // a stack: those of each container that is open, in order
	scratch []int32
	arena   []node
}

// fields returns the fields of the object d of type t, but for those in reset. The result is good until the next call.
func (o *owned) fields(t *structural.Type, d *tape, reset Set) ([]node, error) {
	o.d, o.nodes, o.scratch, o.arena = d, o.nodes[:0], o.scratch[:0], o.arena[:0]
	_, nodes, err := o.below(t, 0, reset.nodes)
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// below returns whether the value is owned as a whole, and what is owned below it.
func (o *owned) below(t *structural.Type, i int32, reset []node) (whole bool, kids []node, err *ShapeError) {
	kind := o.d.kind(i)
	switch t.Kind() {
	case structural.Scalar:
		return true, nil, nil
	case structural.List:
		if t.List() == structural.AtomicList {
			return true, nil, nil
		}
		kids, err = o.items(t, i)
		return false, kids, err
	case structural.Any:
		if kind != tokenObject && kind != tokenNull {
			return true, nil, nil
		}
	}
	if t.Atomic() {
		return true, nil, nil
	}
	kids, err = o.members(t, i, reset)
	return false, kids, err
}

func (o *owned) members(t *structural.Type, i int32, reset []node) ([]node, *ShapeError) {
	base, mark := len(o.nodes), len(o.scratch)
	o.scratch = o.d.children(o.scratch, i)
	for at := mark; at < len(o.scratch); at++ {
		c := o.scratch[at]
		n := node{element: element{text: o.d.key(c)}}
		all, rest := within(reset, n.element)
		if all {
			continue
		}
		below := memberType(t, n.text)
		if below == nil {
			return nil, misshapen("field not declared in schema").below(n.element)
		}
		whole, kids, err := o.below(below, c, rest)
		if err != nil {
			return nil, err.below(n.element)
		}
		kind := o.d.kind(c)
		if whole || t.Kind() != structural.Struct || kind == tokenNull || kind == tokenObject && !o.d.filled(c) {
			n.marks = member
		}
		n.kids = kids
		if n.marks != 0 || len(kids) > 0 {
			o.nodes = append(o.nodes, n)
		}
	}
	o.scratch = o.scratch[:mark]
	return o.close(base), nil
}

// items returns the items of a list. What occurs more than once is one value, owned as a whole.
func (o *owned) items(t *structural.Type, i int32) ([]node, *ShapeError) {
	base := len(o.nodes)
	list, err := items(t, o.d, i)
	if err != nil {
		return nil, err
	}
	for len(list) > 0 {
		var same []item
		same, list = sameItems(list)
		n := node{element: same[0].element, marks: member}
		if len(same) == 1 {
			if _, n.kids, err = o.below(t.Elem(), same[0].at, nil); err != nil {
				return nil, err.below(n.element)
			}
		}
		o.nodes = append(o.nodes, n)
	}
	return o.close(base), nil
}

func (o *owned) close(base int) (kids []node) {
	kids, o.nodes, o.arena = closed(o.nodes, o.arena, base)
	return kids
}

// closed takes the nodes from base on off a stack and puts them into an arena.
func closed(stack, arena []node, base int) (kids, rest, grown []node) {
	n := len(stack) - base
	if n == 0 {
		return nil, stack, arena
	}
	if cap(arena)-len(arena) < n {
		arena = make([]node, 0, max(64, n, 2*cap(arena)))
	}
	at := len(arena)
	arena = append(arena, stack[base:]...)
	return arena[at : at+n : at+n], stack[:base], arena
}

// within reports whether an element is in the set, and returns what of the set is below it.
func within(set []node, e element) (all bool, below []node) {
	if len(set) == 0 {
		return false, nil
	}
	if n := find(set, e); n != nil {
		return n.marks != 0, n.kids
	}
	return false, nil
}
