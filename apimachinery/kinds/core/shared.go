package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What kinds of other groups have in common with those of this one.

// ValidateNodeSelector judges a selector of nodes that must be fulfilled; path, which must not be nil, is where it
// stands.
func ValidateNodeSelector(s *corev1.NodeSelector, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList {
		v := podValidator{}
		v.requiredNodes(s, at)
		return v.errs
	})
}

func (v *podValidator) requiredNodes(s *corev1.NodeSelector, path *place) {
	v.nodeTerms(s.NodeSelectorTerms, path.child("nodeSelectorTerms"), true)
}

// ValidateTemplateMeta judges the metadata of a template of claims, which may have labels and annotations alone; path
// is where it stands.
func ValidateTemplateMeta(m metav1.ObjectMeta, path *field.Path) field.ErrorList {
	errs := validation.ValidateAnnotations(m.Annotations, path.Child("annotations"))
	errs = append(errs, metav1validation.ValidateLabels(m.Labels, path.Child("labels"))...)
	return append(errs, validateTemplateMeta(m, path)...)
}

// Gated is a field of a feature that is off in v1.37, found by its name: such fields come and go with the API's
// releases.
type Gated[T any] struct{ field gated[T] }

// GatedField finds a field of T; one that T does not have is never there.
func GatedField[T any](name string) Gated[T] { return Gated[T]{gatedField[T](name)} }

// Blank empties the field, if there is one.
func (g Gated[T]) Blank(in *T) { g.field.blank(in) }
