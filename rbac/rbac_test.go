package rbac_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
)

func on(verbs, groups, resources []string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources, ResourceNames: names}
}

type l = []string

func TestAllows(t *testing.T) {
	resource := func(verb, group, resource, sub, name string) *apimachinery.Attributes {
		return &apimachinery.Attributes{Verb: verb, Group: group, Resource: resource, Sub: sub, Name: name}
	}
	path := func(verb, path string) *apimachinery.Attributes {
		return &apimachinery.Attributes{Verb: verb, Path: path}
	}
	for _, c := range []struct {
		name string
		rule rbacv1.PolicyRule
		a    *apimachinery.Attributes
		want bool
	}{
		{"exact", on(l{"get"}, l{""}, l{"pods"}), resource("get", "", "pods", "", "p"), true},
		{"verb", on(l{"get"}, l{""}, l{"pods"}), resource("list", "", "pods", "", ""), false},
		{"group", on(l{"get"}, l{"apps"}, l{"pods"}), resource("get", "", "pods", "", "p"), false},
		{"subresources are apart", on(l{"create"}, l{""}, l{"pods"}), resource("create", "", "pods", "exec", "p"), false},
		{"subresource", on(l{"create"}, l{""}, l{"pods/exec"}), resource("create", "", "pods", "exec", "p"), true},
		{"subresource is not the resource", on(l{"get"}, l{""}, l{"pods/log"}), resource("get", "", "pods", "", "p"), false},
		{"any resource's subresource", on(l{"get"}, l{"*"}, l{"*/scale"}), resource("get", "apps", "deployments", "scale", "d"), true},
		{"any resource's subresource is no resource", on(l{"get"}, l{"*"}, l{"*/scale"}), resource("get", "apps", "deployments", "", "d"), false},
		{"star", on(l{"*"}, l{"*"}, l{"*"}), resource("x", "y", "z", "w", "v"), true},
		{"name", on(l{"get"}, l{""}, l{"pods"}, "a"), resource("get", "", "pods", "", "a"), true},
		{"other name", on(l{"get"}, l{""}, l{"pods"}, "a"), resource("get", "", "pods", "", "b"), false},
		{"no name", on(l{"create"}, l{""}, l{"pods"}, "a"), resource("create", "", "pods", "", ""), false},
		{"prefix of a name", on(l{"get"}, l{""}, l{"pods"}), resource("get", "", "pods2", "", ""), false},
		{"path", rbacv1.PolicyRule{Verbs: l{"get"}, NonResourceURLs: l{"/metrics"}}, path("get", "/metrics"), true},
		{"below a path", rbacv1.PolicyRule{Verbs: l{"get"}, NonResourceURLs: l{"/metrics"}}, path("get", "/metrics/x"), false},
		{"path prefix", rbacv1.PolicyRule{Verbs: l{"get"}, NonResourceURLs: l{"/metrics/*"}}, path("get", "/metrics/x"), true},
		{"all paths", rbacv1.PolicyRule{Verbs: l{"*"}, NonResourceURLs: l{"*"}}, path("post", "/x"), true},
		{"a resource rule allows no path", on(l{"*"}, l{"*"}, l{"*"}), path("get", "/metrics"), false},
		{"a path rule allows no resource", rbacv1.PolicyRule{Verbs: l{"*"}, NonResourceURLs: l{"*"}}, resource("get", "", "pods", "", ""), false},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, rbac.Allows(&c.rule, c.a)) })
	}
}

func role(ns, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Rules: rules}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func roleBinding(ns, name, kind, role string, s ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}, Subjects: s}
}

func clusterBinding(name, role string, s ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: s}
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
}

func index(t require.TestingT, objects ...apimachinery.Object) *rbac.Index {
	x := &rbac.Index{}
	for _, o := range objects {
		require.NoError(t, x.Set(o))
	}
	return x
}

func may(t require.TestingT, z apimachinery.Authorizer, user, verb, ns, resource string, groups ...string) bool {
	d, _, err := z.Authorize(context.Background(), &apimachinery.Attributes{User: apimachinery.User{Name: user, Groups: groups}, Verb: verb, Namespace: ns, Resource: resource})
	require.NoError(t, err)
	require.NotEqual(t, apimachinery.Deny, d)
	return d == apimachinery.Allow
}

