package managedfields

import "github.com/bedplate/bedplate/apimachinery/structural"

// pair is two objects that are gone through side by side: the older one is on the left.
type pair struct {
	l, r    *tape
	scratch []int32 // a stack of children
}

// members calls visit for each member of two objects, in the order of the names. What is absent, or no object, has
// none; the side that lacks the member is absent for visit. It ends at the first error.
func (p *pair) members(l, r int32, visit func(name string, l, r int32) *ShapeError) *ShapeError {
	mark := len(p.scratch)
	p.scratch = p.l.children(p.scratch, l)
	middle := len(p.scratch)
	p.scratch = p.r.children(p.scratch, r)
	li, ri, end := mark, middle, len(p.scratch)
	for li < middle || ri < end {
		lc, rc := absent, absent
		var name string
		if li < middle {
			lc, name = p.scratch[li], p.l.key(p.scratch[li])
		}
		if ri < end {
			rc = p.scratch[ri]
			if key := p.r.key(rc); lc == absent || key < name {
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
		if err := visit(name, lc, rc); err != nil {
			return err.below(element{text: name})
		}
	}
	p.scratch = p.scratch[:mark]
	return nil
}

// equal reports whether two values are the same, however they are spelled.
func (p *pair) equal(l, r int32) bool {
	a, b := p.l.raw(l), p.r.raw(r)
	if a == b {
		return true
	}
	kind := p.l.kind(l)
	if kind != p.r.kind(r) {
		return false
	}
	switch kind {
	case tokenNumber:
		return compareNumbers(a, b) == 0
	case tokenString:
		return !(plain(a[1:len(a)-1]) && plain(b[1:len(b)-1])) && unquote(a) == unquote(b)
	case tokenArray:
		return p.equalItems(l, r)
	case tokenObject:
		return nil == p.members(l, r, func(_ string, l, r int32) *ShapeError {
			if l == absent || r == absent || !p.equal(l, r) {
				return misshapen("not equal")
			}
			return nil
		})
	}
	return false
}

func (p *pair) equalItems(l, r int32) bool {
	if p.l.tokens[l].count != p.r.tokens[r].count {
		return false
	}
	rc := r + 1
	for lc, end := l+1, p.l.tokens[l].next; lc < end; lc = p.l.tokens[lc].next {
		if !p.equal(lc, rc) {
			return false
		}
		rc = p.r.tokens[rc].next
	}
	return true
}

// check refuses values that are neither of the kind nor null.
func (p *pair) check(kind tokenKind, l, r int32) *ShapeError {
	if l != absent {
		if err := check(kind, p.l, l); err != nil {
			return err
		}
	}
	if r != absent {
		return check(kind, p.r, r)
	}
	return nil
}

func check(kind tokenKind, d *tape, i int32) *ShapeError {
	if k := d.kind(i); k == kind || k == tokenNull {
		return nil
	}
	if kind == tokenArray {
		return misshapen("expected list, got %.40s", d.raw(i))
	}
	return misshapen("expected map, got %.40s", d.raw(i))
}

func checkScalar(t *structural.Type, d *tape, i int32) *ShapeError {
	if i == absent || admits(t.Scalar(), d.kind(i)) {
		return nil
	}
	return misshapen("expected %s, got %.40s", scalarName(t.Scalar()), d.raw(i))
}

// memberType returns the type of a member of a Struct, Map or Any; nil: a Struct has no such field.
func memberType(t *structural.Type, name string) *structural.Type {
	switch t.Kind() {
	case structural.Struct:
		if f := t.Field(name); f != nil {
			return f.Type
		}
		return nil
	case structural.Map:
		return t.Elem()
	}
	return untyped
}
