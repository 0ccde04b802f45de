package resource

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ResourceClaimTemplates declares resource.k8s.io/v1 ResourceClaimTemplate. Its spec never changes.
func ResourceClaimTemplates(c Config) apimachinery.Resource {
	type kind = *resourcev1.ResourceClaimTemplate
	return apimachinery.Resource{
		Name:       groupResource("resourceclaimtemplates"),
		Namespaced: true,
		New:        func() apimachinery.Object { return &resourcev1.ResourceClaimTemplate{} },
		Views:      view("ResourceClaimTemplate", "resourceclaimtemplates", nil),
		Default:    func(o apimachinery.Object) { defaultClaim(&o.(kind).Spec.Spec) },
		Prepare:    func(_ context.Context, new, _ apimachinery.Object) { prepareClaim(&new.(kind).Spec.Spec) },
		Validate: func(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(kind)
			errs := core.ValidateFinalizers(n)
			if old == nil {
				errs = append(errs, c.validateAdmin(ctx, n.Namespace, n.Spec.Spec.Devices.Requests)...)
			} else {
				errs = append(errs, validation.ValidateImmutableField(n.Spec, old.(kind).Spec, spec)...)
			}
			errs = append(errs, core.ValidateTemplateMeta(n.Spec.ObjectMeta, spec.Child("metadata"))...)
			return append(errs, validateClaim(&n.Spec.Spec, c.selectors(false), spec.Child("spec"))...)
		},
	}
}
