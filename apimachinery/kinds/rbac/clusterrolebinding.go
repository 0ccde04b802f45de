package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// ClusterRoleBindings declares ClusterRoleBinding. Its roleRef can't be changed.
func ClusterRoleBindings() apimachinery.Resource {
	r := resource("clusterrolebindings", "ClusterRoleBinding", false, func() apimachinery.Object { return &rbacv1.ClusterRoleBinding{} })
	of := func(o apimachinery.Object) (*rbacv1.RoleRef, []rbacv1.Subject) {
		b := o.(*rbacv1.ClusterRoleBinding)
		return &b.RoleRef, b.Subjects
	}
	binding(&r, of, "ClusterRole")
	return r
}
