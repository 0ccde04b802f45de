package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// StatefulSets declares apps/v1 StatefulSet.
func StatefulSets() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: appsv1.GroupName, Resource: "statefulsets"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &appsv1.StatefulSet{} },
		Views: []apimachinery.View{{
			GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
			Plural:           "statefulsets", Short: []string{"sts"}, Category: []string{"all"},
			Columns: append([]apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Ready", "string", func(s *appsv1.StatefulSet) any {
					return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, count(s.Spec.Replicas))
				}),
				apimachinery.AgeColumn(),
			}, core.ContainerColumns(func(s *appsv1.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec })...),
		}},
		ValidName: validation.NameIsDNSLabel,
		Default:   func(o apimachinery.Object) { defaultStatefulSet(&o.(*appsv1.StatefulSet).Spec) },
		Prepare:   func(_ context.Context, new, old apimachinery.Object) { prepareStatefulSet(new, old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*appsv1.StatefulSet)
			if old == nil {
				return append(core.ValidateFinalizers(n), validateNewStatefulSet(&n.Spec)...)
			}
			return append(core.ValidateFinalizers(n), validateStatefulSetUpdate(&n.Spec, &old.(*appsv1.StatefulSet).Spec)...)
		},
		Warnings: func(new, old apimachinery.Object) []string {
			template := templateWarnings(func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
			return append(template(new, old), statefulSetWarnings(new.(*appsv1.StatefulSet), old)...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(*appsv1.StatefulSet), old.(*appsv1.StatefulSet)
						n.Spec, n.Generation = o.Spec, o.Generation
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						errs := core.ValidateFinalizers(new)
						return append(errs, validateStatefulSetStatus(&new.(*appsv1.StatefulSet).Status, &old.(*appsv1.StatefulSet).Status)...)
					},
				},
			},
			"scale": scale(func(s *appsv1.StatefulSet) scaled {
				return scaled{s.Spec.Replicas, s.Spec.Selector, s.Status.Replicas}
			}, func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n }),
		},
	}
}

func defaultStatefulSet(s *appsv1.StatefulSetSpec) {
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	u := &s.UpdateStrategy
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		core.DefaultTo(&u.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u.RollingUpdate != nil {
		core.DefaultTo(&u.RollingUpdate.Partition, 0)
		if u.Type == appsv1.RollingUpdateStatefulSetStrategyType {
			core.DefaultTo(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		}
	}
	core.DefaultTo(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	for _, p := range []*appsv1.PersistentVolumeClaimRetentionPolicyType{&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, &s.PersistentVolumeClaimRetentionPolicy.WhenScaled} {
		if *p == "" {
			*p = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
		}
	}
	core.DefaultTo(&s.Replicas, 1)
	core.DefaultTo(&s.RevisionHistoryLimit, 10)
	core.DefaultPodTemplate(&s.Template)
	for i := range s.VolumeClaimTemplates {
		core.DefaultTemplateOfClaim(&s.VolumeClaimTemplates[i])
	}
}

var sameStatefulSetSpec = same.Func[appsv1.StatefulSetSpec]()

func prepareStatefulSet(new, old apimachinery.Object) {
	n := new.(*appsv1.StatefulSet)
	if old == nil {
		n.Status, n.Generation = appsv1.StatefulSetStatus{}, 1
		core.PrepareTemplate(&n.Spec.Template, nil)
		return
	}
	o := old.(*appsv1.StatefulSet)
	n.Status, n.Generation = o.Status, o.Generation
	core.PrepareTemplate(&n.Spec.Template, &o.Spec.Template)
	if !sameStatefulSetSpec(&n.Spec, &o.Spec) {
		n.Generation++
	}
}

func statefulSetWarnings(n *appsv1.StatefulSet, old apimachinery.Object) []string {
	path := spec.Child("volumeClaimTemplates")
	var out []string
	for i := range n.Spec.VolumeClaimTemplates {
		at := path.Index(i)
		if old != nil {
			at = at.Child("Spec") // as Kubernetes words it
		}
		r := n.Spec.VolumeClaimTemplates[i].Spec.Resources
		out = append(out, fractional(r.Requests, at.Child("resources", "requests"))...)
		out = append(out, fractional(r.Limits, at.Child("resources", "limits"))...)
	}
	if limit := n.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}

func fractional(list corev1.ResourceList, path *field.Path) []string {
	if q := list[corev1.ResourceStorage]; q.MilliValue()%1000 != 0 {
		return []string{fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Key(string(corev1.ResourceStorage)), q.String())}
	}
	return nil
}

func validateStatefulSetStatus(n, o *appsv1.StatefulSetStatus) field.ErrorList {
	errs := notNegative(int64(n.Replicas), status.Child("replicas"))
	errs = append(errs, atMost(n.ReadyReplicas, n.Replicas, status.Child("readyReplicas"), "status.replicas")...)
	errs = append(errs, atMost(n.CurrentReplicas, n.Replicas, status.Child("currentReplicas"), "status.replicas")...)
	errs = append(errs, atMost(n.UpdatedReplicas, n.Replicas, status.Child("updatedReplicas"), "status.replicas")...)
	errs = append(errs, atMost(n.AvailableReplicas, n.Replicas, status.Child("availableReplicas"), "status.replicas")...)
	if n.AvailableReplicas > n.ReadyReplicas {
		errs = append(errs, field.Invalid(status.Child("availableReplicas"), n.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	errs = append(errs, notNegative(n.ObservedGeneration, status.Child("observedGeneration"))...)
	return append(errs, validateCollisions(n.CollisionCount, o.CollisionCount)...)
}
