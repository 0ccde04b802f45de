package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Namespaces declares v1 Namespace. It goes only when spec.finalizers is empty, which the namespace controller
// sees to through the finalize subresource once the content is gone.
func Namespaces() apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Resource: "namespaces"},
		New:  func() apimachinery.Object { return &corev1.Namespace{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"),
			Plural:           "namespaces", Short: []string{"ns"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Status", "string", func(n *corev1.Namespace) any { return string(n.Status.Phase) }),
				apimachinery.AgeColumn(),
			},
			Fields: []apimachinery.Field{{Name: "status.phase"}},
		}},
		ValidName: validation.ValidateNamespaceName,
		Default: func(o apimachinery.Object) {
			n := o.(*corev1.Namespace)
			set(&n.Status.Phase, corev1.NamespaceActive)
			if n.Name == "" {
				return
			}
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			n.Labels[corev1.LabelMetadataName] = n.Name
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(*corev1.Namespace)
			if old == nil {
				n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
				if !hasFinalizer(n, corev1.FinalizerKubernetes) {
					n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
				}
				return
			}
			n.Spec.Finalizers, n.Status = old.(*corev1.Namespace).Spec.Finalizers, old.(*corev1.Namespace).Status
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			n := new.(*corev1.Namespace)
			errs := ValidateFinalizers(n)
			for _, f := range n.Spec.Finalizers {
				errs = append(errs, validateNamespaceFinalizer(f, spec.Child("finalizers"))...)
			}
			return errs
		},
		BeginDelete: func(o apimachinery.Object) {
			o.(*corev1.Namespace).Status.Phase = corev1.NamespaceTerminating
		},
		Echo:      true,
		Finalized: func(o apimachinery.Object) bool { return len(o.(*corev1.Namespace).Spec.Finalizers) == 0 },
		Subs:      namespaceSubs(),
	}
}

// namespaceSubs may all write labels and annotations beside what is theirs.
func namespaceSubs() map[string]apimachinery.Subresource {
	return map[string]apimachinery.Subresource{
		"status": {
			Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{
				Owned: []string{"status"},
				Prepare: func(_ context.Context, new, old apimachinery.Object) {
					new.(*corev1.Namespace).Spec = old.(*corev1.Namespace).Spec
				},
				Validate: validateNamespaceStatus,
			},
		},
		"finalize": {
			Verbs: []string{apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{
				Prepare: func(_ context.Context, new, old apimachinery.Object) {
					new.(*corev1.Namespace).Status = old.(*corev1.Namespace).Status
				},
				Validate: validateNamespaceFinalizers,
			},
		},
	}
}

func hasFinalizer(n *corev1.Namespace, f corev1.FinalizerName) bool {
	for _, have := range n.Spec.Finalizers {
		if have == f {
			return true
		}
	}
	return false
}

func validateNamespaceStatus(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
	n := new.(*corev1.Namespace)
	errs, phase := ValidateFinalizers(n), field.NewPath("status", "Phase")
	switch {
	case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
		errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Active' while the namespace is not being deleted"))
	case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
		errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Terminating' while the namespace is being deleted"))
	}
	return errs
}

func validateNamespaceFinalizers(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
	n := new.(*corev1.Namespace)
	errs := ValidateFinalizers(n)
	for i, f := range n.Spec.Finalizers {
		errs = append(errs, validateNamespaceFinalizer(f, spec.Child("finalizers").Index(i))...)
	}
	return errs
}

func validateNamespaceFinalizer(f corev1.FinalizerName, path *field.Path) field.ErrorList {
	return append(validateQualifiedName(string(f), path), validateFinalizer(string(f), path)...)
}
