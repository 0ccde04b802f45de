package apps

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ReplicaSets declares apps/v1 ReplicaSet.
func ReplicaSets() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: appsv1.GroupName, Resource: "replicasets"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &appsv1.ReplicaSet{} },
		Views: []apimachinery.View{{
			GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
			Plural:           "replicasets", Short: []string{"rs"}, Category: []string{"all"},
			Columns: framed(func(r *appsv1.ReplicaSet) (*corev1.PodSpec, *metav1.LabelSelector) {
				return &r.Spec.Template.Spec, r.Spec.Selector
			}, metav1.FormatLabelSelector,
				apimachinery.ColumnOf("Desired", "integer", func(r *appsv1.ReplicaSet) any { return int64(count(r.Spec.Replicas)) }),
				apimachinery.ColumnOf("Current", "integer", func(r *appsv1.ReplicaSet) any { return int64(r.Status.Replicas) }),
				apimachinery.ColumnOf("Ready", "integer", func(r *appsv1.ReplicaSet) any { return int64(r.Status.ReadyReplicas) }),
			),
			Fields: []apimachinery.Field{{Name: "status.replicas", Default: "0"}},
		}},
		Default: func(o apimachinery.Object) {
			s := &o.(*appsv1.ReplicaSet).Spec
			core.DefaultTo(&s.Replicas, 1)
			core.DefaultPodTemplate(&s.Template)
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareReplicaSet(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*appsv1.ReplicaSet)
			errs := append(core.ValidateFinalizers(n), notNegative(int64(count(n.Spec.Replicas)), spec.Child("replicas"))...)
			errs = append(errs, notNegative(int64(n.Spec.MinReadySeconds), spec.Child("minReadySeconds"))...)
			errs = append(errs, validateSelected(n.Spec.Selector, &n.Spec.Template, "replicaset")...)
			if old != nil {
				errs = append(errs, validation.ValidateImmutableField(n.Spec.Selector, old.(*appsv1.ReplicaSet).Spec.Selector, spec.Child("selector"))...)
			}
			return errs
		},
		Warnings: templateWarnings(func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*appsv1.ReplicaSet), old.(*appsv1.ReplicaSet)
						n.Spec, n.Generation = o.Spec, o.Generation
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						return append(core.ValidateFinalizers(new), validateReplicaSetStatus(&new.(*appsv1.ReplicaSet).Status)...)
					},
				},
			},
			"scale": scale(func(r *appsv1.ReplicaSet) scaled {
				return scaled{r.Spec.Replicas, r.Spec.Selector, r.Status.Replicas}
			}, func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n }),
		},
	}
}

var sameReplicaSetSpec = same.Func[appsv1.ReplicaSetSpec]()

func prepareReplicaSet(new, old apimachinery.Object) {
	n := new.(*appsv1.ReplicaSet)
	if old == nil {
		n.Status, n.Generation = appsv1.ReplicaSetStatus{}, 1
		core.PrepareTemplate(&n.Spec.Template, nil)
		return
	}
	o := old.(*appsv1.ReplicaSet)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&n.Spec.Template, &o.Spec.Template)
	if !sameReplicaSetSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

func validateReplicaSetStatus(s *appsv1.ReplicaSetStatus) field.ErrorList {
	errs := notNegative(int64(s.Replicas), status.Child("replicas"))
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, status.Child("fullyLabeledReplicas"), "status.replicas")...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, status.Child("readyReplicas"), "status.replicas")...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, status.Child("availableReplicas"), "status.replicas")...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	if s.TerminatingReplicas != nil {
		errs = append(errs, notNegative(int64(*s.TerminatingReplicas), status.Child("terminatingReplicas"))...)
	}
	return append(errs, notNegative(s.ObservedGeneration, status.Child("observedGeneration"))...)
}
