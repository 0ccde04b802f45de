package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// NoEscalation is the admission plugin that keeps users from granting what they don't have. A role may hold only
// rules that its writer holds in that namespace, unless the writer may "escalate" it; a binding may name only a
// role whose rules its writer holds, unless the writer may "bind" that role; to aggregate takes everything.
//
// z says who may escalate and bind: all authorizers together. Rules held are those that s gives; members of
// [MastersGroup] hold all.
func NoEscalation(s Source, z apimachinery.Authorizer) apimachinery.Plugin {
	return apimachinery.Plugin{Name: "NoEscalation", Validate: &escalation{held: New(s), source: s, may: z}}
}

type escalation struct {
	held   *Authorizer
	source Source
	may    apimachinery.Authorizer
}

// everything is what one must hold to aggregate whatever will be labelled so in future.
func everything() []rbacv1.PolicyRule {
	all := []string{"*"}
	return []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}
}

// Validate implements [apimachinery.Validator].
func (e *escalation) Validate(ctx context.Context, a *apimachinery.Admission) error {
	if a.Resource.Group != rbacv1.GroupName || a.Object == nil || slices.Contains(a.User.Groups, MastersGroup) || onlyMeta(a.Object, a.Old) {
		return nil
	}
	switch o := a.Object.(type) {
	case *rbacv1.Role:
		return e.role(ctx, a, o.Rules)
	case *rbacv1.ClusterRole:
		if o.AggregationRule != nil {
			return e.role(ctx, a, slices.Concat(everything(), o.Rules))
		}
		return e.role(ctx, a, o.Rules)
	case *rbacv1.RoleBinding:
		return e.binding(ctx, a, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return e.binding(ctx, a, o.RoleRef)
	}
	return nil
}

// onlyMeta says whether an update touches only what the garbage collector writes.
func onlyMeta(new, old apimachinery.Object) bool {
	if old == nil {
		return false
	}
	n, o := new.DeepCopyObject().(apimachinery.Object), old.DeepCopyObject().(apimachinery.Object)
	for _, x := range []apimachinery.Object{n, o} {
		x.SetOwnerReferences(nil)
		x.SetFinalizers(nil)
		x.SetResourceVersion("")
		x.SetManagedFields(nil)
		x.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return equality.Semantic.DeepEqual(n, o)
}

func (e *escalation) role(ctx context.Context, a *apimachinery.Admission, rules []rbacv1.PolicyRule) error {
	if e.allowed(ctx, a, "escalate", a.Resource.Resource, a.Name) {
		return nil
	}
	return e.confirm(a, rules)
}

func (e *escalation) binding(ctx context.Context, a *apimachinery.Admission, ref rbacv1.RoleRef) error {
	if e.allowed(ctx, a, "bind", strings.ToLower(ref.Kind)+"s", ref.Name) {
		return nil
	}
	rules, ok := e.source.Rules(a.Namespace, ref)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: strings.ToLower(ref.Kind) + "s"}, ref.Name)
	}
	return e.confirm(a, rules)
}

func (e *escalation) allowed(ctx context.Context, a *apimachinery.Admission, verb, resource, name string) bool {
	decision, _, err := e.may.Authorize(ctx, &apimachinery.Attributes{
		User: a.User, Verb: verb, Group: rbacv1.GroupName, Version: "v1", Resource: resource, Namespace: a.Namespace, Name: name,
	})
	return err == nil && decision == apimachinery.Allow
}

// confirm refuses with what is missing, as Kubernetes words it.
func (e *escalation) confirm(a *apimachinery.Admission, wanted []rbacv1.PolicyRule) error {
	owned, err := e.held.RulesOf(a.User, a.Namespace)
	ok, missing := Covers(owned, wanted)
	if ok {
		return nil
	}
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:", a.User.Name, a.User.Groups)
	for i := range missing {
		if i == maxShown {
			text += fmt.Sprintf("\nand %d more", len(missing)-i)
			break
		}
		text += "\n" + compact(&missing[i])
	}
	if err != nil {
		text += "; resolution errors: " + err.Error()
	}
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, errors.New(text))
}

// maxShown bounds the rules that a refusal lists.
const maxShown = 50

func compact(r *rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"ResourceNames", r.ResourceNames}, {"NonResourceURLs", r.NonResourceURLs}, {"Verbs", r.Verbs}} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
