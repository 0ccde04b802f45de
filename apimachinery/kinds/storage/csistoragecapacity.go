package storage

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/nodelabels"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// CSIStorageCapacities declares storage.k8s.io/v1 CSIStorageCapacity.
func CSIStorageCapacities() apimachinery.Resource {
	type capacity = *storagev1.CSIStorageCapacity
	r := declared("CSIStorageCapacity", "csistoragecapacities", func() apimachinery.Object { return &storagev1.CSIStorageCapacity{} })
	r.Namespaced = true
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("StorageClassName", "string", func(c capacity) any { return c.StorageClassName }),
		apimachinery.ColumnOf("Capacity", "string", func(c capacity) any {
			if c.Capacity == nil {
				return "<unset>"
			}
			return c.Capacity.String()
		}),
	}
	r.Conditional = true
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(capacity)
		o, _ := old.(capacity)
		errs := append(core.ValidateFinalizers(n), validateCapacity(n, o)...)
		if o == nil {
			return errs
		}
		if !equality.Semantic.DeepEqual(n.NodeTopology, o.NodeTopology) {
			errs = append(errs, field.Invalid(field.NewPath("nodeTopology"), n.NodeTopology, validation.FieldImmutableErrorMsg))
		}
		if n.StorageClassName != o.StorageClassName {
			errs = append(errs, field.Invalid(field.NewPath("storageClassName"), n.StorageClassName, validation.FieldImmutableErrorMsg))
		}
		return errs
	}
	r.Warnings = func(new, _ apimachinery.Object) []string {
		return selectorWarnings(new.(capacity).NodeTopology, field.NewPath("nodeTopology"))
	}
	return r
}

// validateCapacity judges the values of a selector unless they were wrong before.
func validateCapacity(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	var opts metavalidation.LabelSelectorValidationOptions
	at := field.NewPath("nodeTopology")
	if old != nil {
		opts.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(old.NodeTopology, opts, at)) > 0
	}
	errs := metavalidation.ValidateLabelSelector(c.NodeTopology, opts, at)
	errs = append(errs, invalid(field.NewPath("storageClassName"), c.StorageClassName, validation.NameIsDNSSubdomain(c.StorageClassName, false))...)
	if c.Capacity != nil && c.Capacity.Sign() < 0 {
		errs = append(errs, field.Invalid(field.NewPath("capacity"), c.Capacity.String(), validation.IsNegativeErrorMsg))
	}
	return errs
}

func selectorWarnings(s *metav1.LabelSelector, at *field.Path) []string {
	if s == nil {
		return nil
	}
	var out []string
	for i, r := range s.MatchExpressions {
		if advice, old := nodelabels.Deprecated(r.Key); old {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("matchExpressions").Index(i).Child("key"), r.Key, advice))
		}
	}
	for _, key := range sortedKeys(s.MatchLabels) {
		if advice, old := nodelabels.Deprecated(key); old {
			out = append(out, fmt.Sprintf("%s: %s", at.Child("matchLabels").Child(key), advice))
		}
	}
	return out
}
