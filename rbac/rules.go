package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Allows says whether one rule allows what is asked.
func Allows(r *rbacv1.PolicyRule, a *apimachinery.Attributes) bool {
	if !has(r.Verbs, a.Verb) {
		return false
	}
	if a.Path != "" {
		return slices.ContainsFunc(r.NonResourceURLs, func(u string) bool { return matchesURL(u, a.Path) })
	}
	return has(r.APIGroups, a.Group) && hasResource(r.Resources, a.Resource, a.Sub) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

// has says whether a list names s, or everything.
func has(list []string, s string) bool {
	for _, l := range list {
		if l == s || l == "*" {
			return true
		}
	}
	return false
}

// hasResource knows the forms "pods", "pods/log", "*/log" and "*", which is everything.
func hasResource(list []string, resource, sub string) bool {
	for _, l := range list {
		if l == "*" {
			return true
		}
		name, part, _ := strings.Cut(l, "/")
		if part == sub && (name == resource || name == "*" && sub != "") {
			return true
		}
	}
	return false
}

func matchesURL(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// Covers says whether owned allows all that wanted allows, and returns what it doesn't, taken apart into rules of
// one verb, group and resource (and name) each.
func Covers(owned, wanted []rbacv1.PolicyRule) (ok bool, missing []rbacv1.PolicyRule) {
	for i := range wanted {
		for atom := range atoms(&wanted[i]) {
			if !slices.ContainsFunc(owned, func(o rbacv1.PolicyRule) bool { return coversAtom(&o, &atom) }) {
				missing = append(missing, atom)
			}
		}
	}
	return len(missing) == 0, missing
}

// atoms yields a rule's smallest parts.
func atoms(r *rbacv1.PolicyRule) func(yield func(rbacv1.PolicyRule) bool) {
	return func(yield func(rbacv1.PolicyRule) bool) {
		for _, verb := range r.Verbs {
			for _, u := range r.NonResourceURLs {
				if !yield(rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: []string{u}}) {
					return
				}
			}
			if !resourceAtoms(r, verb, yield) {
				return
			}
		}
	}
}

func resourceAtoms(r *rbacv1.PolicyRule, verb string, yield func(rbacv1.PolicyRule) bool) bool {
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			atom := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
			if len(r.ResourceNames) == 0 && !yield(atom) {
				return false
			}
			for _, name := range r.ResourceNames {
				atom.ResourceNames = []string{name}
				if !yield(atom) {
					return false
				}
			}
		}
	}
	return true
}

func coversAtom(o, atom *rbacv1.PolicyRule) bool {
	if !has(o.Verbs, atom.Verbs[0]) {
		return false
	}
	if len(atom.NonResourceURLs) > 0 {
		return slices.ContainsFunc(o.NonResourceURLs, func(u string) bool { return matchesURL(u, atom.NonResourceURLs[0]) })
	}
	if !has(o.APIGroups, atom.APIGroups[0]) || !coversResource(o.Resources, atom.Resources[0]) {
		return false
	}
	return len(o.ResourceNames) == 0 || len(atom.ResourceNames) == 1 && slices.Contains(o.ResourceNames, atom.ResourceNames[0])
}

func coversResource(owned []string, wanted string) bool {
	if wanted == "*" {
		return slices.Contains(owned, "*")
	}
	name, sub, _ := strings.Cut(wanted, "/")
	return hasResource(owned, name, sub)
}
