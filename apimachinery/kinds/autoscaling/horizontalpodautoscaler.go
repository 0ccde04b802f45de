package autoscaling

import (
	"context"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// HorizontalPodAutoscalers declares HorizontalPodAutoscaler, one table with two views: v2 (the hub, and what is stored)
// and v1, which says the rest in annotations.
func HorizontalPodAutoscalers() apimachinery.Resource {
	view := func(version schema.GroupVersion) apimachinery.View {
		return apimachinery.View{
			GroupVersionKind: version.WithKind("HorizontalPodAutoscaler"),
			Plural:           "horizontalpodautoscalers", Short: []string{"hpa"}, Category: []string{"all"},
			Columns: columns(),
		}
	}
	v2, v1 := view(autoscalingv2.SchemeGroupVersion), view(autoscalingv1.SchemeGroupVersion)
	v1.New = func() apimachinery.Object { return &autoscalingv1.HorizontalPodAutoscaler{} }
	v1.FromHub = func(o apimachinery.Object) (apimachinery.Object, error) {
		return toV1(o.(*autoscalingv2.HorizontalPodAutoscaler))
	}
	v1.ToHub = func(o apimachinery.Object) (apimachinery.Object, error) {
		return fromV1(o.(*autoscalingv1.HorizontalPodAutoscaler)), nil
	}
	for i, c := range v1.Columns {
		v1.Columns[i].Cell = func(o apimachinery.Object) any { return c.Cell(fromV1(o.(*autoscalingv1.HorizontalPodAutoscaler))) }
	}
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: autoscalingv2.GroupName, Resource: "horizontalpodautoscalers"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
		Views:      []apimachinery.View{v2, v1},
		Default:    func(o apimachinery.Object) { defaults(o.(*autoscalingv2.HorizontalPodAutoscaler)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(*autoscalingv2.HorizontalPodAutoscaler)
			n.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
			if old != nil {
				n.Status = old.(*autoscalingv2.HorizontalPodAutoscaler).Status
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*autoscalingv2.HorizontalPodAutoscaler)
			o, _ := old.(*autoscalingv2.HorizontalPodAutoscaler)
			return append(core.ValidateFinalizers(n), validate(n, o)...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(*autoscalingv2.HorizontalPodAutoscaler).Spec = old.(*autoscalingv2.HorizontalPodAutoscaler).Spec
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						s, path := &new.(*autoscalingv2.HorizontalPodAutoscaler).Status, field.NewPath("status")
						errs := append(core.ValidateFinalizers(new), validation.ValidateNonnegativeField(int64(s.CurrentReplicas), path.Child("currentReplicas"))...)
						return append(errs, validation.ValidateNonnegativeField(int64(s.DesiredReplicas), path.Child("desiredReplicas"))...)
					},
				},
			},
		},
	}
}

func columns() []apimachinery.Column {
	type autoscaler = *autoscalingv2.HorizontalPodAutoscaler
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Reference", "string", func(a autoscaler) any {
			return a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name
		}),
		apimachinery.ColumnOf("Targets", "string", func(a autoscaler) any { return targetsText(a.Spec.Metrics, a.Status.CurrentMetrics) }),
		apimachinery.ColumnOf("MinPods", "string", func(a autoscaler) any {
			if a.Spec.MinReplicas == nil {
				return "<unset>"
			}
			return fmt.Sprint(*a.Spec.MinReplicas)
		}),
		apimachinery.ColumnOf("MaxPods", "string", func(a autoscaler) any { return int64(a.Spec.MaxReplicas) }),
		apimachinery.ColumnOf("Replicas", "string", func(a autoscaler) any { return int64(a.Status.CurrentReplicas) }),
		apimachinery.AgeColumn(),
	}
}

const defaultUtilization = 80 // percent of the CPU that was asked for

func defaults(a *autoscalingv2.HorizontalPodAutoscaler) {
	a.Annotations = withoutV1(a.Annotations)
	core.DefaultTo(&a.Spec.MinReplicas, 1)
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilization)}
	}
	if b := a.Spec.Behavior; b != nil {
		core.DefaultTo(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
		core.DefaultTo(&b.ScaleUp.StabilizationWindowSeconds, 0)
		defaultRules(b.ScaleUp,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
		core.DefaultTo(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
		defaultRules(b.ScaleDown, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	}
}

func defaultRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	core.DefaultTo(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}

func cpuMetric(utilization int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
		},
	}
}

// The annotations in which v1 says what it has no fields for.
const (
	metricsAnnotation    = "autoscaling.alpha.kubernetes.io/metrics"
	behaviorAnnotation   = "autoscaling.alpha.kubernetes.io/behavior"
	statusesAnnotation   = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions"
)

var v1Annotations = []string{
	metricsAnnotation, behaviorAnnotation, statusesAnnotation, conditionsAnnotation,
	"autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
}

// withoutV1 is a copy of annotations without those of v1, or the annotations themselves if there are none.
func withoutV1(annotations map[string]string) map[string]string {
	copied := false
	for _, name := range v1Annotations {
		if _, ok := annotations[name]; !ok {
			continue
		}
		if !copied {
			annotations, copied = maps.Clone(annotations), true
		}
		delete(annotations, name)
	}
	return annotations
}
