package managedfields

import (
	"slices"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

func (w *walker) compareList(t *structural.Type, l, r int32) (marks, []node, *ShapeError) {
	if err := w.check(tokenArray, l, r); err != nil {
		return 0, nil, err
	}
	if t.List() == structural.AtomicList || !w.l.filled(l) && !w.r.filled(r) {
		return w.leaf(l, r), nil, nil
	}
	left, err := items(t, w.l, l)
	if err != nil {
		return 0, nil, err
	}
	right, err := items(t, w.r, r)
	if err != nil {
		return 0, nil, err
	}
	base := len(w.nodes)
	for len(left) > 0 || len(right) > 0 {
		var a, b []item
		switch c := compareItems(left, right); {
		case c < 0:
			a, left = sameItems(left)
		case c > 0:
			b, right = sameItems(right)
		default:
			a, left = sameItems(left)
			b, right = sameItems(right)
		}
		if err := w.compareItem(t, a, b); err != nil {
			return 0, nil, err
		}
	}
	return presence(l, r), w.close(base), nil
}

// item is an item of a list with keys or of a set.
type item struct {
	element
	at int32
}

// items returns the items of a list, sorted by element.
func items(t *structural.Type, d *tape, i int32) ([]item, *ShapeError) {
	out, sorted, err := elements(t, d, i)
	if !sorted {
		slices.SortStableFunc(out, func(a, b item) int { return compareElements(a.element, b.element) })
	}
	return out, err
}

// elements returns the items of a list in its order, and whether that is sorted.
func elements(t *structural.Type, d *tape, i int32) (out []item, sorted bool, err *ShapeError) {
	if !d.filled(i) {
		return nil, true, nil
	}
	out, sorted = make([]item, 0, d.tokens[i].count), true
	for c, end := i+1, d.tokens[i].next; c < end; c = d.tokens[c].next {
		e, err := itemElement(t, d, c)
		if err != nil {
			return nil, true, &ShapeError{Reason: err.Error()}
		}
		sorted = sorted && (len(out) == 0 || compareElements(out[len(out)-1].element, e) <= 0)
		out = append(out, item{e, c})
	}
	return out, sorted, nil
}

// compareItems compares the first elements; a list without any is behind all.
func compareItems(a, b []item) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return compareElements(a[0].element, b[0].element)
}

// sameItems splits off the items that have the same element as the first.
func sameItems(list []item) (same, rest []item) {
	n := 1
	for n < len(list) && compareElements(list[n].element, list[0].element) == 0 {
		n++
	}
	return list[:n], list[n:]
}

// compareItem compares the left and right items of one element. Several with the same element count as one
// value that is owned as a whole, as in Kubernetes.
func (w *walker) compareItem(t *structural.Type, a, b []item) *ShapeError {
	one := func(list []item) int32 {
		if len(list) == 0 {
			return absent
		}
		return list[0].at
	}
	var e element
	if len(a) > 0 {
		e = a[0].element
	} else {
		e = b[0].element
	}
	var m marks
	l, r := one(a), one(b)
	switch {
	case len(a) >= 2 && len(b) >= 2:
		if !w.equalItems(a, b) {
			w.nodes = append(w.nodes, node{element: e, marks: changed})
		}
		return nil
	case len(a) >= 2:
		m, l = removed, absent
	case len(b) >= 2:
		m, r = changed, absent
	}
	n := node{element: e}
	if l != absent || r != absent {
		var err *ShapeError
		if n.marks, n.kids, err = w.compare(t.Elem(), l, r, nil); err != nil {
			return err.below(e)
		}
	}
	n.marks |= m
	if n.marks != 0 || len(n.kids) > 0 {
		w.nodes = append(w.nodes, n)
	}
	return nil
}

func (w *walker) equalItems(a, b []item) bool {
	return slices.EqualFunc(a, b, func(x, y item) bool { return w.equal(x.at, y.at) })
}
