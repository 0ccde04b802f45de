package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

// merge puts an apply configuration into an object, as server-side apply does, but that nobody comes to own anything.
func (m *mutator) merge(as hook.Target, r *hook.Request, live []byte, configuration map[string]any) ([]byte, error) {
	shape, err := m.shape(as, r)
	if err != nil {
		return nil, err
	}
	if found := atomics(nil, "", shape, configuration); len(found) > 0 {
		return nil, fmt.Errorf("error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %s", strings.Join(found, ", "))
	}
	patch := maps.Clone(configuration)
	patch["apiVersion"], patch["kind"] = as.Kind.GroupVersion().String(), as.Kind.Kind
	text, err := apimachinery.Encode(patch)
	if err != nil {
		return nil, err
	}
	var bare map[string]any
	if err := apimachinery.DecodeLoose(live, &bare); err != nil {
		return nil, err
	}
	if meta, ok := bare["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
	}
	if live, err = apimachinery.Encode(bare); err != nil {
		return nil, err
	}
	by := managedfields.Manager{Name: MutatingName, APIVersion: as.Kind.GroupVersion().String(), Apply: true, Time: metav1.Now().Time}
	merged, _, err := managedfields.Apply(shape, live, text, nil, by, true, managedfields.Set{})
	if err != nil {
		return nil, fmt.Errorf("error applying patch: %w", err)
	}
	return merged, nil
}

// shape is that of the kind at a target.
func (m *mutator) shape(as hook.Target, r *hook.Request) (*structural.Type, error) {
	f, ok := m.c.Registry.ForResource(as.Resource)
	if !ok {
		return nil, fmt.Errorf("%v is not served any more", as.Resource)
	}
	if f.View.Schema != nil {
		s, err := f.View.Schema()
		if err != nil {
			return nil, err
		}
		return s.Shape()
	}
	o, err := r.New(as)
	if err != nil {
		return nil, err
	}
	return m.types.Of(o)
}

// atomics finds what of a value would replace more than it says.
func atomics(found []string, path string, t *structural.Type, v any) []string {
	if t == nil {
		return found
	}
	switch v := v.(type) {
	case map[string]any:
		if t.Atomic() {
			return append(found, path)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below := t.Elem()
			if t.Kind() == structural.Struct {
				below = nil
				if f := t.Field(name); f != nil {
					below = f.Type
				}
			}
			found = atomics(found, path+"."+name, below, v[name])
		}
	case []any:
		if t.Kind() == structural.List && t.List() == structural.AtomicList {
			return append(found, path)
		}
		for i, item := range v {
			found = atomics(found, fmt.Sprintf("%s[%d]", path, i), t.Elem(), item)
		}
	}
	return found
}
