package storage

import (
	"context"
	"reflect"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// VolumeAttributesClasses declares storage.k8s.io/v1 VolumeAttributesClass. All but its metadata is immutable.
func VolumeAttributesClasses() apimachinery.Resource {
	type class = *storagev1.VolumeAttributesClass
	r := declared("VolumeAttributesClass", "volumeattributesclasses", func() apimachinery.Object { return &storagev1.VolumeAttributesClass{} }, "vac")
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("DriverName", "string", func(c class) any { return c.DriverName }),
		apimachinery.AgeColumn(),
	}
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(class)
		driver, params := field.NewPath("driverName"), field.NewPath("parameters")
		errs := core.ValidateFinalizers(n)
		if o, ok := old.(class); ok {
			if n.DriverName != o.DriverName {
				errs = append(errs, field.Forbidden(driver, "updates to driverName are forbidden."))
			}
			if !reflect.DeepEqual(n.Parameters, o.Parameters) {
				errs = append(errs, field.Forbidden(params, "updates to parameters are forbidden."))
			}
		}
		errs = append(errs, validateProvisioner(n.DriverName, driver)...)
		errs = append(errs, validateParameters(n.Parameters, params)...)
		if len(n.Parameters) == 0 {
			errs = append(errs, field.Required(params, "must contain at least one key/value pair"))
		}
		return errs
	}
	return r
}
