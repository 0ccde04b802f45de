package rbac_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
)

func TestRegistered(t *testing.T) {
	reg, err := apimachinery.NewRegistry(rbac.Resources()...)
	require.NoError(t, err)
	require.Len(t, reg.All(), 4)
	for _, r := range reg.All() {
		require.Empty(t, r.ValidName("system:controller:x", false))
		require.NotEmpty(t, r.ValidName("a/b", false))
	}
}

func TestRules(t *testing.T) {
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	urls := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}
	both := pods
	both.NonResourceURLs = urls.NonResourceURLs
	for _, c := range []struct {
		name          string
		rule          rbacv1.PolicyRule
		role, cluster string
	}{
		{"pods", pods, "", ""},
		{"urls", urls, "rules[0].nonResourceURLs", ""},
		{"both", both, "rules[0].nonResourceURLs rules[0].nonResourceURLs", "rules[0].nonResourceURLs"},
		{"nothing", rbacv1.PolicyRule{}, "rules[0].verbs rules[0].apiGroups rules[0].resources", "rules[0].verbs rules[0].apiGroups rules[0].resources"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := []rbacv1.PolicyRule{c.rule}
			require.Equal(t, c.role, fields(t, rbac.Roles(), &rbacv1.Role{Rules: rules}, nil))
			require.Equal(t, c.cluster, fields(t, rbac.ClusterRoles(), &rbacv1.ClusterRole{Rules: rules}, nil))
		})
	}
	require.Equal(t, "aggregationRule.clusterRoleSelectors", fields(t, rbac.ClusterRoles(), &rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{}}, nil))
	bad := &rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a b": ""}}}}}
	require.NotEmpty(t, fields(t, rbac.ClusterRoles(), bad, nil))
}

func fields(t *testing.T, r apimachinery.Resource, new, old apimachinery.Object) string {
	if r.Default != nil {
		r.Default(new)
	}
	out := ""
	for _, e := range r.Validate(t.Context(), new, old) {
		if out != "" {
			out += " "
		}
		out += e.Field
	}
	return out
}

func TestBindings(t *testing.T) {
	ref := rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}
	for _, c := range []struct {
		name          string
		ref           rbacv1.RoleRef
		subject       rbacv1.Subject
		role, cluster string
	}{
		{"user", ref, rbacv1.Subject{Kind: "User", Name: "jane doe"}, "", ""},
		{"group of another API", ref, rbacv1.Subject{Kind: "Group", Name: "g", APIGroup: "x"}, "subjects[0].apiGroup", "subjects[0].apiGroup"},
		{"service account", ref, rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "ns"}, "", ""},
		{"service account here", ref, rbacv1.Subject{Kind: "ServiceAccount", Name: "s"}, "", "subjects[0].namespace"},
		{"bad service account", ref, rbacv1.Subject{Kind: "ServiceAccount", Name: "S", Namespace: "ns", APIGroup: "x"}, "subjects[0].name subjects[0].apiGroup", "subjects[0].name subjects[0].apiGroup"},
		{"robot", ref, rbacv1.Subject{Kind: "Robot", Name: "r"}, "subjects[0].kind", "subjects[0].kind"},
		{"role", rbacv1.RoleRef{Kind: "Role", Name: "r"}, rbacv1.Subject{Kind: "User", Name: "u"}, "", "roleRef.kind"},
		{"no role", rbacv1.RoleRef{Kind: "X", APIGroup: "y"}, rbacv1.Subject{Kind: "User"}, "roleRef.apiGroup roleRef.kind roleRef.name subjects[0].name", "roleRef.apiGroup roleRef.kind roleRef.name subjects[0].name"},
		{"path", rbacv1.RoleRef{Kind: "ClusterRole", Name: "a/b"}, rbacv1.Subject{Kind: "User", Name: "u"}, "roleRef.name", "roleRef.name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.role, fields(t, rbac.RoleBindings(), &rbacv1.RoleBinding{RoleRef: c.ref, Subjects: []rbacv1.Subject{c.subject}}, nil))
			require.Equal(t, c.cluster, fields(t, rbac.ClusterRoleBindings(), &rbacv1.ClusterRoleBinding{RoleRef: c.ref, Subjects: []rbacv1.Subject{c.subject}}, nil))
		})
	}
}

func TestRoleRefIsFixed(t *testing.T) {
	old := &rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	require.Empty(t, fields(t, rbac.RoleBindings(), old.DeepCopy(), old))
	new := old.DeepCopy()
	new.RoleRef.Name = "admin"
	require.Equal(t, "roleRef", fields(t, rbac.RoleBindings(), new, old))
}

func TestColumns(t *testing.T) {
	b := &rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}, Subjects: []rbacv1.Subject{
		{Kind: "User", Name: "a"}, {Kind: "User", Name: "b"}, {Kind: "Group", Name: "g"}, {Kind: "ServiceAccount", Name: "s", Namespace: "n"},
	}}
	b.Name = "x"
	var cells []any
	for _, c := range rbac.RoleBindings().Views[0].Columns {
		cells = append(cells, c.Cell(b))
	}
	require.Equal(t, []any{"x", "Role/r", "<unknown>", "a, b", "g", "n/s"}, cells)
	require.Equal(t, "date", rbac.Roles().Views[0].Columns[1].Type)
}

func ExampleResources() {
	for _, r := range rbac.Resources() {
		fmt.Println(r.Name, r.Namespaced)
	}
	// Output:
	// clusterroles.rbac.authorization.k8s.io false
	// clusterrolebindings.rbac.authorization.k8s.io false
	// roles.rbac.authorization.k8s.io true
	// rolebindings.rbac.authorization.k8s.io true
}
