package crd

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Convert brings objects of one kind, which it may change, to a version, in place or anew: one for each, in order. Their
// apiVersion says from where. Of their metadata, labels and annotations alone may change. It must be safe for
// concurrent use, and lose nothing: the way there and back gives the object that it was.
type Convert func(ctx context.Context, objects []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error)

// converter converts the objects of a definition.
type converter struct {
	by    Convert
	batch bool   // many at a time are cheaper
	what  string // for errors
}

func (c converter) batches() bool { return c.batch }

// onlyVersion is the strategy None: every version has the same fields.
func onlyVersion(_ context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	for _, u := range all {
		u.SetAPIVersion(to.String())
	}
	return all, nil
}

// to converts one object, which it may change.
func (r *defined) to(v *version, o apimachinery.Object) (apimachinery.Object, error) {
	if o.(*unstructured.Unstructured).GetAPIVersion() == v.gvk.GroupVersion().String() {
		return o, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	out, err := r.toAll(ctx, v, []apimachinery.Object{o})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// toAll converts objects, which it may change, as far as they don't have the version yet. What comes out is pruned by
// that version's schema.
func (r *defined) toAll(ctx context.Context, v *version, all []apimachinery.Object) ([]apimachinery.Object, error) {
	to := v.gvk.GroupVersion()
	out := make([]apimachinery.Object, len(all))
	var places []int
	var others []*unstructured.Unstructured
	for i, o := range all {
		u := o.(*unstructured.Unstructured)
		out[i] = u
		if u.GetAPIVersion() != to.String() {
			places, others = append(places, i), append(others, u)
		}
	}
	if len(others) == 0 {
		return out, nil
	}
	before := make([]*unstructured.Unstructured, len(others))
	for i, u := range others {
		before[i] = headOf(u)
	}
	converted, err := r.convert.by(ctx, others, to)
	if err != nil {
		return nil, fmt.Errorf("%s for %v failed: %w", r.convert.what, before[0].GroupVersionKind(), err)
	}
	if len(converted) != len(others) {
		return nil, fmt.Errorf("%s for %v returned %d objects, expected %d", r.convert.what, before[0].GroupVersionKind(), len(converted), len(others))
	}
	s, err := v.schema()
	if err != nil {
		return nil, err
	}
	for i, u := range converted {
		if err := settle(before[i], u, v.gvk); err != nil {
			return nil, fmt.Errorf("%s for %v returned invalid converted object at index %d: %w", r.convert.what, before[i].GroupVersionKind(), i, err)
		}
		s.Prune(u.Object)
		out[places[i]] = u
	}
	return out, nil
}

// headOf is an object's version, kind and metadata, copied.
func headOf(u *unstructured.Unstructured) *unstructured.Unstructured {
	head := &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind()}}
	if meta, ok := u.Object["metadata"]; ok {
		head.Object["metadata"] = meta
	}
	return head.DeepCopy()
}
