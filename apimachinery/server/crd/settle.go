package crd

import (
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// settle checks that a conversion changed what it may, and puts back the metadata that it may not: all but labels and
// annotations. before has the object's head.
func settle(before, after *unstructured.Unstructured, want schema.GroupVersionKind) error {
	if after == nil {
		return errors.New("it is missing")
	}
	if got := after.GroupVersionKind().GroupVersion(); got != want.GroupVersion() {
		return fmt.Errorf("invalid groupVersion (expected %v, received %v)", want.GroupVersion(), got)
	}
	if got := after.GetKind(); got != want.Kind {
		return fmt.Errorf("invalid kind (expected %v, received %v)", want.Kind, got)
	}
	returned, ok := after.Object["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata of type %T in converted object", after.Object["metadata"])
	}
	for _, same := range []struct{ what, was, is string }{
		{"name", before.GetName(), after.GetName()},
		{"namespace", before.GetNamespace(), after.GetNamespace()},
		{"UID", string(before.GetUID()), string(after.GetUID())},
	} {
		if same.was != same.is {
			return fmt.Errorf("must have the same %s: %v != %v", same.what, same.was, same.is)
		}
	}
	kept, _ := before.Object["metadata"].(map[string]any)
	meta := maps.Clone(kept)
	if meta == nil {
		meta = map[string]any{}
	}
	for _, name := range []string{"labels", "annotations"} {
		if err := takeOver(meta, returned, name); err != nil {
			return err
		}
	}
	after.Object["metadata"] = meta
	return nil
}

// takeOver takes labels or annotations as a conversion returned them, if they are sound or were there before.
func takeOver(meta, returned map[string]any, name string) error {
	got := returned[name]
	if got == nil {
		delete(meta, name)
		return nil
	}
	pairs, ok := got.(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, got)
	}
	was, _ := meta[name].(map[string]any)
	text, changed := make(map[string]string, len(pairs)), len(was) != len(pairs)
	for k, v := range pairs {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, k, v)
		}
		text[k] = s
		changed = changed || was[k] != v
	}
	if changed {
		judge := metavalidation.ValidateLabels
		if name == "annotations" {
			judge = validation.ValidateAnnotations
		}
		if errs := judge(text, field.NewPath("metadata", name)); len(errs) > 0 {
			return errs.ToAggregate()
		}
	}
	meta[name] = pairs
	return nil
}
