package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// RoleBindings declares RoleBinding. Its roleRef can't be changed.
func RoleBindings() apimachinery.Resource {
	r := resource("rolebindings", "RoleBinding", true, func() apimachinery.Object { return &rbacv1.RoleBinding{} })
	of := func(o apimachinery.Object) (*rbacv1.RoleRef, []rbacv1.Subject) {
		b := o.(*rbacv1.RoleBinding)
		return &b.RoleRef, b.Subjects
	}
	binding(&r, of, "Role", "ClusterRole")
	return r
}

// binding fills in what both kinds of bindings share; kinds are those that they may refer to.
func binding(r *apimachinery.Resource, of func(apimachinery.Object) (*rbacv1.RoleRef, []rbacv1.Subject), kinds ...string) {
	r.Default = func(o apimachinery.Object) {
		ref, subjects := of(o)
		defaultBinding(ref, subjects)
	}
	r.Validate = validating(func(new, old apimachinery.Object) field.ErrorList {
		ref, subjects := of(new)
		errs := append(validateRef(ref, kinds), validateSubjects(subjects, r.Namespaced)...)
		if old == nil {
			return errs
		}
		if before, _ := of(old); *before != *ref {
			errs = append(errs, field.Invalid(field.NewPath("roleRef"), *ref, "cannot change roleRef"))
		}
		return errs
	})
	r.Views[0].Columns = bindingColumns(of)
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

func validateRef(ref *rbacv1.RoleRef, kinds []string) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	known := false
	for _, k := range kinds {
		known = known || ref.Kind == k
	}
	if !known {
		errs = append(errs, field.NotSupported(at.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		return append(errs, field.Required(at.Child("name"), ""))
	}
	for _, msg := range path.ValidatePathSegmentName(ref.Name, false) {
		errs = append(errs, field.Invalid(at.Child("name"), ref.Name, msg))
	}
	return errs
}

func validateSubjects(subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range subjects {
		errs = append(errs, validateSubject(&subjects[i], namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

func validateSubject(s *rbacv1.Subject, namespaced bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	group := rbacv1.GroupName
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		group = ""
		if s.Name != "" {
			for _, msg := range validation.ValidateServiceAccountName(s.Name, false) {
				errs = append(errs, field.Invalid(at.Child("name"), s.Name, msg))
			}
		}
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
	default:
		return append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	if s.APIGroup != group {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
	}
	return errs
}

func bindingColumns(of func(apimachinery.Object) (*rbacv1.RoleRef, []rbacv1.Subject)) []apimachinery.Column {
	subjects := func(kind string) func(apimachinery.Object) any {
		return func(o apimachinery.Object) any {
			_, all := of(o)
			var names []string
			for _, s := range all {
				switch {
				case s.Kind != kind:
				case kind == rbacv1.ServiceAccountKind:
					names = append(names, s.Namespace+"/"+s.Name)
				default:
					names = append(names, s.Name)
				}
			}
			return strings.Join(names, ", ")
		}
	}
	role := func(o apimachinery.Object) any {
		ref, _ := of(o)
		return ref.Kind + "/" + ref.Name
	}
	return []apimachinery.Column{
		apimachinery.NameColumn(), text("Role", "", 0, role), apimachinery.AgeColumn(),
		text("Users", "", 1, subjects(rbacv1.UserKind)), text("Groups", "", 1, subjects(rbacv1.GroupKind)),
		text("ServiceAccounts", "", 1, subjects(rbacv1.ServiceAccountKind)),
	}
}
