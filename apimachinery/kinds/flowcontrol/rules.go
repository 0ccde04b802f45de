package flowcontrol

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const all = "*"

// The verbs that a rule may name.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func validateRules(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, validateSubject(&r.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		errs = append(errs, validateResourceRule(&r.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range r.NonResourceRules {
		errs = append(errs, validatePathRule(&r.NonResourceRules[i], at.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

func validateSubject(s *flowcontrolv1.Subject, at *field.Path) field.ErrorList {
	parts := []struct {
		kind  flowcontrolv1.SubjectKind
		field string
		there bool
		judge func(at *field.Path) field.ErrorList
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(at *field.Path) field.ErrorList {
			return validateServiceAccount(s.ServiceAccount, at)
		}},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(at *field.Path) field.ErrorList { return named(s.User.Name, at) }},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(at *field.Path) field.ErrorList { return named(s.Group.Name, at) }},
	}
	var errs field.ErrorList
	known := false
	for _, p := range parts {
		path := at.Child(p.field)
		switch {
		case p.kind == s.Kind && !p.there:
			errs = append(errs, field.Required(path, p.field+" is required when subject kind is '"+string(p.kind)+"'"))
		case p.kind == s.Kind:
			errs = append(errs, p.judge(path)...)
		case p.there:
			errs = append(errs, field.Forbidden(path, p.field+" is forbidden when subject kind is not '"+string(p.kind)+"'"))
		}
		known = known || p.kind == s.Kind
	}
	if !known {
		return field.ErrorList{field.NotSupported(at.Child("kind"), s.Kind, []flowcontrolv1.SubjectKind{
			flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser,
		})}
	}
	return errs
}

func named(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at.Child("name"), "")}
	}
	return nil
}

func validateServiceAccount(s *flowcontrolv1.ServiceAccountSubject, at *field.Path) field.ErrorList {
	errs := named(s.Name, at)
	if s.Name != "" && s.Name != all {
		errs = append(errs, invalid(at.Child("name"), s.Name, validation.ValidateServiceAccountName(s.Name, false))...)
	}
	if s.Namespace == "" {
		return append(errs, field.Required(at.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, invalid(at.Child("namespace"), s.Namespace, validation.ValidateNamespaceName(s.Namespace, false))...)
}

func validateVerbs(have []string, at *field.Path) field.ErrorList {
	if len(have) == 0 || slices.Contains(have, all) {
		return alone(have, at, "verbs must contain at least one value", "verbs")
	}
	if slices.ContainsFunc(have, func(v string) bool { return !slices.Contains(verbs, v) }) {
		return field.ErrorList{field.NotSupported(at, have, verbs)}
	}
	return nil
}

// alone judges a list that must not be empty, and in which "*" stands alone.
func alone(list []string, at *field.Path, empty, what string) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, empty)}
	case len(list) > 1 && slices.Contains(list, all):
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

func validateResourceRule(r *flowcontrolv1.ResourcePolicyRule, at *field.Path) field.ErrorList {
	errs := validateVerbs(r.Verbs, at.Child("verbs"))
	errs = append(errs, alone(r.APIGroups, at.Child("apiGroups"), "resource rules must supply at least one api group", "api groups")...)
	errs = append(errs, alone(r.Resources, at.Child("resources"), "resource rules must supply at least one resource", "resources")...)
	path := at.Child("namespaces")
	if len(r.Namespaces) == 0 && r.ClusterScope {
		return errs
	}
	if len(r.Namespaces) == 0 || slices.Contains(r.Namespaces, all) {
		return append(errs, alone(r.Namespaces, path, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces")...)
	}
	for i, n := range r.Namespaces {
		for _, msg := range validation.ValidateNamespaceName(n, false) {
			errs = append(errs, field.Invalid(path.Index(i), n, "each member of this list must be '*' or a DNS-1123 label; "+msg))
		}
	}
	return errs
}

func validatePathRule(r *flowcontrolv1.NonResourcePolicyRule, at *field.Path) field.ErrorList {
	errs := validateVerbs(r.Verbs, at.Child("verbs"))
	path := at.Child("nonResourceURLs")
	if len(r.NonResourceURLs) == 0 || slices.Contains(r.NonResourceURLs, all) {
		return append(errs, alone(r.NonResourceURLs, path, "nonResourceURLs must contain at least one value", "non-resource URLs")...)
	}
	for i, u := range r.NonResourceURLs {
		if msg := wrongPath(u); msg != "" {
			errs = append(errs, field.Invalid(path.Index(i), u, msg))
		}
	}
	return errs
}

// wrongPath says what is wrong with a path; a "*" may stand for all that follows a slash.
func wrongPath(path string) string {
	switch {
	case path == "":
		return "must not be empty"
	case path[0] != '/':
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case strings.Contains(strings.TrimSuffix(path, "/*"), "*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
