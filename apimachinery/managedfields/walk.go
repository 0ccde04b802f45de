package managedfields

import (
	"fmt"

	"sigs.k8s.io/structured-merge-diff/v6/value"

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
	l, r    *tape
	nodes   []node  // a stack: those of each container that is open, in order
	scratch []int32 // a stack of children
	arena   []node
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
		if err := w.checkScalar(t, l, r); err != nil {
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

func (w *walker) equal(l, r int32) bool {
	a, b := w.l.raw(l), w.r.raw(r)
	if a == b {
		return true
	}
	kl, kr := w.l.kind(l), w.r.kind(r)
	if kl != kr || kl == tokenBool || kl == tokenNull {
		return false
	}
	if kl == tokenString && plain(a[1:len(a)-1]) && plain(b[1:len(b)-1]) {
		return false
	}
	x, errx := value.FromJSON([]byte(a))
	y, erry := value.FromJSON([]byte(b))
	return errx == nil && erry == nil && value.Equals(x, y)
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
	base, mark := len(w.nodes), len(w.scratch)
	w.scratch = w.l.children(w.scratch, l)
	middle := len(w.scratch)
	w.scratch = w.r.children(w.scratch, r)
	li, ri, end := mark, middle, len(w.scratch)
	for li < middle || ri < end {
		lc, rc := absent, absent
		var name string
		if li < middle {
			lc, name = w.scratch[li], w.l.key(w.scratch[li])
		}
		if ri < end {
			rc = w.scratch[ri]
			if key := w.r.key(rc); lc == absent || key < name {
				lc, name = absent, key
			} else if key > name {
				rc = absent
			}
		}
		if lc != absent {
			li++
		}
		if rc != absent {
			ri++
		}
		if err := w.member(t, name, lc, rc, reset); err != nil {
			return nil, err.below(element{text: name})
		}
	}
	w.scratch = w.scratch[:mark]
	return w.close(base), nil
}

// member compares the values of one field.
func (w *walker) member(t *structural.Type, name string, l, r int32, reset []node) *ShapeError {
	e := element{text: name}
	if len(reset) > 0 {
		n := find(reset, e)
		if n != nil && n.marks != 0 {
			return nil
		}
		reset = nil
		if n != nil {
			reset = n.kids
		}
	}
	below := untyped
	switch t.Kind() {
	case structural.Struct:
		f := t.Field(name)
		if f == nil {
			return misshapen("field not declared in schema")
		}
		e.text, below = f.Name, f.Type
	case structural.Map:
		below = t.Elem()
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

// close takes the nodes from base on off the stack.
func (w *walker) close(base int) []node {
	n := len(w.nodes) - base
	if n == 0 {
		return nil
	}
	if cap(w.arena)-len(w.arena) < n {
		w.arena = make([]node, 0, max(64, n, 2*cap(w.arena)))
	}
	at := len(w.arena)
	w.arena = append(w.arena, w.nodes[base:]...)
	w.nodes = w.nodes[:base]
	return w.arena[at : at+n : at+n]
}

// check refuses values that are neither of the kind nor null.
func (w *walker) check(kind tokenKind, l, r int32) *ShapeError {
	for _, side := range [...]struct {
		d *tape
		i int32
	}{{w.l, l}, {w.r, r}} {
		if side.i == absent {
			continue
		}
		if k := side.d.kind(side.i); k != kind && k != tokenNull {
			return misshapen("expected %s, got %.40s", map[tokenKind]string{tokenObject: "map", tokenArray: "list"}[kind], side.d.raw(side.i))
		}
	}
	return nil
}

func (w *walker) checkScalar(t *structural.Type, l, r int32) *ShapeError {
	if l != absent && !admits(t.Scalar(), w.l.kind(l)) {
		return misshapen("expected %s, got %.40s", scalarName(t.Scalar()), w.l.raw(l))
	}
	if r != absent && !admits(t.Scalar(), w.r.kind(r)) {
		return misshapen("expected %s, got %.40s", scalarName(t.Scalar()), w.r.raw(r))
	}
	return nil
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
