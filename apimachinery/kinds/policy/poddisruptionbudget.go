package policy

import (
	"context"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// PodDisruptionBudgets declares policy/v1 PodDisruptionBudget.
func PodDisruptionBudgets() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &policyv1.PodDisruptionBudget{} },
		Views: []apimachinery.View{{
			GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
			Plural:           "poddisruptionbudgets", Short: []string{"pdb"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Min Available", "string", func(b *policyv1.PodDisruptionBudget) any { return shareText(b.Spec.MinAvailable) }),
				apimachinery.ColumnOf("Max Unavailable", "string", func(b *policyv1.PodDisruptionBudget) any { return shareText(b.Spec.MaxUnavailable) }),
				apimachinery.ColumnOf("Allowed Disruptions", "integer", func(b *policyv1.PodDisruptionBudget) any { return int64(b.Status.DisruptionsAllowed) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) { stripSelector(o.(*policyv1.PodDisruptionBudget).Spec.Selector) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepare(new, old) },
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			return validate(&new.(*policyv1.PodDisruptionBudget).Spec, field.NewPath("spec"))
		},
		Conditional: true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*policyv1.PodDisruptionBudget), old.(*policyv1.PodDisruptionBudget)
						n.Spec, n.Generation = o.Spec, o.Generation
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return validateStatus(&new.(*policyv1.PodDisruptionBudget).Status, field.NewPath("status"))
					},
				},
			},
		},
	}
}

func shareText(n *intstr.IntOrString) string {
	if n == nil {
		return "N/A"
	}
	return n.String()
}

// matchNothing is the label by which selectors of v1beta1, where an empty one selected nothing, still say so.
const matchNothing = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

// stripSelector takes that label out of a selector which has anything else.
func stripSelector(s *metav1.LabelSelector) {
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 1 &&
		s.MatchExpressions[0].Operator == metav1.LabelSelectorOpExists && len(s.MatchExpressions[0].Values) == 0 {
		return
	}
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == matchNothing })
}

var sameSpec = same.Func[policyv1.PodDisruptionBudgetSpec]()

func prepare(new, old apimachinery.Object) {
	n := new.(*policyv1.PodDisruptionBudget)
	if old == nil {
		n.Status, n.Generation = policyv1.PodDisruptionBudgetStatus{}, 1
		return
	}
	o := old.(*policyv1.PodDisruptionBudget)
	n.Status, n.Generation = o.Status, o.Generation
	if !sameSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

func validate(s *policyv1.PodDisruptionBudgetSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, *s, "minAvailable and maxUnavailable cannot be both set"))
	}
	share := func(n *intstr.IntOrString, at *field.Path) {
		if n != nil {
			errs = append(errs, core.ValidateShare(n, at)...)
			errs = append(errs, core.ValidateAtMostAll(n, at)...)
		}
	}
	share(s.MinAvailable, path.Child("minAvailable"))
	share(s.MaxUnavailable, path.Child("maxUnavailable"))
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	supported := []policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}
	if p := s.UnhealthyPodEvictionPolicy; p != nil && !slices.Contains(supported, *p) {
		errs = append(errs, field.NotSupported(path.Child("unhealthyPodEvictionPolicy"), *p, supported))
	}
	return errs
}

func validateStatus(s *policyv1.PodDisruptionBudgetStatus, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))
	errs = append(errs, validation.ValidateNonnegativeField(int64(s.DisruptionsAllowed), path.Child("disruptionsAllowed"))...)
	errs = append(errs, validation.ValidateNonnegativeField(int64(s.CurrentHealthy), path.Child("currentHealthy"))...)
	errs = append(errs, validation.ValidateNonnegativeField(int64(s.DesiredHealthy), path.Child("desiredHealthy"))...)
	return append(errs, validation.ValidateNonnegativeField(int64(s.ExpectedPods), path.Child("expectedPods"))...)
}
