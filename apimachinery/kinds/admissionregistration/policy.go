package admissionregistration

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

// What policies of both kinds, and their bindings, have in common.

// constraints judges what a policy is about.
func constraints(m *admissionregistrationv1.MatchResources, params *admissionregistrationv1.ParamKind) field.ErrorList {
	var errs field.ErrorList
	if params != nil {
		errs = append(errs, validateParamKind(params, spec.Child("paramKind"))...)
	}
	at := spec.Child("matchConstraints")
	if m == nil {
		return append(errs, field.Required(at, ""))
	}
	errs = append(errs, validateMatch(m, at)...)
	if len(m.ResourceRules) == 0 {
		errs = append(errs, field.Required(at.Child("resourceRules"), ""))
	}
	return errs
}

var (
	sameParamKind  = same.Func[*admissionregistrationv1.ParamKind]()
	sameConditions = same.Func[[]admissionregistrationv1.MatchCondition]()
)

func validateParamKind(p *admissionregistrationv1.ParamKind, at *field.Path) field.ErrorList {
	errs := validateAPIVersion(p.APIVersion, at.Child("apiVersion"))
	if p.Kind == "" {
		return append(errs, field.Required(at.Child("kind"), ""))
	}
	if msgs := utilvalidation.IsDNS1035Label(strings.ToLower(p.Kind)); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("kind"), p.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
	}
	return errs
}

func validateAPIVersion(text string, at *field.Path) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	group, version, ok := strings.Cut(text, "/")
	switch {
	case !ok:
		group, version = "", text
	case strings.Contains(version, "/"):
		return field.ErrorList{field.Invalid(at, text, fmt.Sprintf("unexpected GroupVersion string: %v", text))}
	}
	var errs field.ErrorList
	if group != "" {
		if msgs := utilvalidation.IsDNS1123Subdomain(group); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, group, strings.Join(msgs, ",")))
		}
	}
	if version == "" {
		return append(errs, field.Invalid(at, text, "version must be specified"))
	}
	if msgs := utilvalidation.IsDNS1035Label(version); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at, version, strings.Join(msgs, ",")))
	}
	return errs
}

// bound judges what a binding binds.
func bound(policy string, params *admissionregistrationv1.ParamRef, m *admissionregistrationv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if at := spec.Child("policyName"); policy == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, invalid(at, policy, validation.NameIsDNSSubdomain(policy, false))...)
	}
	errs = append(errs, validateParamRef(params, spec.Child("paramRef"))...)
	return append(errs, validateMatch(m, spec.Child("matchResources"))...)
}

var missing = []admissionregistrationv1.ParameterNotFoundActionType{admissionregistrationv1.DenyAction, admissionregistrationv1.AllowAction}

func validateParamRef(p *admissionregistrationv1.ParamRef, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	const exclusive = "name and selector are mutually exclusive"
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, invalid(at.Child("name"), p.Name, path.IsValidPathSegmentName(p.Name))...)
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(p.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	switch {
	case p.Name != "" && p.Selector != nil:
		errs = append(errs, field.Forbidden(at.Child("name"), exclusive), field.Forbidden(at.Child("selector"), exclusive))
	case p.Name == "" && p.Selector == nil:
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	action := p.ParameterNotFoundAction
	if action != nil && *action == "" {
		action = nil
	}
	return append(errs, demands(at.Child("parameterNotFoundAction"), action, missing...)...)
}

const unset = "<unset>"

func paramKind(p *admissionregistrationv1.ParamKind) string {
	if p == nil {
		return unset
	}
	return p.APIVersion + "/" + p.Kind
}

// paramRef says which parameters a binding has; a name without a namespace may be that of several.
func paramRef(p *admissionregistrationv1.ParamRef) string {
	switch {
	case p == nil || p.Name == "" && p.Selector == nil:
		return unset
	case p.Name == "":
		return p.Selector.String()
	case p.Namespace == "":
		return "*/" + p.Name
	}
	return p.Namespace + "/" + p.Name
}
