package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateOverhead judges what a pod costs beside its containers, at a path that must not be nil: a RuntimeClass has
// it for its pods.
func ValidateOverhead(overhead corev1.ResourceList, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList {
		v := &podValidator{spec: &corev1.PodSpec{}, path: at}
		v.requirements(&corev1.ResourceRequirements{Limits: overhead}, at, validateContainerResource)
		return v.errs
	})
}

// ValidateTolerations judges tolerations at a path that must not be nil.
func ValidateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList { return validateTolerations(tolerations, at) })
}
