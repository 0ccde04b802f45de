package fairness

import (
	"cmp"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// everything stands for all values in the lists of a rule.
const everything = "*"

// matches says whether a schema is about a request.
func matches(f *flowcontrolv1.FlowSchema, a *apimachinery.Attributes) bool {
	for i := range f.Spec.Rules {
		if matchesRule(&f.Spec.Rules[i], a) {
			return true
		}
	}
	return false
}

func matchesRule(r *flowcontrolv1.PolicyRulesWithSubjects, a *apimachinery.Attributes) bool {
	if !slices.ContainsFunc(r.Subjects, func(s flowcontrolv1.Subject) bool { return matchesSubject(&s, &a.User) }) {
		return false
	}
	if a.Resource == "" {
		for i := range r.NonResourceRules {
			if n := &r.NonResourceRules[i]; has(n.Verbs, a.Verb) && hasPath(n.NonResourceURLs, a.Path) {
				return true
			}
		}
		return false
	}
	for i := range r.ResourceRules {
		if matchesResource(&r.ResourceRules[i], a) {
			return true
		}
	}
	return false
}

func matchesSubject(s *flowcontrolv1.Subject, u *apimachinery.User) bool {
	switch {
	case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
		return s.User.Name == everything || s.User.Name == u.Name
	case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
		return s.Group.Name == everything || slices.Contains(u.Groups, s.Group.Name)
	case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
		rest, ok := strings.CutPrefix(u.Name, "system:serviceaccount:")
		namespace, name, cut := strings.Cut(rest, ":")
		return ok && cut && namespace == s.ServiceAccount.Namespace &&
			(s.ServiceAccount.Name == everything || s.ServiceAccount.Name == name)
	}
	return false
}

func matchesResource(r *flowcontrolv1.ResourcePolicyRule, a *apimachinery.Attributes) bool {
	switch {
	case !has(r.Verbs, a.Verb), !has(r.APIGroups, a.Group), !hasResource(r.Resources, a.Resource, a.Sub):
		return false
	case a.Namespace == "":
		return r.ClusterScope
	}
	return has(r.Namespaces, a.Namespace)
}

// has says whether a list has a value, or stands for all: then it has nothing else, which validation sees to.
func has(list []string, value string) bool {
	return len(list) == 1 && list[0] == everything || slices.Contains(list, value)
}

// hasResource is has for resource/sub, without putting the two together.
func hasResource(list []string, resource, sub string) bool {
	if sub == "" {
		return has(list, resource)
	}
	for _, want := range list {
		name, part, ok := strings.Cut(want, "/")
		if want == everything && len(list) == 1 || ok && name == resource && part == sub {
			return true
		}
	}
	return false
}

// hasPath says whether one of some paths, which may end with a star, is that of a request or lies above it.
func hasPath(list []string, path string) bool {
	for _, want := range list {
		front := strings.TrimSuffix(strings.TrimSuffix(want, everything), "/")
		if want == everything || want == path ||
			len(path) > len(front) && strings.HasPrefix(path, front) && path[len(front)] == '/' {
			return true
		}
	}
	return false
}

// byPrecedence is the order in which schemas are asked.
func byPrecedence(a, b *flowcontrolv1.FlowSchema) int {
	return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), strings.Compare(a.Name, b.Name))
}

// distinguisher is what tells the flows of a schema apart.
func distinguisher(f *flowcontrolv1.FlowSchema, a *apimachinery.Attributes) string {
	d := f.Spec.DistinguisherMethod
	switch {
	case d == nil:
		return ""
	case d.Type == flowcontrolv1.FlowDistinguisherMethodByUserType:
		return a.User.Name
	case d.Type == flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return a.Namespace
	}
	return ""
}
