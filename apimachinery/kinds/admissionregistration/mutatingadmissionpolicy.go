package admissionregistration

import (
	"context"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var sameMutatingPolicy = same.Func[admissionregistrationv1.MutatingAdmissionPolicySpec]()

// MutatingAdmissionPolicies declares admissionregistration.k8s.io/v1 MutatingAdmissionPolicy.
func MutatingAdmissionPolicies(c Config) apimachinery.Resource {
	type kind = *admissionregistrationv1.MutatingAdmissionPolicy
	return apimachinery.Resource{
		Name: resource("mutatingadmissionpolicies"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.MutatingAdmissionPolicy{} },
		Views: view("MutatingAdmissionPolicy", "mutatingadmissionpolicies",
			apimachinery.ColumnOf("Mutations", "integer", func(p kind) any { return int64(len(p.Spec.Mutations)) }),
			apimachinery.ColumnOf("ParamKind", "string", func(p kind) any { return paramKind(p.Spec.ParamKind) })),
		Default: func(o apimachinery.Object) {
			s := &o.(kind).Spec
			set(&s.FailurePolicy, admissionregistrationv1.Fail)
			defaultMatch(s.MatchConstraints)
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !sameMutatingPolicy(&new.(kind).Spec, &old.(kind).Spec) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(kind)
			return append(c.mutatingPolicy(new.(kind), o), validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
	}
}

// mutatingPolicy judges a policy; old is nil on create. Conditions that stay as they were stay as they were judged.
func (c Config) mutatingPolicy(p, old *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	s, x := &p.Spec, c.expressions()
	x.params = s.ParamKind != nil
	again := true
	if old != nil {
		x.hadMutating(&old.Spec)
		again = !sameParamKind(&s.ParamKind, &old.Spec.ParamKind) || !sameConditions(&s.MatchConditions, &old.Spec.MatchConditions)
	}
	errs := demands(spec.Child("failurePolicy"), s.FailurePolicy, failurePolicies...)
	errs = append(errs, constraints(s.MatchConstraints, s.ParamKind)...)
	errs = append(errs, validateMutable(s.MatchConstraints, spec.Child("matchConstraints"))...)
	if again {
		errs = append(errs, x.conditions(s.MatchConditions, spec.Child("matchConditions"))...)
	}
	errs = append(errs, x.variables(s.Variables, spec.Child("variables"))...)
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(spec.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		errs = append(errs, x.mutation(&s.Mutations[i], spec.Child("mutations").Index(i))...)
	}
	if at := spec.Child("reinvocationPolicy"); s.ReinvocationPolicy == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, supports(at, &s.ReinvocationPolicy, reinvocations...)...)
	}
	return errs
}

func (x *expressions) hadMutating(s *admissionregistrationv1.MutatingAdmissionPolicySpec) {
	x.hadConditions(s.MatchConditions)
	for _, m := range s.Mutations {
		if m.ApplyConfiguration != nil {
			x.had(apimachinery.ApplyExpression, strings.TrimSpace(m.ApplyConfiguration.Expression))
		}
		if m.JSONPatch != nil {
			x.had(apimachinery.PatchExpression, strings.TrimSpace(m.JSONPatch.Expression))
		}
	}
}

func (x *expressions) mutation(m *admissionregistrationv1.Mutation, at *field.Path) field.ErrorList {
	apply, patch := (*string)(nil), (*string)(nil)
	if m.ApplyConfiguration != nil {
		apply = &m.ApplyConfiguration.Expression
	}
	if m.JSONPatch != nil {
		patch = &m.JSONPatch.Expression
	}
	switch m.PatchType {
	case "":
		return field.ErrorList{field.Required(at.Child("patchType"), "")}
	case admissionregistrationv1.PatchTypeJSONPatch:
		return x.oneMutation(apimachinery.PatchExpression, "jsonPatch", patch, "applyConfiguration", apply, m.PatchType, at)
	case admissionregistrationv1.PatchTypeApplyConfiguration:
		return x.oneMutation(apimachinery.ApplyExpression, "applyConfiguration", apply, "jsonPatch", patch, m.PatchType, at)
	}
	return field.ErrorList{field.NotSupported(at.Child("patchType"), m.PatchType, []admissionregistrationv1.PatchType{
		admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch,
	})}
}

// oneMutation judges the expression that the type of the patch asks for, beside which the other must not be.
func (x *expressions) oneMutation(kind apimachinery.ExpressionKind, name string, want *string, otherName string, other *string, of admissionregistrationv1.PatchType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	path := at.Child(name)
	switch {
	case want == nil:
		errs = append(errs, field.Required(path, "must be specified when patchType is "+string(of)))
	case strings.TrimSpace(*want) == "":
		errs = append(errs, field.Required(path.Child("expression"), ""))
	default:
		errs = append(errs, x.check(kind, strings.TrimSpace(*want), path.Child("expression"))...)
	}
	if other != nil {
		errs = append(errs, field.Invalid(at.Child(otherName), "{"+otherName+"}", "must not be specified when patchType is "+string(of)))
	}
	return errs
}
