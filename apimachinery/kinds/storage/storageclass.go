package storage

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/nodelabels"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// The annotations that make a class the default of claims that name none; the second is the older one.
const (
	DefaultAnnotation      = "storageclass.kubernetes.io/is-default-class"
	OlderDefaultAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
)

// StorageClasses declares storage.k8s.io/v1 StorageClass.
func StorageClasses() apimachinery.Resource {
	type class = *storagev1.StorageClass
	r := declared("StorageClass", "storageclasses", func() apimachinery.Object { return &storagev1.StorageClass{} }, "sc")
	name := apimachinery.NameColumn()
	name.Cell = func(o apimachinery.Object) any {
		if a := o.GetAnnotations(); a[DefaultAnnotation] == "true" || a[OlderDefaultAnnotation] == "true" {
			return o.GetName() + " (default)"
		}
		return o.GetName()
	}
	r.Views[0].Columns = []apimachinery.Column{
		name,
		apimachinery.ColumnOf("Provisioner", "string", func(c class) any { return c.Provisioner }),
		apimachinery.ColumnOf("ReclaimPolicy", "string", func(c class) any {
			return string(orElse(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete))
		}),
		apimachinery.ColumnOf("VolumeBindingMode", "string", func(c class) any {
			return string(orElse(c.VolumeBindingMode, storagev1.VolumeBindingImmediate))
		}),
		apimachinery.ColumnOf("AllowVolumeExpansion", "string", func(c class) any { return orElse(c.AllowVolumeExpansion, false) }),
		apimachinery.AgeColumn(),
	}
	r.Default = func(o apimachinery.Object) {
		c := o.(class)
		setDefault(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		setDefault(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	}
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(class)
		errs := append(core.ValidateFinalizers(n), validateStorageClass(n)...)
		if o, ok := old.(class); ok {
			errs = append(errs, validation.ValidateImmutableField(n.Parameters, o.Parameters, field.NewPath("parameters"))...)
			errs = append(errs, validation.ValidateImmutableField(n.Provisioner, o.Provisioner, field.NewPath("provisioner"))...)
			errs = append(errs, validation.ValidateImmutableField(n.ReclaimPolicy, o.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
			errs = append(errs, validation.ValidateImmutableField(n.VolumeBindingMode, o.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
		}
		return errs
	}
	r.Warnings = func(new, _ apimachinery.Object) []string { return topologyWarnings(new.(class).AllowedTopologies) }
	return r
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	errs := append(validateProvisioner(c.Provisioner, field.NewPath("provisioner")), validateParameters(c.Parameters, field.NewPath("parameters"))...)
	policies := []corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain}
	if p := c.ReclaimPolicy; p != nil && *p != "" && !slices.Contains(policies, *p) {
		errs = append(errs, field.NotSupported(field.NewPath("reclaimPolicy"), *p, policies))
	}
	modes := []storagev1.VolumeBindingMode{storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer}
	if m := c.VolumeBindingMode; m == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else if !slices.Contains(modes, *m) {
		errs = append(errs, field.NotSupported(field.NewPath("volumeBindingMode"), *m, modes))
	}
	return append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

// validateTopologies judges where volumes of a class may be: terms must differ, and so must their keys and values.
func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	// Kubernetes compares each term with as many empty ones as there are terms, too: an empty term is always a double.
	before := make([]map[string]map[string]bool, len(terms))
	for i, term := range terms {
		at := path.Index(i).Child("matchLabelExpressions")
		have := map[string]map[string]bool{}
		for j, r := range term.MatchLabelExpressions {
			errs = append(errs, validateTopology(r, at.Index(j))...)
			if _, twice := have[r.Key]; twice {
				errs = append(errs, field.Duplicate(at.Index(j).Child("key"), r.Key))
			}
			have[r.Key] = map[string]bool{}
			for _, v := range r.Values {
				have[r.Key][v] = true
			}
		}
		for _, b := range before {
			if equality.Semantic.DeepEqual(b, have) {
				errs = append(errs, field.Duplicate(at, ""))
			}
		}
		before = append(before, have)
	}
	return errs
}

func validateTopology(r corev1.TopologySelectorLabelRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Values) == 0 {
		errs = append(errs, field.Required(at.Child("values"), ""))
	}
	for i, v := range r.Values {
		if slices.Contains(r.Values[:i], v) {
			errs = append(errs, field.Duplicate(at.Child("values").Index(i), v))
		}
	}
	return append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
}

func topologyWarnings(terms []corev1.TopologySelectorTerm) []string {
	var out []string
	for i, t := range terms {
		for j, r := range t.MatchLabelExpressions {
			if advice, old := nodelabels.Deprecated(r.Key); old {
				out = append(out, fmt.Sprintf("%s: %s", field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), advice))
			}
		}
	}
	return out
}