func TestAuthorizer(t *testing.T) {
	pods := on(l{"get"}, l{""}, l{"pods"})
	x := index(t,
		clusterRole("pods", pods), role("a", "pods", pods), role("b", "pods", on(l{"delete"}, l{""}, l{"pods"})),
		clusterBinding("jane", "pods", userSubject("jane")),
		roleBinding("a", "joe", "Role", "pods", userSubject("joe")),
		roleBinding("b", "joe", "ClusterRole", "pods", userSubject("joe")),
		roleBinding("a", "team", "ClusterRole", "pods", rbacv1.Subject{Kind: "Group", Name: "team"}),
		roleBinding("a", "here", "ClusterRole", "pods", rbacv1.Subject{Kind: "ServiceAccount", Name: "bot"}),
		roleBinding("a", "there", "ClusterRole", "pods", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "b", Name: "far"}),
		roleBinding("a", "foreign", "ClusterRole", "pods", rbacv1.Subject{APIGroup: "other", Kind: "User", Name: "eve"}),
	)
	z := rbac.New(x)
	require.True(t, may(t, z, "jane", "get", "", "pods"))
	require.True(t, may(t, z, "jane", "get", "c", "pods"))
	require.False(t, may(t, z, "jane", "delete", "b", "pods"))
	require.True(t, may(t, z, "joe", "get", "a", "pods"))
	require.True(t, may(t, z, "joe", "get", "b", "pods"))
	require.False(t, may(t, z, "joe", "delete", "b", "pods"), "the Role of the same name was not bound")
	require.False(t, may(t, z, "joe", "get", "", "pods"), "all namespaces")
	require.False(t, may(t, z, "joe", "get", "c", "pods"))
	require.True(t, may(t, z, "x", "get", "a", "pods", "team"))
	require.False(t, may(t, z, "team", "get", "a", "pods"), "a user is no group")
	require.True(t, may(t, z, "system:serviceaccount:a:bot", "get", "a", "pods"))
	require.False(t, may(t, z, "system:serviceaccount:b:bot", "get", "a", "pods"))
	require.True(t, may(t, z, "system:serviceaccount:b:far", "get", "a", "pods"))
	require.False(t, may(t, z, "eve", "get", "a", "pods"))

	_, reason, err := z.Authorize(t.Context(), &apimachinery.Attributes{User: apimachinery.User{Name: "joe"}, Verb: "get", Namespace: "a", Resource: "pods"})
	require.NoError(t, err)
	require.Equal(t, `RBAC: allowed by RoleBinding "joe/a" of Role "pods" to User "joe"`, reason)

	require.NoError(t, x.Set(roleBinding("a", "joe", "Role", "pods", userSubject("jim"))))
	require.False(t, may(t, z, "joe", "get", "a", "pods"), "replaced")
	require.NoError(t, x.Delete(clusterBinding("jane", "pods")))
	require.False(t, may(t, z, "jane", "get", "", "pods"))
	require.NoError(t, x.Delete(role("a", "pods")))
	_, reason, err = z.Authorize(t.Context(), &apimachinery.Attributes{User: apimachinery.User{Name: "jim"}, Verb: "get", Namespace: "a", Resource: "pods"})
	require.NoError(t, err)
	require.Equal(t, `RBAC: role.rbac.authorization.k8s.io "pods" not found`, reason)
	require.Error(t, x.Set(&metav1.PartialObjectMetadata{}))
	require.Error(t, x.Delete(&metav1.PartialObjectMetadata{}))
}

func TestAggregation(t *testing.T) {
	labelled := func(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		r := clusterRole(name, rules...)
		r.Labels = map[string]string{label: "true"}
		return r
	}
	collects := func(name, by string) *rbacv1.ClusterRole {
		r := clusterRole(name, on(l{"old"}, l{""}, l{"rules"}))
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{by: "true"}}}}
		return r
	}
	view := collects("view", "to-view")
	view.Labels = map[string]string{"to-edit": "true", "to-view": "true"} // it selects itself, too
	x := index(t, collects("edit", "to-edit"), view, labelled("a", "to-view", on(l{"get"}, l{""}, l{"pods"})),
		clusterBinding("e", "edit", userSubject("ed")), clusterBinding("v", "view", userSubject("vi")))
	z := rbac.New(x)
	require.True(t, may(t, z, "ed", "get", "", "pods"), "through two levels")
	require.False(t, may(t, z, "ed", "old", "", "rules"), "what a role wrote itself is replaced")
	require.NoError(t, x.Set(labelled("b", "to-edit", on(l{"delete"}, l{""}, l{"pods"}))))
	require.True(t, may(t, z, "ed", "delete", "", "pods"))
	require.False(t, may(t, z, "vi", "delete", "", "pods"))
	require.NoError(t, x.Delete(clusterRole("a")))
	require.False(t, may(t, z, "ed", "get", "", "pods"))
	bad := collects("bad", "x")
	bad.AggregationRule.ClusterRoleSelectors[0].MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "x", Operator: "?"}}
	require.Error(t, x.Set(bad))
	rules, err := rbac.Aggregate(clusterRole("plain", on(l{"x"}, nil, nil)), nil)
	require.NoError(t, err)
	require.Equal(t, []rbacv1.PolicyRule{on(l{"x"}, nil, nil)}, rules)
}

