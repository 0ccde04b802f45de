package managedfields

import (
	"slices"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// valueItem is an item of a list with keys or of a set.
type valueItem struct {
	element
	value
}

// items compares two lists whose items are told apart.
func (w valueWalker) items(p *valuePlan, l, r value) error {
	left, err := p.itemsOf(l)
	if err != nil {
		return err
	}
	right, err := p.itemsOf(r)
	if err != nil {
		return err
	}
	for len(left) > 0 || len(right) > 0 {
		c := 0
		switch {
		case len(left) == 0:
			c = 1
		case len(right) == 0:
			c = -1
		default:
			c = compareElements(left[0].element, right[0].element)
		}
		var a, b []valueItem
		if c <= 0 {
			a, left = alike(left)
		}
		if c >= 0 {
			b, right = alike(right)
		}
		if err := w.same(p, a, b); err != nil {
			return err
		}
	}
	return nil
}

// itemsOf returns the items of a list, sorted by element.
func (p *valuePlan) itemsOf(v value) ([]valueItem, error) {
	if v.is != there {
		return nil, nil
	}
	first, n := p.list(v)
	out, sorted := make([]valueItem, 0, n), true
	for i := range n {
		one := p.item(first, i)
		e, ok := p.elementOf(one)
		if !ok {
			return nil, errOpaque
		}
		sorted = sorted && (len(out) == 0 || compareElements(out[len(out)-1].element, e) <= 0)
		out = append(out, valueItem{e, one})
	}
	if !sorted {
		slices.SortStableFunc(out, func(a, b valueItem) int { return compareElements(a.element, b.element) })
	}
	return out, nil
}

// elementOf returns how an item is told apart. What has none is for the walk over JSON to complain about.
func (p *valuePlan) elementOf(v value) (element, bool) {
	var buf [96]byte
	if p.t.List() == structural.SetList {
		text, ok := p.elem.appendScalar(buf[:0], v)
		return element{kind: byValue, text: string(text)}, ok
	}
	text := append(buf[:0], '{')
	for i, k := range p.t.Keys() {
		f := p.keyFields()[i]
		if f == nil {
			return element{}, false
		}
		held := f.of(v)
		if held.is == gone && k.Default == "" {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(appendQuoted(text, k.Name), ':')
		if held.is == gone {
			text = append(text, k.Default...)
			continue
		}
		var ok bool
		if text, ok = f.plan.appendScalar(text, held); !ok {
			return element{}, false
		}
	}
	return element{kind: byKey, text: string(append(text, '}'))}, len(text) > 1
}

// alike splits off the items that have the same element as the first.
func alike(list []valueItem) (same, rest []valueItem) {
	n := 1
	for n < len(list) && compareElements(list[n].element, list[0].element) == 0 {
		n++
	}
	return list[:n], list[n:]
}

// same compares the left and right items of one element. Several with the same element count as one value that is
// owned as a whole, as in Kubernetes.
func (w valueWalker) same(p *valuePlan, a, b []valueItem) error {
	var n node
	var l, r value
	if len(a) > 0 {
		n.element, l = a[0].element, a[0].value
	}
	if len(b) > 0 {
		n.element, r = b[0].element, b[0].value
	}
	switch {
	case len(a) >= 2 && len(b) >= 2:
		same, known := p.equalItems(a, b)
		if !known {
			return errOpaque
		}
		if !same {
			n.marks = changed
			w.nodes = append(w.nodes, n)
		}
		return nil
	case len(a) >= 2:
		n.marks, l = removed, value{}
	case len(b) >= 2:
		n.marks, r = changed, value{}
	}
	if same, _ := p.elem.equal(l, r); !same && (l.is != gone || r.is != gone) {
		m, kids, err := w.compare(p.elem, l, r, nil)
		if err != nil {
			return err
		}
		n.marks, n.kids = n.marks|m, kids
	}
	if n.marks != 0 || len(n.kids) > 0 {
		w.nodes = append(w.nodes, n)
	}
	return nil
}

func (p *valuePlan) equalItems(a, b []valueItem) (same, known bool) {
	if len(a) != len(b) {
		return false, true
	}
	for i := range a {
		if same, known := p.elem.equal(a[i].value, b[i].value); !same {
			return false, known
		}
	}
	return true, true
}
