package managedfields

import (
	"cmp"
	"fmt"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// ShapeError says that an object doesn't have the shape of its kind.
type ShapeError struct {
	Path   string // ".spec.replicas"
	Reason string
}

// Error names the path and the reason.
func (e *ShapeError) Error() string { return e.Path + ": " + e.Reason }

func (e *ShapeError) below(step element) *ShapeError {
	return &ShapeError{Path: step.String() + e.Path, Reason: e.Reason}
}

func misshapen(format string, args ...any) *ShapeError {
	return &ShapeError{Reason: fmt.Sprintf(format, args...)}
}

// untyped is the type of what no schema describes.
var untyped = new(structural.Type)

// walker compares the live object, on the left, with the new one.
type walker struct {
	pair
	nodes []node // a stack: those of each container that is open, in order
	arena []node
}

// changes returns the paths that differ between two objects of type t; see marks.
// Paths in reset, and those below them, are left out. The result is good until the next call.
func (w *walker) changes(t *structural.Type, reset Set) ([]node, error) {
	if t == nil {
		t = untyped
	}
	w.nodes, w.scratch, w.arena = w.nodes[:0], w.scratch[:0], w.arena[:0]
	_, nodes, err := w.compare(t, 0, 0, reset.nodes)
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// compare returns what is the case at a path and what changed below it. l or r may be absent, not both.
func (w *walker) compare(t *structural.Type, l, r int32, reset []node) (marks, []node, *ShapeError) {
	if l != absent && r != absent && w.l.raw(l) == w.r.raw(r) {
		return 0, nil, nil
	}
	switch t.Kind() {
	case structural.Scalar:
		if err := cmp.Or(checkScalar(t, w.l, l), checkScalar(t, w.r, r)); err != nil {
			return 0, nil, err
		}
		return w.leaf(l, r), nil, nil
	case structural.List:
		return w.compareList(t, l, r)
	case structural.Any:
		return w.compareAny(t, l, r, reset)
	}
	if err := w.check(tokenObject, l, r); err != nil {
		return 0, nil, err
	}
	if t.Atomic() || !w.l.filled(l) && !w.r.filled(r) {
		return w.leaf(l, r), nil, nil
	}
	kids, err := w.compareObjects(t, l, r, reset)
	return presence(l, r), kids, err
}

// presence is the case at a container that was descended into.
func presence(l, r int32) marks {
	switch {
	case l == absent:
		return changed
	case r == absent:
		return removed
	}
	return 0
}

// leaf compares two values as wholes.
func (w *walker) leaf(l, r int32) marks {
	if l == absent || r == absent {
		return presence(l, r)
	}
	if w.equal(l, r) {
		return 0
	}
	return changed
}

// compareAny follows the values: objects are compared by member, all else as a whole.
func (w *walker) compareAny(t *structural.Type, l, r int32, reset []node) (marks, []node, *ShapeError) {
	lmap := w.l.filled(l) && w.l.kind(l) == tokenObject
	rmap := w.r.filled(r) && w.r.kind(r) == tokenObject
	if t.Atomic() || !lmap && !rmap {
		return w.leaf(l, r), nil, nil
	}
	m := presence(l, r)
	if l != absent && w.l.kind(l) != tokenObject && w.l.kind(l) != tokenNull || r != absent && w.r.kind(r) != tokenObject && w.r.kind(r) != tokenNull {
		m |= changed // one side is a scalar or a list
	}
	if !lmap {
		l = absent
	}
	if !rmap {
		r = absent
	}
	kids, err := w.compareObjects(t, l, r, reset)
	return m, kids, err
}

// compareObjects compares two objects, of which one may be absent or null, member by member.
func (w *walker) compareObjects(t *structural.Type, l, r int32, reset []node) ([]node, *ShapeError) {
	base := len(w.nodes)
	err := w.members(l, r, func(name string, l, r int32) *ShapeError { return w.member(t, name, l, r, reset) })
	if err != nil {
		return nil, err
	}
	return w.close(base), nil
}

// member compares the values of one field.
func (w *walker) member(t *structural.Type, name string, l, r int32, reset []node) *ShapeError {
	e := element{text: name}
	all, reset := within(reset, e)
	if all {
		return nil
	}
	below := memberType(t, name)
	if below == nil {
		return misshapen("field not declared in schema")
	}
	return w.child(below, e, l, r, reset)
}

func (w *walker) child(t *structural.Type, e element, l, r int32, reset []node) *ShapeError {
	m, kids, err := w.compare(t, l, r, reset)
	if err != nil {
		return err
	}
	if m != 0 || len(kids) > 0 {
		w.nodes = append(w.nodes, node{e, m, kids})
	}
	return nil
}

func (w *walker) close(base int) (kids []node) {
	kids, w.nodes, w.arena = closed(w.nodes, w.arena, base)
	return kids
}

func admits(s structural.ScalarKind, k tokenKind) bool {
	switch k {
	case tokenNull:
		return true
	case tokenString:
		return s == structural.String || s == structural.AnyScalar
	case tokenNumber:
		return s == structural.Number || s == structural.AnyScalar
	case tokenBool:
		return s == structural.Boolean || s == structural.AnyScalar
	}
	return false
}

func scalarName(s structural.ScalarKind) string {
	switch s {
	case structural.String:
		return "string"
	case structural.Number:
		return "numeric (int or float)"
	case structural.Boolean:
		return "boolean"
	}
	return "any scalar"
}

var _ error = (*ShapeError)(nil)
