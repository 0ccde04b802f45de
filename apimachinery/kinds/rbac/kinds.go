// Package rbac declares the kinds of rbac.authorization.k8s.io/v1: Role, ClusterRole, RoleBinding and
// ClusterRoleBinding, one file each, as Kubernetes v1.37 has them. What they allow is decided by the project's
// package rbac; that nobody grants more than they have is checked there too (rbac.NoEscalation).
package rbac

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{ClusterRoles(), ClusterRoleBindings(), Roles(), RoleBindings()}
}

// resource fills in what the four kinds share. Names are whatever fits into one segment of a path.
func resource(plural, kind string, namespaced bool, make func() apimachinery.Object) apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Group: rbacv1.GroupName, Resource: plural}, Prefix: plural, Namespaced: namespaced, New: make,
		Views:     []apimachinery.View{{GroupVersionKind: rbacv1.SchemeGroupVersion.WithKind(kind), Plural: plural}},
		ValidName: path.ValidatePathSegmentName,
	}
}

// validating judges finalizers, as all built-in kinds do, beside what a kind judges itself.
func validating(own func(new, old apimachinery.Object) field.ErrorList) func(context.Context, apimachinery.Object, apimachinery.Object) field.ErrorList {
	return func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		return append(core.ValidateFinalizers(new), own(new, old)...)
	}
}

func text(name, format string, priority int32, cell func(apimachinery.Object) any) apimachinery.Column {
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: "string", Format: format, Priority: priority},
		Cell:                  cell,
	}
}

func roleColumns() []apimachinery.Column {
	created := text("Created At", "", 0, func(o apimachinery.Object) any {
		return o.GetCreationTimestamp().UTC().Format(time.RFC3339)
	})
	created.Type = "date"
	return []apimachinery.Column{apimachinery.NameColumn(), created}
}