func TestUnionAndMasters(t *testing.T) {
	answer := func(d apimachinery.Decision, reason string, err error) apimachinery.Authorizer {
		return apimachinery.AuthorizerFunc(func(context.Context, *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			return d, reason, err
		})
	}
	boom := errors.New("boom")
	d, reason, err := rbac.Union(answer(apimachinery.NoOpinion, "a", boom), answer(apimachinery.NoOpinion, "b", nil)).Authorize(t.Context(), &apimachinery.Attributes{})
	require.Equal(t, apimachinery.NoOpinion, d)
	require.Equal(t, "a\nb", reason)
	require.ErrorIs(t, err, boom)
	d, _, err = rbac.Union(answer(apimachinery.Deny, "no", nil), answer(apimachinery.Allow, "", nil)).Authorize(t.Context(), &apimachinery.Attributes{})
	require.NoError(t, err)
	require.Equal(t, apimachinery.Deny, d)
	d, _, _ = rbac.Union(answer(apimachinery.Allow, "", boom)).Authorize(t.Context(), &apimachinery.Attributes{})
	require.Equal(t, apimachinery.NoOpinion, d, "an error allows nothing")

	u := rbac.Union(rbac.Masters(), rbac.New(index(t, clusterRole("r", on(l{"get"}, l{""}, l{"pods"}), rbacv1.PolicyRule{Verbs: l{"get"}, NonResourceURLs: l{"/x"}}), clusterBinding("b", "r", userSubject("u")))))
	require.True(t, may(t, u, "x", "anything", "", "at", "system:masters"))
	require.False(t, may(t, u, "system:masters", "anything", "", "at"))
	resource, path, err := u.(apimachinery.Rules).RulesFor(t.Context(), apimachinery.User{Name: "u", Groups: l{"system:masters"}}, "ns")
	require.NoError(t, err)
	require.Len(t, resource, 2)
	require.Len(t, path, 2)
}

func TestServiceAccountUser(t *testing.T) {
	ns, name, ok := rbac.SplitServiceAccountUser(rbac.ServiceAccountUser("a", "b"))
	require.True(t, ok)
	require.Equal(t, "a/b", ns+"/"+name)
	for _, bad := range []string{"jane", "system:serviceaccount:a", "system:serviceaccount::b", "system:serviceaccount:a:b:c"} {
		_, _, ok := rbac.SplitServiceAccountUser(bad)
		require.False(t, ok, bad)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	x := index(b, rbac.Bootstrap()...)
	for i := range 1000 {
		ns := string(rune('a' + i%26))
		require.NoError(b, x.Set(roleBinding(ns, string(rune(i)), "ClusterRole", "edit", userSubject(string(rune(i))))))
	}
	z := rbac.New(x)
	for _, c := range []struct {
		name string
		a    apimachinery.Attributes
	}{
		{"scheduler", apimachinery.Attributes{User: apimachinery.User{Name: rbac.SchedulerUser, Groups: l{rbac.AuthenticatedGroup}}, Verb: "create", Resource: "pods", Sub: "binding", Namespace: "a"}},
		{"editor", apimachinery.Attributes{User: apimachinery.User{Name: string(rune(26)), Groups: l{rbac.AuthenticatedGroup}}, Verb: "update", Group: "networking.k8s.io", Resource: "ingresses", Namespace: "a"}},
		{"refused", apimachinery.Attributes{User: apimachinery.User{Name: "nobody", Groups: l{rbac.AuthenticatedGroup}}, Verb: "get", Resource: "secrets", Namespace: "a"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := z.Authorize(b.Context(), &c.a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
