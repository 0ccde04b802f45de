package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

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
	at := path.child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		v.add(field.Required(at.path(), "must have at least one node selector term"))
	}
	for i := range s.NodeSelectorTerms {
		v.nodeTerm(&s.NodeSelectorTerms[i], at.index(i), true)
	}
}
