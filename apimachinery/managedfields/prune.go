package managedfields

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// pruner takes out of an object what its manager applied last and nobody owns any more.
type pruner struct {
	t      *structural.Type
	object []byte
	tape   tape // of the object
	out    []byte
}

// prune returns the object without that, and whether it is less. owners are all managers with what they own from now
// on. It does as Kubernetes does, whose outcome depends on the order: all that was applied goes, what is owned
// comes back, version by version, and in the end so does what was not applied.
func prune(t *structural.Type, object []byte, last *entry, owners []entry) (pruned []byte, less bool, err error) {
	p := &pruner{t: t, object: object}
	if err := p.tape.read(object); err != nil {
		return nil, false, fmt.Errorf("merged object: %w", err)
	}
	all, err := p.fields(object)
	if err != nil {
		return nil, false, err
	}
	applied := named(t, last.nodes)
	have, err := p.fields(p.without(applied))
	if err != nil {
		return nil, false, err
	}
	versions := map[string][]node{}
	for i := range owners {
		versions[owners[i].APIVersion] = union(versions[owners[i].APIVersion], owners[i].nodes)
	}
	for _, version := range slices.SortedFunc(maps.Keys(versions), lastFirst(last.APIVersion)) {
		gone, _ := subtract(all, union(have, named(t, versions[version])))
		if have, err = p.fields(p.without(gone)); err != nil {
			return nil, false, err
		}
	}
	gone, _ := subtract(all, have)
	gone = intersect(gone, applied, member)
	return p.without(gone), !empty(gone), nil
}

func lastFirst(last string) func(a, b string) int {
	return func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == last:
			return -1
		case b == last:
			return 1
		}
		return cmp.Compare(a, b)
	}
}

// fields returns the fields of an object with the named ones above them.
func (p *pruner) fields(object []byte) ([]node, error) {
	d, err := newTape(object)
	if err != nil {
		return nil, fmt.Errorf("pruned object: %w", err)
	}
	nodes, err := new(owned).fields(p.t, d, Set{})
	return named(p.t, nodes), err
}

// named adds the fields of structs that have members below them.
func named(t *structural.Type, nodes []node) []node {
	out := make([]node, len(nodes))
	for i, n := range nodes {
		if len(n.kids) > 0 {
			if n.kind == byField && t != nil && t.Field(n.text) != nil {
				n.marks |= member
			}
			n.kids = named(childType(t, n.element), n.kids)
		}
		out[i] = n
	}
	return out
}

// without returns the object without some fields.
func (p *pruner) without(gone []node) []byte {
	if empty(gone) {
		return p.object
	}
	p.out = make([]byte, 0, len(p.object))
	p.value(p.t, 0, gone)
	return p.out
}

// value appends a value without some of what is below it. A container of which nothing is left, or that
// is owned as a whole, is null.
func (p *pruner) value(t *structural.Type, i int32, gone []node) {
	kind, mark, some := p.tape.kind(i), len(p.out), false
	switch {
	case t.Kind() == structural.Scalar || t.Kind() == structural.Any && kind < tokenObject && kind != tokenNull:
		p.out = append(p.out, p.tape.raw(i)...)
		return
	case kind == tokenObject && t.Kind() != structural.List && !t.Atomic():
		some = p.members(t, i, gone)
	case kind == tokenArray && t.Kind() == structural.List && t.List() != structural.AtomicList:
		some = p.items(t, i, gone)
	}
	if !some {
		p.out = append(p.out[:mark], "null"...)
	}
}

func (p *pruner) members(t *structural.Type, i int32, gone []node) (some bool) {
	p.out = append(p.out, '{')
	for c, end := i+1, p.tape.tokens[i].next; c < end; c = p.tape.tokens[c].next {
		name := p.tape.key(c)
		all, below := within(gone, element{text: name})
		if all {
			continue
		}
		if some {
			p.out = append(p.out, ',')
		}
		some = true
		p.out = append(appendQuoted(p.out, name), ':')
		p.child(memberType(t, name), c, below)
	}
	p.out = append(p.out, '}')
	return some
}

func (p *pruner) items(t *structural.Type, i int32, gone []node) (some bool) {
	p.out = append(p.out, '[')
	for c, end := i+1, p.tape.tokens[i].next; c < end; c = p.tape.tokens[c].next {
		e, err := itemElement(t, &p.tape, c)
		all, below := within(gone, e)
		if all && err == nil {
			continue
		}
		if some {
			p.out = append(p.out, ',')
		}
		some = true
		p.child(t.Elem(), c, below)
	}
	p.out = append(p.out, ']')
	return some
}

func (p *pruner) child(t *structural.Type, i int32, gone []node) {
	if t == nil || empty(gone) {
		p.out = append(p.out, p.tape.raw(i)...)
		return
	}
	p.value(t, i, gone)
}
