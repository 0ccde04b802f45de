package jsonschema

import (
	"slices"
	"strconv"
)

// Prune removes the fields that s does not specify, and members that are null where s has neither nullable nor a
// default for them. It returns the paths of the unspecified fields ("spec.extra", "spec.list[0].x"), sorted, as
// Kubernetes' warnings about unknown fields name them: at most MaxDropped. In the root and in embedded resources it leaves apiVersion,
// kind and metadata alone (see CoerceMetadata). It works in place.
func (s *Schema) Prune(o map[string]any) (dropped []string) {
	if s == nil {
		return nil
	}
	p := pruner{nulls: true, track: true}
	root := *s.root
	root.marks |= embedded
	p.root = true
	if root.marks.has(preserve) {
		p.object(o, &root, nil, true)
	} else {
		p.object(o, &root, nil, false)
	}
	slices.Sort(p.dropped)
	return p.dropped
}

// place is a step to a value, linked to those before. It lives on the stack of whoever walks.
type place struct {
	up    *place
	name  string // of a member
	index int    // of an item, where name is empty and item is true
	item  bool
}

// String is the path as pruning names it.
func (p *place) String() string { return string(p.append(nil)) }

func (p *place) append(b []byte) []byte {
	if p == nil {
		return b
	}
	b = p.up.append(b)
	if p.item {
		return append(strconv.AppendInt(append(b, '['), int64(p.index), 10), ']')
	}
	if p.up != nil {
		b = append(b, '.')
	}
	return append(b, p.name...)
}

type pruner struct {
	nulls   bool // remove them, too
	track   bool
	root    bool // the next object is the root
	dropped []string
	bytes   int
}

// value prunes v by n. A nil n specifies nothing.
func (p *pruner) value(v any, n *node, at *place) {
	switch v := v.(type) {
	case map[string]any:
		if n == nil {
			for name := range v {
				p.drop(v, name, at)
			}
			return
		}
		p.object(v, n, at, n.marks.has(preserve))
	case []any:
		p.array(v, n, at, n != nil && n.marks.has(preserve))
	}
}

// object prunes a map; if it keeps, all that is unspecified stays as it is.
func (p *pruner) object(o map[string]any, n *node, at *place, keeps bool) {
	root := p.root
	p.root = false
	for name, v := range o {
		if n.marks.has(embedded) && typeMeta(name) {
			p.meta(o, name, v, n, root)
			continue
		}
		child, specified := n.member(name)
		switch {
		case !specified && keeps:
		case !specified:
			p.drop(o, name, at)
		case v == nil:
			p.null(o, name, child)
		default:
			p.value(v, child, &place{up: at, name: name})
		}
	}
}

func (p *pruner) array(list []any, n *node, at *place, keeps bool) {
	var items *node
	if n != nil {
		items = n.items
	}
	if keeps && items == nil {
		return
	}
	for i, v := range list {
		here := place{up: at, item: true, index: i}
		if !keeps {
			p.value(v, items, &here)
			continue
		}
		switch v := v.(type) { // the items of a list that keeps all keep all
		case map[string]any:
			p.object(v, items, &here, true)
		case []any:
			p.array(v, items, &here, true)
		}
	}
}

// meta treats a field that pruning leaves alone.
func (p *pruner) meta(o map[string]any, name string, v any, n *node, root bool) {
	child, _ := n.member(name)
	if child == nil || !p.nulls {
		return
	}
	if v == nil {
		if !root {
			p.null(o, name, child)
		}
		return
	}
	dropNulls(v, child)
}

func (p *pruner) null(o map[string]any, name string, n *node) {
	if p.nulls && n.refusesNull() && n.fallback == nil {
		delete(o, name)
	}
}

func (p *pruner) drop(o map[string]any, name string, at *place) {
	delete(o, name)
	if !p.track || len(p.dropped) >= MaxDropped || p.bytes >= maxDroppedBytes {
		return
	}
	path := (&place{up: at, name: name}).String()
	p.bytes += len(path)
	p.dropped = append(p.dropped, path)
}

// dropNulls removes the members that are null where n has neither nullable nor a default for them.
func dropNulls(v any, n *node) {
	if n == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, m := range v {
			child, _ := n.member(name)
			if m == nil && child.refusesNull() && child.fallback == nil {
				delete(v, name)
				continue
			}
			dropNulls(m, child)
		}
	case []any:
		for _, item := range v {
			dropNulls(item, n.items)
		}
	}
}
