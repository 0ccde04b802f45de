package rbac_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bedplate/bedplate/apimachinery"
	kinds "github.com/bedplate/bedplate/apimachinery/kinds/rbac"
	"github.com/bedplate/bedplate/rbac"
)

func TestBootstrapIsValid(t *testing.T) {
	reg, err := apimachinery.NewRegistry(kinds.Resources()...)
	require.NoError(t, err)
	seen := map[string]bool{}
	roles := map[string]bool{}
	for _, o := range rbac.Bootstrap() {
		f, ok := reg.ForType(o)
		require.True(t, ok)
		key := f.View.Kind + " " + apimachinery.KeyOf(o)
		require.False(t, seen[key], "twice: "+key)
		seen[key] = true
		if f.Resource.Default != nil {
			f.Resource.Default(o)
		}
		require.Empty(t, f.Resource.Validate(t.Context(), o, nil), key)
		require.Equal(t, "true", o.GetAnnotations()["rbac.authorization.kubernetes.io/autoupdate"])
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			roles[o.Name] = true
			require.NotEmpty(t, o.Rules, key)
		case *rbacv1.ClusterRoleBinding:
			require.True(t, roles[o.RoleRef.Name], key)
		}
	}
}

func TestBootstrapPolicy(t *testing.T) {
	x := index(t, rbac.Bootstrap()...)
	for _, name := range []string{"admin", "edit", "view"} {
		require.NoError(t, x.Set(roleBinding("ns", name, "ClusterRole", name, userSubject(name))))
	}
	z := rbac.New(x)
	for _, c := range []struct {
		who, what string // "verb group/resource/sub [namespace]"
		want      bool
	}{
		{"admin", "create rbac.authorization.k8s.io/roles ns", true},
		{"admin", "create rbac.authorization.k8s.io/clusterroles", false},
		{"admin", "create apps/deployments ns", true},
		{"admin", "delete /namespaces ns", false},
		{"edit", "create /pods/exec ns", true},
		{"edit", "get /secrets ns", true},
		{"edit", "create rbac.authorization.k8s.io/roles ns", false},
		{"view", "list /pods ns", true},
		{"view", "get /secrets ns", false},
		{"view", "get /pods/exec ns", false},
		{"view", "create /pods ns", false},
		{"view", "list /pods other", false},
		{rbac.SchedulerUser, "create /pods/binding ns", true},
		{rbac.SchedulerUser, "get /secrets ns", false},
		{rbac.SchedulerUser, "create /pods ns", false},
		{rbac.ControllerUser("replicaset-controller"), "create /pods ns", true},
		{rbac.ControllerUser("replicaset-controller"), "get /secrets ns", false},
		{rbac.ControllerUser("deployment-controller"), "create /pods ns", false},
		{rbac.ControllerUser("deployment-controller"), "create apps/replicasets ns", true},
		{rbac.ControllerUser("namespace-controller"), "deletecollection example.org/widgets ns", true},
		{rbac.ControllerUser("namespace-controller"), "create /pods ns", false},
		{rbac.ControllerUser("generic-garbage-collector"), "delete example.org/widgets ns", true},
		{"anybody", "create authorization.k8s.io/selfsubjectaccessreviews", true},
		{"anybody", "get /pods ns", false},
	} {
		t.Run(c.who+" "+c.what, func(t *testing.T) {
			words := strings.Fields(c.what + " ")
			gr := strings.Split(words[1]+"/", "/")
			a := &apimachinery.Attributes{User: apimachinery.User{Name: c.who, Groups: l{rbac.AuthenticatedGroup}}, Verb: words[0], Group: gr[0], Resource: gr[1], Sub: gr[2]}
			if len(words) > 2 {
				a.Namespace = words[2]
			}
			d, _, err := z.Authorize(t.Context(), a)
			require.NoError(t, err)
			require.Equal(t, c.want, d == apimachinery.Allow)
		})
	}
}

// TestAnonymousReachesHealthAlone: FAILURES 36.
func TestAnonymousReachesHealthAlone(t *testing.T) {
	z := rbac.New(index(t, rbac.Bootstrap()...))
	anonymous := apimachinery.User{Name: "system:anonymous", Groups: l{rbac.UnauthenticatedGroup}}
	for path, want := range map[string]bool{
		"/healthz": true, "/livez": true, "/readyz": true, "/version": true,
		"/api": false, "/apis": false, "/metrics": false, "/openapi/v3": false, "/livez/etcd": false, "/": false,
	} {
		d, _, err := z.Authorize(t.Context(), &apimachinery.Attributes{User: anonymous, Verb: "get", Path: path})
		require.NoError(t, err)
		require.Equal(t, want, d == apimachinery.Allow, path)
	}
	resource, _, err := z.RulesFor(t.Context(), anonymous, "default")
	require.NoError(t, err)
	require.Empty(t, resource)
}
