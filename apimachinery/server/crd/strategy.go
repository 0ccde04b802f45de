package crd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/bedplate/bedplate/apimachinery"
)

// prepare keeps the status from writers of the whole where it has a subresource, and counts the generation: of all
// that is not metadata.
func (r *defined) prepare(_ context.Context, new, old apimachinery.Object) {
	n := new.(*unstructured.Unstructured)
	v, err := r.of(n)
	if err != nil {
		return // validation tells
	}
	o, update := old.(*unstructured.Unstructured)
	if v.status {
		if status, ok := contentOf(o)["status"]; ok {
			n.Object["status"] = runtime.DeepCopyJSONValue(status)
		} else {
			delete(n.Object, "status")
		}
	}
	if !update {
		n.SetGeneration(1)
		return
	}
	if !equality.Semantic.DeepEqual(withoutMeta(n.Object), withoutMeta(o.Object)) {
		n.SetGeneration(o.GetGeneration() + 1)
	}
}

func contentOf(u *unstructured.Unstructured) map[string]any {
	if u == nil {
		return nil
	}
	return u.Object
}

func withoutMeta(o map[string]any) map[string]any {
	out := maps.Clone(o)
	delete(out, "metadata")
	return out
}

// prepareStatus takes the status of new alone, and its managed fields.
func prepareStatus(_ context.Context, new, old apimachinery.Object) {
	n, o := new.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
	status, ok := n.Object["status"]
	managed := n.GetManagedFields()
	n.Object = o.DeepCopy().Object
	n.SetManagedFields(managed)
	delete(n.Object, "status")
	if ok {
		n.Object["status"] = status
	}
}

// warnings are of finalizers that others may name alike.
func warnings(new, old apimachinery.Object) (out []string) {
	var before []string
	if old != nil {
		before = old.GetFinalizers()
	}
	for _, f := range slices.Sorted(slices.Values(new.GetFinalizers())) {
		if slices.Contains(before, f) {
			continue
		}
		for _, msg := range validation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, msg))
		}
		if strings.Contains(f, "/") || slices.Contains([]string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}, f) {
			continue
		}
		with := ""
		if strings.Contains(f, ".") {
			with = " including a path (/)"
		}
		out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name%s to avoid accidental conflicts with other finalizer writers", f, with))
	}
	return out
}
