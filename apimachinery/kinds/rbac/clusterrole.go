package rbac

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ClusterRoles declares ClusterRole.
func ClusterRoles() apimachinery.Resource {
	r := resource("clusterroles", "ClusterRole", false, func() apimachinery.Object { return &rbacv1.ClusterRole{} })
	r.Views[0].Columns = roleColumns()
	r.Validate = func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
		c := new.(*rbacv1.ClusterRole)
		return append(validateRules(c.Rules, false), validateAggregation(c.AggregationRule)...)
	}
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
		errs = append(errs, metav1validation.ValidateLabelSelector(&a.ClusterRoleSelectors[i], metav1validation.LabelSelectorValidationOptions{}, path.Index(i))...)
	}
	return errs
}
