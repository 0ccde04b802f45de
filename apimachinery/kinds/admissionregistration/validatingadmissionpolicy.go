package admissionregistration

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/forms"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var sameValidatingPolicy = same.Func[admissionregistrationv1.ValidatingAdmissionPolicySpec]()

// ValidatingAdmissionPolicies declares admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy.
func ValidatingAdmissionPolicies(c Config) apimachinery.Resource {
	type kind = *admissionregistrationv1.ValidatingAdmissionPolicy
	return apimachinery.Resource{
		Name: resource("validatingadmissionpolicies"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.ValidatingAdmissionPolicy{} },
		Views: view("ValidatingAdmissionPolicy", "validatingadmissionpolicies",
			apimachinery.ColumnOf("Validations", "integer", func(p kind) any { return int64(len(p.Spec.Validations)) }),
			apimachinery.ColumnOf("ParamKind", "string", func(p kind) any { return paramKind(p.Spec.ParamKind) })),
		Default: func(o apimachinery.Object) {
			s := &o.(kind).Spec
			set(&s.FailurePolicy, admissionregistrationv1.Fail)
			defaultMatch(s.MatchConstraints)
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(kind)
			if old == nil {
				n.Status, n.Generation = admissionregistrationv1.ValidatingAdmissionPolicyStatus{}, 1
				return
			}
			if n.Status = old.(kind).Status; !sameValidatingPolicy(&n.Spec, &old.(kind).Spec) {
				n.Generation = old.GetGeneration() + 1
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(kind)
			return append(c.validatingPolicy(new.(kind), o), validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(kind).Spec = old.(kind).Spec
						metav1.ResetObjectMetaForStatus(new, old)
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return validatePolicyStatus(&new.(kind).Status)
					},
				},
			},
		},
	}
}

// validatingPolicy judges a policy; old is nil on create. Conditions that stay as they were stay as they were judged.
func (c Config) validatingPolicy(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	s, x := &p.Spec, c.expressions()
	x.params = s.ParamKind != nil
	again := true
	if old != nil {
		x.hadValidating(&old.Spec)
		again = !sameParamKind(&s.ParamKind, &old.Spec.ParamKind) || !sameConditions(&s.MatchConditions, &old.Spec.MatchConditions)
	}
	errs := demands(spec.Child("failurePolicy"), s.FailurePolicy, failurePolicies...)
	errs = append(errs, constraints(s.MatchConstraints, s.ParamKind)...)
	if again {
		errs = append(errs, x.conditions(s.MatchConditions, spec.Child("matchConditions"))...)
	}
	errs = append(errs, x.variables(s.Variables, spec.Child("variables"))...)
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const msg = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(spec.Child("validations"), msg), field.Required(spec.Child("auditAnnotations"), msg))
	}
	for i := range s.Validations {
		errs = append(errs, x.validation(&s.Validations[i], spec.Child("validations").Index(i))...)
	}
	return append(errs, x.annotations(p.Name, s.AuditAnnotations, spec.Child("auditAnnotations"))...)
}

func (x *expressions) hadValidating(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
	x.hadConditions(s.MatchConditions)
	for _, v := range s.Validations {
		x.had(apimachinery.ValidationExpression, v.Expression)
		x.had(apimachinery.MessageExpression, v.MessageExpression)
	}
	for _, a := range s.AuditAnnotations {
		x.had(apimachinery.AuditExpression, strings.TrimSpace(a.ValueExpression))
	}
}

var reasons = []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}

func (x *expressions) validation(v *admissionregistrationv1.Validation, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	} else {
		errs = append(errs, x.check(apimachinery.ValidationExpression, v.Expression, at.Child("expression"))...)
	}
	if path := at.Child("messageExpression"); strings.TrimSpace(v.MessageExpression) != "" {
		errs = append(errs, x.check(apimachinery.MessageExpression, v.MessageExpression, path)...)
	} else if v.MessageExpression != "" {
		errs = append(errs, field.Invalid(path, v.MessageExpression, "must be non-empty if specified"))
	}
	message := strings.TrimSpace(v.Message)
	if v.Message != "" && message == "" {
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "must be non-empty if specified"))
	} else if strings.ContainsAny(message, "\n\r") {
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "must not contain line breaks"))
	}
	return append(errs, supports(at.Child("reason"), v.Reason, reasons...)...)
}

// The most that a policy may note in the audit log.
const (
	maxAnnotations = 20
	maxAuditText   = 5 << 10
)

func (x *expressions) annotations(policy string, all []admissionregistrationv1.AuditAnnotation, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > maxAnnotations {
		errs = append(errs, field.Invalid(path, all, fmt.Sprintf("must not have more than %d auditAnnotations", maxAnnotations)))
	}
	keys := map[string]bool{}
	for i, a := range all {
		at := path.Index(i)
		if policy == "" {
			errs = append(errs, field.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty"))
		} else {
			errs = append(errs, invalid(at.Child("key"), policy+"/"+a.Key, forms.QualifiedName(policy+"/"+a.Key))...)
		}
		errs = append(errs, x.annotation(a.ValueExpression, at.Child("valueExpression"))...)
		if keys[a.Key] {
			errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
		}
		keys[a.Key] = true
	}
	return errs
}

func (x *expressions) annotation(value string, at *field.Path) field.ErrorList {
	text := strings.TrimSpace(value)
	switch {
	case text == "":
		return field.ErrorList{field.Required(at, "valueExpression is not specified")}
	case len(text) > maxAuditText:
		return field.ErrorList{field.Required(at, fmt.Sprintf("must not exceed %d bytes in length", maxAuditText))}
	}
	return x.judge(x.of(apimachinery.AuditExpression, text), at, value)
}

func validatePolicyStatus(s *admissionregistrationv1.ValidatingAdmissionPolicyStatus) field.ErrorList {
	var errs field.ErrorList
	if s.TypeChecking != nil {
		for i, w := range s.TypeChecking.ExpressionWarnings {
			at := status.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			errs = append(errs, validateFieldRef(strings.TrimSpace(w.FieldRef), at.Child("fieldRef"))...)
		}
	}
	return append(errs, metav1validation.ValidateConditions(s.Conditions, status.Child("conditions"))...)
}

func validateFieldRef(ref string, at *field.Path) field.ErrorList {
	if ref == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		return field.ErrorList{field.Invalid(at, ref, fmt.Sprintf("invalid JSONPath: %v", err))}
	}
	return nil
}
