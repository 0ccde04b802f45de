package resource

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

var (
	sameClass     = same.Func[resourcev1.DeviceClassSpec]()
	sameSelectors = same.Func[[]resourcev1.DeviceSelector]()
	sameConfig    = same.Func[[]resourcev1.DeviceClassConfiguration]()
)

// DeviceClasses declares resource.k8s.io/v1 DeviceClass.
func DeviceClasses(c Config) apimachinery.Resource {
	type kind = *resourcev1.DeviceClass
	return apimachinery.Resource{
		Name:  groupResource("deviceclasses"),
		New:   func() apimachinery.Object { return &resourcev1.DeviceClass{} },
		Views: view("DeviceClass", "deviceclasses", nil),
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !sameClass(&new.(kind).Spec, &old.(kind).Spec) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(kind)
			return append(core.ValidateFinalizers(new), c.validateDeviceClass(&new.(kind).Spec, o)...)
		},
	}
}

// validateDeviceClass judges a class; old is nil on create. What stays as it was is held to the rules of then.
func (c Config) validateDeviceClass(s *resourcev1.DeviceClassSpec, old *resourcev1.DeviceClass) field.ErrorList {
	oldSelectors := old != nil && sameSelectors(&s.Selectors, &old.Spec.Selectors)
	oldConfig := old != nil && sameConfig(&s.Config, &old.Spec.Config)
	errs := c.selectors(oldSelectors).validate(s.Selectors, spec.Child("selectors"))
	errs = append(errs, each(s.Config, resourcev1.DeviceConfigMaxSize, spec.Child("config"),
		func(d *resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
			return validateOpaque(d.Opaque, oldConfig, at.Child("opaque"))
		})...)
	if r := s.ExtendedResourceName; r != nil && !extendedResource(*r) {
		errs = append(errs, field.Invalid(spec.Child("extendedResourceName"), *r, "must be a valid extended resource name"))
	}
	return errs
}
