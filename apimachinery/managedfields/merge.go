package managedfields

import "github.com/bedplate/bedplate/apimachinery/structural"

// merger merges an applied configuration, on the right, into the live object. What is null or empty on both sides
// is a leaf; an object or list with keys that is so on one side alone takes the other.
type merger struct {
	pair
	out     []byte
	changed bool // what is in out is not the live object
}

// merge appends the merged value. l or r may be absent, not both.
func (m *merger) merge(t *structural.Type, l, r int32) *ShapeError {
	switch {
	case r == absent || l != absent && m.l.raw(l) == m.r.raw(r):
		m.keep(l)
		return nil
	case l == absent:
		m.take(r)
		return nil
	}
	switch t.Kind() {
	case structural.Scalar:
		m.leaf(l, r)
		return checkScalar(t, m.l, l)
	case structural.List:
		return m.list(t, l, r)
	case structural.Any:
		if kind := m.r.kind(r); t.Atomic() || kind != tokenObject && kind != tokenNull {
			m.leaf(l, r)
			return nil
		}
		if m.l.kind(l) != tokenObject && m.r.filled(r) {
			m.take(r)
			return nil
		}
		if m.l.kind(l) != tokenObject {
			m.leaf(l, r)
			return nil
		}
	}
	return m.object(t, l, r)
}

// keep appends a value of the live object.
func (m *merger) keep(l int32) { m.out = append(m.out, m.l.raw(l)...) }

// take appends a value that the live object doesn't have.
func (m *merger) take(r int32) {
	m.out = append(m.out, m.r.raw(r)...)
	m.changed = true
}

// leaf appends the applied value of two.
func (m *merger) leaf(l, r int32) {
	m.out = append(m.out, m.r.raw(r)...)
	m.changed = m.changed || !m.equal(l, r)
}

// container appends a value of which at least one side has nothing in it, or that is owned as a whole.
func (m *merger) container(whole bool, l, r int32) (done bool) {
	switch left, right := m.l.filled(l), m.r.filled(r); {
	case whole || !left && !right:
		m.leaf(l, r)
	case !right:
		m.keep(l)
	case !left:
		m.take(r)
	default:
		return false
	}
	return true
}

func (m *merger) object(t *structural.Type, l, r int32) *ShapeError {
	if err := m.check(tokenObject, l, r); err != nil || m.container(t.Atomic(), l, r) {
		return err
	}
	m.out = append(m.out, '{')
	first := len(m.out)
	err := m.members(l, r, func(name string, l, r int32) *ShapeError {
		if len(m.out) > first {
			m.out = append(m.out, ',')
		}
		m.out = append(appendQuoted(m.out, name), ':')
		return m.merge(memberType(t, name), l, r)
	})
	m.out = append(m.out, '}')
	return err
}

// list merges two lists whose items are told apart: applied items keep their order, and live ones theirs as far as
// that allows.
func (m *merger) list(t *structural.Type, l, r int32) *ShapeError {
	if err := m.check(tokenArray, l, r); err != nil || m.container(t.List() == structural.AtomicList, l, r) {
		return err
	}
	left, _, err := elements(t, m.l, l)
	if err != nil {
		return err
	}
	right, _, err := elements(t, m.r, r)
	if err != nil {
		return err
	}
	inLeft, inRight := positions(left), positions(right)
	m.out = append(m.out, '[')
	n, same := 0, true
	item := func(li int, l, r int32) *ShapeError {
		if n > 0 {
			m.out = append(m.out, ',')
		}
		same = same && li == n
		n++
		return m.merge(t.Elem(), l, r)
	}
	shared := 0 // the next applied item that is in the live list too
	for li, ri := 0, 0; li < len(left) || ri < len(right); {
		for shared < len(right) && (shared < ri || !has(inLeft, right[shared])) {
			shared++
		}
		if li < len(left) {
			at, both := inRight[left[li].text]
			switch {
			case !both:
				if err := item(li, left[li].at, absent); err != nil {
					return err.below(left[li].element)
				}
				li++
				continue
			case ri < len(right) && at != ri && shared < len(right) && at != shared:
				li++ // has been there, or comes in its turn
				continue
			case at <= ri:
				li++
			}
		}
		if ri < len(right) {
			at, lc := -1, absent
			if i, ok := inLeft[right[ri].text]; ok && i != twice {
				at, lc = i, left[i].at
			}
			if err := item(at, lc, right[ri].at); err != nil {
				return err.below(right[ri].element)
			}
			ri++
		}
	}
	m.out = append(m.out, ']')
	m.changed = m.changed || !same || n != len(left)
	return nil
}

const twice = -1 // the position of an item that occurs more than once

func positions(list []item) map[string]int {
	out := make(map[string]int, len(list))
	for i, e := range list {
		if _, ok := out[e.text]; ok {
			i = twice
		}
		out[e.text] = i
	}
	return out
}

func has(list map[string]int, i item) bool {
	_, ok := list[i.text]
	return ok
}
