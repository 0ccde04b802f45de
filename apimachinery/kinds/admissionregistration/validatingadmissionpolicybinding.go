package admissionregistration

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var sameValidatingBinding = same.Func[admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec]()

// ValidatingAdmissionPolicyBindings declares admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding.
func ValidatingAdmissionPolicyBindings() apimachinery.Resource {
	type kind = *admissionregistrationv1.ValidatingAdmissionPolicyBinding
	return apimachinery.Resource{
		Name: resource("validatingadmissionpolicybindings"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{} },
		Views: view("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
			apimachinery.ColumnOf("PolicyName", "string", func(b kind) any { return b.Spec.PolicyName }),
			apimachinery.ColumnOf("ParamRef", "string", func(b kind) any { return paramRef(b.Spec.ParamRef) })),
		Default: func(o apimachinery.Object) { defaultMatch(o.(kind).Spec.MatchResources) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !sameValidatingBinding(&new.(kind).Spec, &old.(kind).Spec) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			s := &new.(kind).Spec
			errs := bound(s.PolicyName, s.ParamRef, s.MatchResources)
			errs = append(errs, validateActions(s.ValidationActions, spec.Child("validationActions"))...)
			return append(errs, validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
	}
}

var actions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn}

func validateActions(have []admissionregistrationv1.ValidationAction, path *field.Path) field.ErrorList {
	if len(have) == 0 {
		return field.ErrorList{field.Required(path, "at least one validation action is required")}
	}
	var errs field.ErrorList
	for i, a := range have {
		errs = append(errs, supports(path.Index(i), &a, actions...)...)
		if slices.Contains(have[:i], a) {
			errs = append(errs, field.Duplicate(path.Index(i), a))
		}
	}
	if slices.Contains(have, admissionregistrationv1.Deny) && slices.Contains(have, admissionregistrationv1.Warn) {
		errs = append(errs, field.Invalid(path, have, "must not contain both Deny and Warn: the caller would be told the same twice"))
	}
	return errs
}
