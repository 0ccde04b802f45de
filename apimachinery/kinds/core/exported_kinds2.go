package core

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// What kinds of other groups, which make pods, share with this one.

// DefaultTo sets *p to value if it is nil.
func DefaultTo[T any](p **T, value T) { defaultTo(p, value) }

// BlankGated empties the field of a feature that Kubernetes has off by default, by its Go name. It does nothing where
// the API's release has no such field.
func BlankGated[T any](in *T, name string) { blank(in, name) }

// ContainerColumns are the wide columns of what has a pod spec: the names and the images of its containers.
func ContainerColumns[T apimachinery.Object](of func(T) *corev1.PodSpec) []apimachinery.Column {
	column := func(name string, text func(*corev1.Container) string) apimachinery.Column {
		return apimachinery.Wide(apimachinery.ColumnOf(name, "string", func(o T) any {
			var all []string
			for _, c := range of(o).Containers {
				all = append(all, text(&c))
			}
			return strings.Join(all, ",")
		}))
	}
	return []apimachinery.Column{
		column("Containers", func(c *corev1.Container) string { return c.Name }),
		column("Images", func(c *corev1.Container) string { return c.Image }),
	}
}

// ValidateShare judges a number of pods that is an int or a percentage; nil is missing.
func ValidateShare(n *intstr.IntOrString, path *field.Path) field.ErrorList {
	if n == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	if n.Type == intstr.Int {
		return validation.ValidateNonnegativeField(int64(n.IntVal), path)
	}
	return invalid(path, n, utilvalidation.IsValidPercent(n.StrVal)...)
}

// ValidateAtMostAll refuses more than 100 %. n must not be nil.
func ValidateAtMostAll(n *intstr.IntOrString, path *field.Path) field.ErrorList {
	if isPercentage(n) && ShareOf(n) > 100 {
		return invalid(path, n, "must not be greater than 100%")
	}
	return nil
}

// ShareOf is the number of an int or a percentage; nil is 0.
func ShareOf(n *intstr.IntOrString) int {
	if n == nil {
		return 0
	}
	if isPercentage(n) {
		value, _ := strconv.Atoi(strings.TrimSuffix(n.StrVal, "%")) // too large a number is the largest
		return value
	}
	return n.IntValue()
}

func isPercentage(n *intstr.IntOrString) bool {
	return n.Type == intstr.String && len(utilvalidation.IsValidPercent(n.StrVal)) == 0
}

// ValidatePodTemplateMeta judges what ValidatePodTemplate judges of a template's labels and annotations, and nothing
// else. path must not be nil.
func ValidatePodTemplateMeta(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList {
		errs := validateLabels(t.Labels, at.child("labels"))
		errs = append(errs, validation.ValidateAnnotations(t.Annotations, at.child("annotations").path())...)
		return append(errs, validatePodAnnotations(t.Annotations, &t.Spec, at.child("annotations"))...)
	})
}

// ValidateContainerResourceName judges the name of a resource that containers ask for. path must not be nil.
func ValidateContainerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList { return validateContainerResource(name, at) })
}

// DefaultTemplateOfClaim fills in a claim that a StatefulSet makes others from.
func DefaultTemplateOfClaim(c *corev1.PersistentVolumeClaim) {
	c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
	set(&c.Status.Phase, corev1.ClaimPending)
	defaultTo(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	for _, list := range []corev1.ResourceList{c.Spec.Resources.Limits, c.Spec.Resources.Requests, c.Status.Capacity, c.Status.AllocatedResources} {
		roundResources(list)
	}
}

// ValidateTemplateOfClaim judges the spec of such a claim, which stands at path.
func ValidateTemplateOfClaim(c *corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	return validateClaimSpec(&c.Spec, path.Child("spec"))
}
