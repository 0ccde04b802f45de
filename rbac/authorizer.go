package rbac

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Authorizer decides by the roles and bindings of a [Source]. It never says Deny: what no rule allows is left to
// the next authorizer. It is safe for concurrent use.
type Authorizer struct{ source Source }

var (
	_ apimachinery.Authorizer = (*Authorizer)(nil)
	_ apimachinery.Rules      = (*Authorizer)(nil)
)

// New returns the authorizer of a source.
func New(s Source) *Authorizer { return &Authorizer{source: s} }

// held is a role that a user has, and by which binding.
type held struct {
	Grant
	namespace string
	subject   Subject
	rules     []rbacv1.PolicyRule
	missing   bool
}

// grants yields the roles of a user: those of the whole cluster, then those of the namespace if there is one.
func (z *Authorizer) grants(u *apimachinery.User, namespace string) iter.Seq[held] {
	return func(yield func(held) bool) {
		if !z.grantsIn("", u, yield) || namespace == "" {
			return
		}
		z.grantsIn(namespace, u, yield)
	}
}

func (z *Authorizer) grantsIn(namespace string, u *apimachinery.User, yield func(held) bool) bool {
	if !z.grantsOf(namespace, Subject{rbacv1.UserKind, u.Name}, yield) {
		return false
	}
	for _, g := range u.Groups {
		if !z.grantsOf(namespace, Subject{rbacv1.GroupKind, g}, yield) {
			return false
		}
	}
	return true
}

func (z *Authorizer) grantsOf(namespace string, s Subject, yield func(held) bool) bool {
	for _, g := range z.source.Grants(namespace, s) {
		rules, ok := z.source.Rules(namespace, g.Ref)
		if !yield(held{Grant: g, namespace: namespace, subject: s, rules: rules, missing: !ok}) {
			return false
		}
	}
	return true
}

// Authorize implements [apimachinery.Authorizer]. The reason of an Allow names the binding and the role; that of
// NoOpinion the roles that are bound and don't exist. There is never an error.
func (z *Authorizer) Authorize(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	var errs []error
	for h := range z.grants(&a.User, a.Namespace) {
		if h.missing {
			errs = append(errs, h.notFound())
			continue
		}
		for i := range h.rules {
			if Allows(&h.rules[i], a) {
				return apimachinery.Allow, h.reason(), nil
			}
		}
	}
	if len(errs) > 0 {
		return apimachinery.NoOpinion, fmt.Sprintf("RBAC: %v", errors.Join(errs...)), nil
	}
	return apimachinery.NoOpinion, "", nil
}

func (h *held) notFound() error {
	return fmt.Errorf("%s.%s %q not found", strings.ToLower(h.Ref.Kind), rbacv1.GroupName, h.Ref.Name)
}

func (h *held) reason() string {
	kind, binding := "ClusterRoleBinding", h.Binding
	if h.namespace != "" {
		kind, binding = "RoleBinding", h.Binding+"/"+h.namespace
	}
	return `RBAC: allowed by ` + kind + ` "` + binding + `" of ` + h.Ref.Kind + ` "` + h.Ref.Name + `" to ` + h.subject.Kind + ` "` + h.subject.Name + `"`
}

// RulesOf returns every rule that a user has in a namespace, and what came in the way. The rules are shared:
// don't change them.
func (z *Authorizer) RulesOf(u apimachinery.User, namespace string) (rules []rbacv1.PolicyRule, err error) {
	var errs []error
	for h := range z.grants(&u, namespace) {
		if h.missing {
			errs = append(errs, h.notFound())
		}
		rules = append(rules, h.rules...)
	}
	return rules, errors.Join(errs...)
}

// RulesFor implements [apimachinery.Rules].
func (z *Authorizer) RulesFor(_ context.Context, u apimachinery.User, namespace string) (resource []apimachinery.ResourceRule, path []apimachinery.PathRule, err error) {
	rules, err := z.RulesOf(u, namespace)
	for _, r := range rules {
		if len(r.Resources) > 0 {
			resource = append(resource, apimachinery.ResourceRule{
				Verbs: slices.Clone(r.Verbs), Groups: slices.Clone(r.APIGroups), Resources: slices.Clone(r.Resources), Names: slices.Clone(r.ResourceNames),
			})
		}
		if len(r.NonResourceURLs) > 0 {
			path = append(path, apimachinery.PathRule{Verbs: slices.Clone(r.Verbs), Paths: slices.Clone(r.NonResourceURLs)})
		}
	}
	return resource, path, err
}
