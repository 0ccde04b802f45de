package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ephemeralContainers is pods/ephemeralcontainers, by which containers are added to a pod that runs (KEP-277).
func ephemeralContainers() apimachinery.Subresource {
	return apimachinery.Subresource{Verbs: readWrite, Strategy: &apimachinery.Strategy{
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n, o := new.(*corev1.Pod), old.(*corev1.Pod)
			added := n.Spec.EphemeralContainers
			keepMeta(n, o)
			n.Status, n.Spec = o.Status, o.Spec
			n.Spec.EphemeralContainers = added
			dropGated(&n.Spec, &o.Spec)
			countSpec(n, o)
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			return validateEphemeralUpdate(new.(*corev1.Pod), old.(*corev1.Pod))
		},
	}}
}

// keepMeta takes out of new what no writer of a part of a pod may change of its metadata.
func keepMeta(new, old *corev1.Pod) {
	new.DeletionTimestamp, new.DeletionGracePeriodSeconds = old.DeletionTimestamp, old.DeletionGracePeriodSeconds
	new.SelfLink, new.Labels, new.Annotations = old.SelfLink, old.Labels, old.Annotations
	new.Finalizers, new.OwnerReferences = old.Finalizers, old.OwnerReferences
}

// countSpec counts the generation if the spec is another.
func countSpec(new, old *corev1.Pod) {
	if new.Generation = old.Generation; !samePodSpec(&new.Spec, &old.Spec) {
		new.Generation++
	}
}

func static(p *corev1.Pod) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

func validateEphemeralUpdate(new, old *corev1.Pod) field.ErrorList {
	if static(old) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	errs := append(ValidatePod(new), validateAnnotationUpdate(new, old)...)
	path := spec.Child("ephemeralContainers")
	now := map[string]*corev1.EphemeralContainer{}
	for i := range new.Spec.EphemeralContainers {
		now[new.Spec.EphemeralContainers[i].Name] = &new.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		o := &old.Spec.EphemeralContainers[i]
		if n := now[o.Name]; n == nil {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed", o.Name)))
		} else if !equality.Semantic.DeepEqual(o, n) {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed", o.Name)))
		}
	}
	return errs
}
