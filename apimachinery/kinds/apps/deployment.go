package apps

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// Deployments declares apps/v1 Deployment.
func Deployments() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: appsv1.GroupName, Resource: "deployments"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &appsv1.Deployment{} },
		Views: []apimachinery.View{{
			GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"),
			Plural:           "deployments", Short: []string{"deploy"}, Category: []string{"all"},
			Columns: framed(func(d *appsv1.Deployment) (*corev1.PodSpec, *metav1.LabelSelector) {
				return &d.Spec.Template.Spec, d.Spec.Selector
			}, selectorText,
				apimachinery.ColumnOf("Ready", "string", func(d *appsv1.Deployment) any {
					return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, count(d.Spec.Replicas))
				}),
				apimachinery.ColumnOf("Up-to-date", "string", func(d *appsv1.Deployment) any { return int64(d.Status.UpdatedReplicas) }),
				apimachinery.ColumnOf("Available", "string", func(d *appsv1.Deployment) any { return int64(d.Status.AvailableReplicas) }),
			),
		}},
		Default: func(o apimachinery.Object) { defaultDeployment(&o.(*appsv1.Deployment).Spec) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareDeployment(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*appsv1.Deployment)
			errs := append(core.ValidateFinalizers(n), validateDeployment(&n.Spec)...)
			if old != nil {
				errs = append(errs, validation.ValidateImmutableField(n.Spec.Selector, old.(*appsv1.Deployment).Spec.Selector, spec.Child("selector"))...)
			}
			return errs
		},
		Warnings: templateWarnings(func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*appsv1.Deployment), old.(*appsv1.Deployment)
						n.Spec, n.Generation, n.Labels = o.Spec, o.Generation, o.Labels
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						errs := core.ValidateFinalizers(new)
						return append(errs, validateDeploymentStatus(&new.(*appsv1.Deployment).Status, &old.(*appsv1.Deployment).Status)...)
					},
				},
			},
			"scale": scale(func(d *appsv1.Deployment) scaled {
				return scaled{d.Spec.Replicas, d.Spec.Selector, d.Status.Replicas}
			}, func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n }),
		},
	}
}

func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return selector.String()
}

func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func defaultDeployment(s *appsv1.DeploymentSpec) {
	core.DefaultTo(&s.Replicas, 1)
	core.DefaultTo(&s.RevisionHistoryLimit, 10)
	core.DefaultTo(&s.ProgressDeadlineSeconds, 600)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		core.DefaultTo(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		core.DefaultTo(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		core.DefaultTo(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	core.DefaultPodTemplate(&s.Template)
}

var sameDeploymentSpec = same.Func[appsv1.DeploymentSpec]()

// prepareDeployment counts the generation, which changes of the annotations move too: the revision is one.
func prepareDeployment(new, old apimachinery.Object) {
	n := new.(*appsv1.Deployment)
	if old == nil {
		n.Status, n.Generation = appsv1.DeploymentStatus{}, 1
		core.PrepareTemplate(&n.Spec.Template, nil)
		return
	}
	o := old.(*appsv1.Deployment)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&n.Spec.Template, &o.Spec.Template)
	if !sameDeploymentSpec(&n.Spec, &o.Spec) || !maps.Equal(n.Annotations, o.Annotations) {
		n.Generation++
	}
}

func validateDeployment(s *appsv1.DeploymentSpec) field.ErrorList {
	errs := notNegative(int64(count(s.Replicas)), spec.Child("replicas"))
	errs = append(errs, validateSelected(s.Selector, &s.Template, "deployment")...)
	errs = append(errs, validateStrategy(&s.Strategy, spec.Child("strategy"))...)
	errs = append(errs, notNegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, notNegative(int64(*s.RevisionHistoryLimit), spec.Child("revisionHistoryLimit"))...)
	}
	if s.ProgressDeadlineSeconds != nil {
		path := spec.Child("progressDeadlineSeconds")
		errs = append(errs, notNegative(int64(*s.ProgressDeadlineSeconds), path)...)
		if *s.ProgressDeadlineSeconds <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(path, *s.ProgressDeadlineSeconds, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, *s, []appsv1.DeploymentStrategyType{
		appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType,
	})}
}

func validateRolling(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	unavailable, surge := path.Child("maxUnavailable"), path.Child("maxSurge")
	errs := core.ValidateShare(r.MaxUnavailable, unavailable)
	errs = append(errs, core.ValidateShare(r.MaxSurge, surge)...)
	if r.MaxUnavailable == nil || r.MaxSurge == nil {
		return errs
	}
	if core.ShareOf(r.MaxUnavailable) == 0 && core.ShareOf(r.MaxSurge) == 0 {
		errs = append(errs, field.Invalid(unavailable, r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, core.ValidateAtMostAll(r.MaxUnavailable, unavailable)...)
}

func validateDeploymentStatus(n, o *appsv1.DeploymentStatus) field.ErrorList {
	errs := notNegative(n.ObservedGeneration, status.Child("observedGeneration"))
	errs = append(errs, notNegative(int64(n.Replicas), status.Child("replicas"))...)
	errs = append(errs, atMost(n.UpdatedReplicas, n.Replicas, status.Child("updatedReplicas"), "status.replicas")...)
	errs = append(errs, atMost(n.ReadyReplicas, n.Replicas, status.Child("readyReplicas"), "status.replicas")...)
	errs = append(errs, atMost(n.AvailableReplicas, n.Replicas, status.Child("availableReplicas"), "status.replicas")...)
	if n.AvailableReplicas > n.ReadyReplicas {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), n.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	errs = append(errs, notNegative(int64(n.UnavailableReplicas), status.Child("unavailableReplicas"))...)
	if n.TerminatingReplicas != nil {
		errs = append(errs, notNegative(int64(*n.TerminatingReplicas), status.Child("terminatingReplicas"))...)
	}
	return append(errs, validateCollisions(n.CollisionCount, o.CollisionCount)...)
}

// validateCollisions judges the count of collisions of hashes, which only grows.
func validateCollisions(n, o *int32) field.ErrorList {
	path := status.Child("collisionCount")
	var errs field.ErrorList
	if n != nil {
		errs = append(errs, notNegative(int64(*n), path)...)
	}
	if o != nil && (n == nil || *n < *o) {
		errs = append(errs, field.Invalid(path, value(n), "cannot be decremented"))
	}
	return errs
}

func value(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}
