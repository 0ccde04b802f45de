package networking

import (
	"context"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ServiceCIDRs declares networking.k8s.io/v1 ServiceCIDR.
func ServiceCIDRs() apimachinery.Resource {
	return apimachinery.Resource{
		Name:   resource("servicecidrs"),
		Prefix: "servicecidrs",
		New:    func() apimachinery.Object { return &networkingv1.ServiceCIDR{} },
		Views: []apimachinery.View{{
			GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"),
			Plural:           "servicecidrs",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("CIDRs", "string", func(s *networkingv1.ServiceCIDR) any { return strings.Join(s.Spec.CIDRs, ",") }),
				apimachinery.AgeColumn(),
			},
		}},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(*networkingv1.ServiceCIDR)
			n.Status = networkingv1.ServiceCIDRStatus{}
			if o, ok := old.(*networkingv1.ServiceCIDR); ok {
				n.Status = *o.Status.DeepCopy()
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*networkingv1.ServiceCIDR)
			errs := core.ValidateFinalizers(n)
			if o, ok := old.(*networkingv1.ServiceCIDR); ok {
				return append(errs, validateCIDRUpdate(n.Spec.CIDRs, o.Spec.CIDRs)...)
			}
			return append(errs, validateCIDRs(&n.Spec)...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*networkingv1.ServiceCIDR), old.(*networkingv1.ServiceCIDR)
						n.Spec = o.Spec
						metav1.ResetObjectMetaForStatus(n, o)
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return core.ValidateFinalizers(new)
					},
				},
			},
		},
	}
}

func validateCIDRs(s *networkingv1.ServiceCIDRSpec) field.ErrorList {
	at := spec.Child("cidrs")
	switch n := len(s.CIDRs); {
	case n == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case n > 2:
		return field.ErrorList{field.Invalid(at, s, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	for i, c := range s.CIDRs {
		errs = append(errs, utilvalidation.IsValidCIDR(at.Index(i), c)...)
	}
	if len(s.CIDRs) < 2 {
		return errs
	}
	first, second := netutils.IPFamilyOfCIDRString(s.CIDRs[0]), netutils.IPFamilyOfCIDRString(s.CIDRs[1])
	if first == second && first != netutils.IPFamilyUnknown {
		errs = append(errs, field.Invalid(at, s.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}

// validateCIDRUpdate lets a second family be added, and nothing else.
func validateCIDRUpdate(new, old []string) field.ErrorList {
	at := spec.Child("cidrs")
	var errs field.ErrorList
	fixed := func(i int) {
		if new[i] != old[i] {
			errs = append(errs, field.Invalid(at.Index(i), new[i], validation.FieldImmutableErrorMsg))
		}
	}
	switch {
	case len(new) == len(old):
		for i := range old {
			fixed(i)
		}
	case len(old) == 1 && len(new) == 2:
		fixed(0)
		errs = append(errs, validateCIDRs(&networkingv1.ServiceCIDRSpec{CIDRs: new})...)
	default:
		errs = append(errs, field.Invalid(at, new, validation.FieldImmutableErrorMsg))
	}
	return errs
}
