package managedfields

import (
	"errors"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// UpdateObject is [Update] for objects that are there as Go values: pointers to the Go type of t, which are not
// changed. It costs a quarter, as nothing has to be encoded. apiVersion, kind, resourceVersion and managedFields of
// both count for nothing. ok is false where a value that only its own method can encode stands in the way (a
// runtime.RawExtension that differs): then it is Update's turn.
func UpdateObject(t *structural.Type, live, obj any, managed []metav1.ManagedFieldsEntry, by Manager, reset Set) (out []metav1.ManagedFieldsEntry, ok bool, err error) {
	if live != nil && len(managed) == 0 {
		return nil, true, nil
	}
	if t == nil {
		return nil, false, nil
	}
	p, r := planOf(t), reflect.ValueOf(obj)
	if p == nil || p.how != asObject || r.Type() != reflect.PointerTo(p.rt) {
		return nil, false, nil
	}
	l := reflect.New(p.rt)
	if live != nil {
		if l = reflect.ValueOf(live); l.Type() != r.Type() {
			return nil, false, nil
		}
	}
	ws := borrow(t)
	defer ws.giveBack()
	w := valueWalker{&ws.walker}
	w.nodes, w.arena = w.nodes[:0], w.arena[:0]
	diff, err := w.root(p, value{l.UnsafePointer(), there}, value{r.UnsafePointer(), there}, reset.nodes)
	if errors.Is(err, errOpaque) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	out, err = ws.merge(t, live == nil, diff, managed, by)
	return out, true, err
}

// errOpaque says that a value can't be looked into.
var errOpaque = errors.New("a value encodes itself")

// valueWalker compares two Go values, of which the live one is on the left, as a walker does their JSON.
type valueWalker struct{ *walker }

// root compares two objects of a kind.
func (w valueWalker) root(p *valuePlan, l, r value, reset []node) ([]node, error) {
	base, fields := len(w.nodes), p.fields()
	for i := range fields {
		f := &fields[i]
		var err error
		switch f.name {
		case "apiVersion", "kind":
			continue
		case "metadata":
			err = w.metadata(f, f.of(l), f.of(r), reset)
		default:
			err = w.field(f, l, r, reset)
		}
		if err != nil {
			return nil, err
		}
	}
	return w.close(base), nil
}

// metadata compares the metadata of two objects.
func (w valueWalker) metadata(f *valueField, l, r value, reset []node) error {
	e := element{text: f.name}
	all, reset := within(reset, e)
	if all {
		return nil
	}
	base, fields := len(w.nodes), f.plan.fields()
	for i := range fields {
		switch fields[i].name {
		case "managedFields", "resourceVersion", "selfLink":
			continue
		}
		if err := w.field(&fields[i], l, r, reset); err != nil {
			return err
		}
	}
	if kids := w.close(base); len(kids) > 0 {
		w.nodes = append(w.nodes, node{element: e, kids: kids})
	}
	return nil
}

func (w valueWalker) field(f *valueField, l, r value, reset []node) error {
	a, b := f.of(l), f.of(r)
	if a.is == gone && b.is == gone {
		return nil
	}
	e := element{text: f.name}
	all, reset := within(reset, e)
	if all {
		return nil
	}
	return w.child(f.plan, e, a, b, reset)
}

func (w valueWalker) child(p *valuePlan, e element, l, r value, reset []node) error {
	m, kids, err := w.compare(p, l, r, reset)
	if err != nil {
		return err
	}
	if m != 0 || len(kids) > 0 {
		w.nodes = append(w.nodes, node{e, m, kids})
	}
	return nil
}

// compare returns what is the case at a path and what changed below it. One of l and r may be gone.
func (w valueWalker) compare(p *valuePlan, l, r value, reset []node) (marks, []node, error) {
	switch {
	case p.how == opaque:
		if same, _ := p.equal(l, r); same {
			return 0, nil, nil
		}
		return 0, nil, errOpaque
	case p.how < asObject, p.t.Atomic(), p.how == asList && p.t.List() == structural.AtomicList, !p.filled(l) && !p.filled(r):
		m, err := p.leaf(l, r)
		return m, nil, err
	}
	if p.how != asObject {
		if same, _ := p.equal(l, r); same {
			return 0, nil, nil
		}
	}
	base := len(w.nodes)
	var err error
	switch p.how {
	case asObject:
		fields := p.fields()
		for i := 0; i < len(fields) && err == nil; i++ {
			err = w.field(&fields[i], l, r, reset)
		}
	case asMap:
		err = w.entries(p, l, r, reset)
	case asList:
		err = w.items(p, l, r)
	}
	if err != nil {
		return 0, nil, err
	}
	return present(l, r), w.close(base), nil
}

// present is the case at a container that was descended into.
func present(l, r value) marks {
	switch {
	case l.is == gone:
		return changed
	case r.is == gone:
		return removed
	}
	return 0
}

// leaf compares two values as wholes.
func (p *valuePlan) leaf(l, r value) (marks, error) {
	if l.is == gone || r.is == gone {
		return present(l, r), nil
	}
	same, known := p.equal(l, r)
	switch {
	case same:
		return 0, nil
	case !known:
		return 0, errOpaque
	}
	return changed, nil
}

// entries compares two maps.
func (w valueWalker) entries(p *valuePlan, l, r value, reset []node) error {
	for _, one := range p.merged(l, r) {
		e := element{text: one.key}
		all, below := within(reset, e)
		if all {
			continue
		}
		if err := w.child(p.elem, e, one.l, one.r, below); err != nil {
			return err
		}
	}
	return nil
}
