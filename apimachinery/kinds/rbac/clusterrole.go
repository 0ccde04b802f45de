package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ClusterRoles declares ClusterRole.
func ClusterRoles() apimachinery.Resource {
	r := resource("clusterroles", "ClusterRole", false, func() apimachinery.Object { return &rbacv1.ClusterRole{} })
	r.Views[0].Columns = roleColumns()
	r.Validate = validating(func(new, _ apimachinery.Object) field.ErrorList {
		c := new.(*rbacv1.ClusterRole)
		return append(validateRules(c.Rules, false), validateAggregation(c.AggregationRule)...)
	})
	return r
}

func validateAggregation(a *rbacv1.AggregationRule) field.ErrorList {
	if a == nil {
		return nil
	}
	path := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(a.ClusterRoleSelectors) == 0 {
		return field.ErrorList{field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")}
	}
	var errs field.ErrorList
	for i := range a.ClusterRoleSelectors {
		s, at := &a.ClusterRoleSelectors[i], path.Index(i)
		errs = append(errs, metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)...)
		if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
			errs = append(errs, field.Invalid(at, nil, "invalid label selector"))
		}
	}
	return errs
}
