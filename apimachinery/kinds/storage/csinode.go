package storage

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// CSINodes declares storage.k8s.io/v1 CSINode, which has the name of its node.
func CSINodes() apimachinery.Resource {
	type node = *storagev1.CSINode
	r := declared("CSINode", "csinodes", func() apimachinery.Object { return &storagev1.CSINode{} })
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Drivers", "integer", func(n node) any { return int64(len(n.Spec.Drivers)) }),
		apimachinery.AgeColumn(),
	}
	r.Conditional = true
	r.Prepare = func(_ context.Context, new, _ apimachinery.Object) {
		n := new.(node)
		// What else there is belongs to CSIVolumeHealth (KEP-1432), which Kubernetes has off.
		*n = storagev1.CSINode{TypeMeta: n.TypeMeta, ObjectMeta: n.ObjectMeta, Spec: n.Spec}
	}
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(node)
		errs := append(core.ValidateFinalizers(n), validateNodeDrivers(n.Spec.Drivers)...)
		if o, ok := old.(node); ok {
			errs = append(errs, validateNodeDriversKept(n.Spec.Drivers, o.Spec.Drivers)...)
		}
		return errs
	}
	return r
}

func validateNodeDrivers(drivers []storagev1.CSINodeDriver) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range drivers {
		d, at := &drivers[i], spec.Child("drivers").Index(i)
		errs = append(errs, validateDriver(d.Name, at.Child("name"))...)
		errs = append(errs, validateNodeDriver(d, at)...)
		if seen[d.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		seen[d.Name] = true
	}
	return errs
}

func validateNodeDriver(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
	const most = 256
	var errs field.ErrorList
	if d.NodeID == "" {
		errs = append(errs, field.Required(at.Child("nodeID"), ""))
	}
	if len(d.NodeID) > most {
		errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", most)))
	}
	if a := d.Allocatable; a != nil && a.Count != nil {
		errs = append(errs, validation.ValidateNonnegativeField(int64(*a.Count), at.Child("allocatable", "count"))...)
	}
	seen := map[string]bool{}
	for _, key := range d.TopologyKeys {
		if key == "" {
			errs = append(errs, field.Required(at, ""))
		}
		if seen[key] {
			errs = append(errs, field.Duplicate(at, key))
		}
		seen[key] = true
		errs = append(errs, invalid(at, key, utilvalidation.IsQualifiedName(key))...)
	}
	return errs
}

// validateNodeDriversKept lets nothing change of a driver that stays but how many volumes it can serve.
func validateNodeDriversKept(new, old []storagev1.CSINodeDriver) field.ErrorList {
	var errs field.ErrorList
	for _, o := range old {
		for _, n := range new {
			if n.Name == o.Name {
				n.Allocatable, o.Allocatable = nil, nil
				errs = append(errs, validation.ValidateImmutableField(n, o, spec.Child("drivers"))...)
			}
		}
	}
	return errs
}
