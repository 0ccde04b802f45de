package managedfields

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// marks say what is the case with a path. In a Set only member is used; the walk tells changes apart.
type marks uint8

const (
	member  marks = 1 << iota // in the set
	removed                   // gone since the live object; never part of an encoded set
)

const changed = member // added or modified

// node is a path element, what is the case with the path that ends here, and the elements below, sorted.
type node struct {
	element
	marks marks
	kids  []node
}

func compareNodes(a, b node) int { return compareElements(a.element, b.element) }

// find returns the node of an element, or nil.
func find(nodes []node, e element) *node {
	if i, ok := slices.BinarySearchFunc(nodes, e, func(n node, e element) int { return compareElements(n.element, e) }); ok {
		return &nodes[i]
	}
	return nil
}

// Set is a set of field paths, as the FieldsV1 of a managedFields entry holds them. The zero value is empty.
// A Set never changes.
type Set struct{ nodes []node }

// Paths returns the set of the given fields: Paths("status", "metadata.labels"). Names are separated by dots.
func Paths(paths ...string) Set {
	var s Set
	for _, path := range paths {
		s.nodes = insert(s.nodes, strings.Split(path, "."))
	}
	return s
}

func insert(nodes []node, names []string) []node {
	e := element{text: names[0]}
	i, ok := slices.BinarySearchFunc(nodes, e, func(n node, e element) int { return compareElements(n.element, e) })
	if !ok {
		nodes = slices.Insert(nodes, i, node{element: e})
	}
	if len(names) == 1 {
		nodes[i].marks |= member
	} else {
		nodes[i].kids = insert(nodes[i].kids, names[1:])
	}
	return nodes
}

// Decode reads the set of an entry. A nil f is the empty set.
func Decode(f *metav1.FieldsV1) (Set, error) {
	nodes, _, err := new(fieldsReader).decode(f, nil)
	return Set{nodes}, err
}

// Encode writes the set in the order and spelling of Kubernetes.
func (s Set) Encode() *metav1.FieldsV1 {
	return metav1.NewFieldsV1(string(encode(make([]byte, 0, 512), s.nodes)))
}

// Empty reports whether no path is in the set.
func (s Set) Empty() bool { return empty(s.nodes) }

// All returns the paths in the set as Kubernetes prints them (`.spec.containers[name="web"].image`), in order,
// each before those below it.
func (s Set) All() iter.Seq[string] {
	return func(yield func(string) bool) { all("", s.nodes, yield) }
}

func all(prefix string, nodes []node, yield func(string) bool) bool {
	for _, n := range nodes {
		if n.marks&member != 0 && !yield(prefix+n.String()) {
			return false
		}
	}
	for _, n := range nodes {
		if len(n.kids) > 0 && !all(prefix+n.String(), n.kids, yield) {
			return false
		}
	}
	return true
}

// String prints the element as a step of a path.
func (e element) String() string {
	switch e.kind {
	case byKey:
		var parts []string
		for rest := e.text[1 : len(e.text)-1]; rest != ""; {
			var name, value string
			name, value, rest = nextPair(rest)
			parts = append(parts, unquote(name)+"="+printed(value))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case byValue:
		return "[=" + printed(e.text) + "]"
	case byIndex:
		return "[" + e.text + "]"
	}
	return "." + e.text
}

func printed(value string) string {
	if strings.HasPrefix(value, `"`) {
		return fmt.Sprintf("%q", unquote(value))
	}
	return value
}

func empty(nodes []node) bool {
	for i := range nodes {
		if nodes[i].marks&member != 0 || !empty(nodes[i].kids) {
			return false
		}
	}
	return true
}

// union returns the nodes of both.
func union(a, b []node) []node {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]node, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compareNodes(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, node{a[0].element, a[0].marks | b[0].marks, union(a[0].kids, b[0].kids)})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// subtract returns the members of a whose paths have no mark in b, and whether there were others.
// As in Kubernetes, a path goes without those below it and stays without the one above it.
func subtract(a, b []node) (rest []node, less bool) {
	for i := range a {
		n := a[i]
		o := find(b, n.element)
		if o != nil {
			var fewer bool
			if n.marks&member != 0 && o.marks != 0 {
				n.marks, fewer = 0, true
			}
			if len(n.kids) > 0 && len(o.kids) > 0 {
				kids, f := subtract(n.kids, o.kids)
				n.kids, fewer = kids, fewer || f
			}
			if fewer && !less {
				less = true
				rest = append(make([]node, 0, len(a)), a[:i]...)
			}
		}
		if less && (n.marks&member != 0 || len(n.kids) > 0) {
			rest = append(rest, n)
		}
	}
	if !less {
		return a, false
	}
	return rest, true
}

// intersect returns the members of a whose paths have one of the marks in b.
func intersect(a, b []node, m marks) (both []node) {
	for i := range a {
		o := find(b, a[i].element)
		if o == nil {
			continue
		}
		n := node{element: a[i].element, kids: intersect(a[i].kids, o.kids, m)}
		if a[i].marks&member != 0 && o.marks&m != 0 {
			n.marks = member
		}
		if n.marks != 0 || len(n.kids) > 0 {
			both = append(both, n)
		}
	}
	return both
}
