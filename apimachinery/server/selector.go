package server

import (
	"fmt"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// selected is what a list, watch or deletion of many is about.
type selected struct {
	filter storage.Filter
	keep   func(*storage.Entry) bool // what the filter can't say; nil: nothing
	narrow bool                      // a selector was given
}

// selection reads the selectors of a request.
func (c *call) selection(o *metav1.ListOptions) (*selected, error) {
	s := &selected{}
	if c.k.res.Namespaced && c.r.Namespace != "" {
		s.filter.Prefix = c.r.Namespace + "/"
	}
	if o.LabelSelector != "" {
		sel, err := labels.Parse(o.LabelSelector)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		s.addLabels(sel)
	}
	if o.FieldSelector != "" {
		sel, err := fields.ParseSelector(o.FieldSelector)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if err := s.addFields(c.v, sel); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *selected) addLabels(sel labels.Selector) {
	if sel.Empty() {
		return
	}
	s.narrow = true
	requirements, _ := sel.Requirements() // all can be selected: it was parsed
	rest := labels.NewSelector()
	for _, r := range requirements {
		if value, ok := equalTo(&r); ok {
			s.filter.LabelIs = append(s.filter.LabelIs, storage.Pair{Key: r.Key(), Value: value})
		} else {
			rest = rest.Add(r)
		}
	}
	if !rest.Empty() {
		s.filter.Labels = func(have []storage.Pair) bool { return rest.Matches(pairs(have)) }
	}
}

// equalTo returns the one value that a requirement allows, which the store can look up.
func equalTo(r *labels.Requirement) (value string, ok bool) {
	switch r.Operator() {
	case selection.Equals, selection.DoubleEquals, selection.In:
		return r.ValuesUnsorted()[0], len(r.ValuesUnsorted()) == 1
	}
	return "", false
}

func (s *selected) addFields(v *view, sel fields.Selector) error {
	for _, r := range sel.Requirements() {
		s.narrow = true
		w := want{r.Value, r.Operator != selection.NotEquals}
		switch at, ok := v.fields[r.Field]; {
		case r.Field == "metadata.name" || r.Field == "metadata.namespace":
			s.addKey(v, r.Field == "metadata.name", w)
		case ok:
			s.addIndex(v.kind.index[at].name, at, w)
		default:
			return unknownField(v, r.Field)
		}
	}
	return nil
}

// unknownField is what Kubernetes says of a field that cannot be selected by: of kinds that have none of their own, what
// they all have.
func unknownField(v *view, name string) error {
	if len(v.fields) > 0 {
		return apierrors.NewBadRequest("field label not supported: " + name)
	}
	return apierrors.NewBadRequest(fmt.Sprintf(`%q is not a known field selector: only "metadata.name", "metadata.namespace"`, name))
}

type want struct {
	value string
	equal bool
}

func (s *selected) addIndex(name string, at int, w want) {
	if w.equal {
		s.filter.IndexIs = append(s.filter.IndexIs, storage.Pair{Key: name, Value: w.value})
		return
	}
	before := s.filter.Index
	s.filter.Index = func(values []string) bool { return (before == nil || before(values)) && values[at] != w.value }
}

// addKey narrows by name or namespace. Equality becomes a key, or a prefix of the keys.
func (s *selected) addKey(v *view, name bool, w want) {
	before := s.keep
	s.keep = func(e *storage.Entry) bool {
		namespace, n := splitKey(v.kind, e.Key)
		have := namespace
		if name {
			have = n
		}
		return (before == nil || before(e)) && (have == w.value) == w.equal
	}
	if !w.equal {
		return
	}
	switch {
	case !name && v.kind.res.Namespaced && s.filter.Prefix == "":
		s.filter.Prefix = w.value + "/"
	case name && (s.filter.Prefix != "" || !v.kind.res.Namespaced):
		s.filter.Key = s.filter.Prefix + w.value
	}
}

func splitKey(k *kind, key string) (namespace, name string) {
	if !k.res.Namespaced {
		return "", key
	}
	for i := range len(key) {
		if key[i] == '/' {
			return key[:i], key[i+1:]
		}
	}
	return "", key
}

// entries yields what is selected of a snapshot, from a key on.
func (s *selected) entries(snap *storage.Snapshot, from string) iter.Seq[*storage.Entry] {
	all := snap.All(s.filter, from)
	if s.keep == nil {
		return all
	}
	return func(yield func(*storage.Entry) bool) {
		for e := range all {
			if s.keep(e) && !yield(e) {
				return
			}
		}
	}
}

// count is how many are selected of a snapshot, from a key on.
func (s *selected) count(snap *storage.Snapshot, from string) int64 {
	n := int64(0)
	for range s.entries(snap, from) {
		n++
	}
	return n
}

// event is the event as this selection sees it; false: not at all.
func (s *selected) event(ev storage.Event) (storage.Event, bool) {
	if s.keep == nil {
		return ev, true
	}
	e := ev.New
	if e == nil {
		e = ev.Old
	}
	return ev, e == nil || s.keep(e)
}

// pairs is a head's labels as a labels.Labels.
type pairs []storage.Pair

func (p pairs) Lookup(key string) (string, bool) {
	for i := range p {
		if p[i].Key == key {
			return p[i].Value, true
		}
	}
	return "", false
}

func (p pairs) Has(key string) bool {
	_, ok := p.Lookup(key)
	return ok
}

func (p pairs) Get(key string) string {
	v, _ := p.Lookup(key)
	return v
}

var _ labels.Labels = pairs(nil)

// listOptions are those of the request, whichever verb they came with.
func listOptions(r *apimachinery.Request) metav1.ListOptions {
	if o, ok := r.Options.(*metav1.ListOptions); ok && o != nil {
		return *o
	}
	return metav1.ListOptions{}
}
