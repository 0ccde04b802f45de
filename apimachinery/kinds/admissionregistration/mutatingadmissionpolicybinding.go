package admissionregistration

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var sameMutatingBinding = same.Func[admissionregistrationv1.MutatingAdmissionPolicyBindingSpec]()

// MutatingAdmissionPolicyBindings declares admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding.
func MutatingAdmissionPolicyBindings() apimachinery.Resource {
	type kind = *admissionregistrationv1.MutatingAdmissionPolicyBinding
	return apimachinery.Resource{
		Name: resource("mutatingadmissionpolicybindings"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.MutatingAdmissionPolicyBinding{} },
		Views: view("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings",
			apimachinery.ColumnOf("PolicyName", "string", func(b kind) any { return b.Spec.PolicyName }),
			apimachinery.ColumnOf("ParamRef", "string", func(b kind) any { return paramRef(b.Spec.ParamRef) })),
		Default: func(o apimachinery.Object) { defaultMatch(o.(kind).Spec.MatchResources) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !sameMutatingBinding(&new.(kind).Spec, &old.(kind).Spec) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			s := &new.(kind).Spec
			errs := bound(s.PolicyName, s.ParamRef, s.MatchResources)
			errs = append(errs, validateMutable(s.MatchResources, spec.Child("matchResources"))...)
			return append(errs, validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
	}
}
