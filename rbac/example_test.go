package rbac_test

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
)

// Roles and bindings go into an Index, whoever stores them; an authorizer decides by it.
func Example() {
	var index rbac.Index
	for _, o := range append(rbac.Bootstrap(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "readers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}},
	}) {
		if err := index.Set(o); err != nil {
			fmt.Println(err)
			return
		}
	}
	z := rbac.Union(rbac.Masters(), rbac.New(&index))
	for _, verb := range []string{"list", "delete"} {
		decision, reason, err := z.Authorize(context.Background(), &apimachinery.Attributes{
			User: apimachinery.User{Name: "jane"}, Verb: verb, Resource: "pods", Namespace: "team",
		})
		fmt.Println(verb, decision == apimachinery.Allow, reason, err)
	}
	// Output:
	// list true RBAC: allowed by RoleBinding "readers/team" of ClusterRole "view" to User "jane" <nil>
	// delete false  <nil>
}
