// Package storage declares the kinds of storage.k8s.io, one file each, with defaults, validation and columns as
// Kubernetes v1.37 has them: StorageClass and VolumeAttributesClass, of which users name one in a claim; CSIDriver,
// CSINode and CSIStorageCapacity, by which drivers say what they can; VolumeAttachment, by which a volume comes to a
// node.
package storage

import (
	"maps"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{
		StorageClasses(), VolumeAttributesClasses(), VolumeAttachments(), CSIDrivers(), CSINodes(), CSIStorageCapacities(),
	}
}

var spec = field.NewPath("spec")

// declared is what all kinds here have in common.
func declared(kind, plural string, new func() apimachinery.Object, short ...string) apimachinery.Resource {
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: storagev1.GroupName, Resource: plural},
		Prefix: plural,
		New:    new,
		Views:  []apimachinery.View{{GroupVersionKind: storagev1.SchemeGroupVersion.WithKind(kind), Plural: plural, Short: short}},
	}
}

func setDefault[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func orElse[T any](p *T, v T) T {
	if p == nil {
		return v
	}
	return *p
}

func invalid[T any](at *field.Path, value T, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

// validateDriver judges the name of a CSI driver.
func validateDriver(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > utilvalidation.DNS1123LabelMaxLength {
		errs = append(errs, field.TooLong(at, "", utilvalidation.DNS1123LabelMaxLength))
	}
	return append(errs, invalid(at, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

// validateProvisioner judges the name of whatever makes volumes of a class.
func validateProvisioner(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, strings.ToLower(name), utilvalidation.IsQualifiedName(strings.ToLower(name)))
}

// validateParameters judges what a class hands to its driver.
func validateParameters(params map[string]string, at *field.Path) field.ErrorList {
	const most, mostBytes = 512, 256 << 10
	if len(params) > most {
		return field.ErrorList{field.TooLong(at, "", most)}
	}
	var errs field.ErrorList
	if _, empty := params[""]; empty {
		errs = append(errs, field.Invalid(at, "", "a parameter must have a name"))
	}
	if size(params) > mostBytes {
		errs = append(errs, field.TooLong(at, "", mostBytes))
	}
	return errs
}

func size(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
