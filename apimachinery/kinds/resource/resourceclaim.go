package resource

import (
	"context"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ResourceClaims declares resource.k8s.io/v1 ResourceClaim. Its spec never changes; neither does its allocation, as
// long as there is one.
func ResourceClaims(c Config) apimachinery.Resource {
	type kind = *resourcev1.ResourceClaim
	return apimachinery.Resource{
		Name:       groupResource("resourceclaims"),
		Namespaced: true,
		New:        func() apimachinery.Object { return &resourcev1.ResourceClaim{} },
		Views: view("ResourceClaim", "resourceclaims", nil,
			apimachinery.ColumnOf("State", "string", func(r kind) any { return claimState(r) })),
		Default: func(o apimachinery.Object) {
			defaultClaim(&o.(kind).Spec)
			if a := o.(kind).Status.Allocation; a != nil {
				for i := range a.Devices.Results {
					defaultTolerations(a.Devices.Results[i].Tolerations)
				}
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(kind)
			n.Status = resourcev1.ResourceClaimStatus{}
			if old != nil {
				n.Status = old.(kind).Status
			}
			prepareClaim(&n.Spec)
		},
		Validate: func(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(kind)
			errs := core.ValidateFinalizers(n)
			if old != nil {
				return append(errs, validation.ValidateImmutableField(n.Spec, old.(kind).Spec, spec)...)
			}
			errs = append(errs, c.validateAdmin(ctx, n.Namespace, n.Spec.Devices.Requests)...)
			return append(errs, validateClaim(&n.Spec, c.selectors(false), spec)...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(kind), old.(kind)
						n.Spec = o.Spec
						metav1.ResetObjectMetaForStatus(n, o)
						prepareClaimStatus(&n.Status, &o.Status)
					},
					Validate: func(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
						return c.validateClaimStatus(ctx, new.(kind), old.(kind))
					},
				},
			},
		},
	}
}

func claimState(r *resourcev1.ResourceClaim) string {
	var states []string
	if r.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case r.Status.Allocation == nil && r.DeletionTimestamp == nil:
		states = append(states, "pending")
	case r.Status.Allocation != nil && len(r.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case r.Status.Allocation != nil:
		states = append(states, "allocated")
	}
	return strings.Join(states, ",")
}
