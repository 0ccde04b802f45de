package admissionregistration

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const all = "*"

var (
	operations = []admissionregistrationv1.OperationType{
		all, admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Delete, admissionregistrationv1.Update,
	}
	// mutable are the operations whose object a policy can change.
	mutable = []admissionregistrationv1.OperationType{
		all, admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Update,
	}
	scopes = []admissionregistrationv1.ScopeType{
		admissionregistrationv1.AllScopes, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope,
	}
)

func defaultRules(rules []admissionregistrationv1.RuleWithOperations) {
	for i := range rules {
		set(&rules[i].Scope, admissionregistrationv1.AllScopes)
	}
}

func validateRule(r *admissionregistrationv1.RuleWithOperations, at *field.Path) field.ErrorList {
	path := at.Child("operations")
	errs := alone(r.Operations, path, "operations")
	for i, o := range r.Operations {
		errs = append(errs, supports(path.Index(i), &o, operations...)...)
	}
	errs = append(errs, alone(r.APIGroups, at.Child("apiGroups"), "API groups")...)
	versions := at.Child("apiVersions")
	errs = append(errs, alone(r.APIVersions, versions, "API versions")...)
	for i, v := range r.APIVersions {
		if v == "" {
			errs = append(errs, field.Required(versions.Index(i), ""))
		}
	}
	errs = append(errs, validateResources(r.Resources, at.Child("resources"))...)
	return append(errs, supports(at.Child("scope"), r.Scope, scopes...)...)
}

// alone judges a list that must not be empty, and in which "*" stands alone.
func alone[S ~string](list []S, at *field.Path, what string) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(list) > 1 && slices.Contains(list, all):
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

// validateResources judges resources with their subresources, of which one must not cover another.
func validateResources(list []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	whole, everywhere := map[string]bool{}, map[string]bool{} // "x/*" by x, "*/x" by x
	bare := false                                             // the last one without a subresource is not "*"
	for i, r := range list {
		if r == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		name, sub, ok := strings.Cut(r, "/")
		if !ok {
			bare = r != all
			continue
		}
		if whole[name] {
			errs = append(errs, field.Invalid(at.Index(i), r, "if '"+name+"/*' is present, must not specify "+r))
		}
		if everywhere[sub] {
			errs = append(errs, field.Invalid(at.Index(i), r, "if '*/"+sub+"' is present, must not specify "+r))
		}
		whole[name] = whole[name] || sub == all
		everywhere[sub] = everywhere[sub] || name == all
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(at, list, "if '*/*' is present, must not specify other resources"))
	}
	if bare && slices.Contains(list, all) {
		errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

func defaultMatch(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	set(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	set(&m.NamespaceSelector, metav1.LabelSelector{})
	set(&m.ObjectSelector, metav1.LabelSelector{})
	for i := range m.ResourceRules {
		set(&m.ResourceRules[i].Scope, admissionregistrationv1.AllScopes)
	}
	for i := range m.ExcludeResourceRules {
		set(&m.ExcludeResourceRules[i].Scope, admissionregistrationv1.AllScopes)
	}
}

var matchPolicies = []admissionregistrationv1.MatchPolicyType{admissionregistrationv1.Equivalent, admissionregistrationv1.Exact}

func validateMatch(m *admissionregistrationv1.MatchResources, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	errs := demands(at.Child("matchPolicy"), m.MatchPolicy, matchPolicies...)
	errs = append(errs, validateSelector(m.NamespaceSelector, at.Child("namespaceSelector"))...)
	errs = append(errs, validateSelector(m.ObjectSelector, at.Child("objectSelector"))...)
	for i := range m.ResourceRules {
		errs = append(errs, validateNamed(&m.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range m.ExcludeResourceRules {
		errs = append(errs, validateNamed(&m.ExcludeResourceRules[i], at.Child("excludeResourceRules").Index(i))...)
	}
	return errs
}

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)
}

func validateNamed(r *admissionregistrationv1.NamedRuleWithOperations, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range r.ResourceNames {
		errs = append(errs, invalid(at.Child("resourceNames").Index(i), name, path.IsValidPathSegmentName(name))...)
		if slices.Contains(r.ResourceNames[:i], name) {
			errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(i), name))
		}
	}
	return append(errs, validateRule(&r.RuleWithOperations, at)...)
}

// validateMutable refuses operations whose object can't be changed.
func validateMutable(m *admissionregistrationv1.MatchResources, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	for _, r := range m.ResourceRules {
		for _, o := range r.Operations {
			errs = append(errs, supports(at.Child("resourceRules", "operations"), &o, mutable...)...)
		}
	}
	return errs
}
