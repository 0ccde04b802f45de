package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// behavior is what the annotation of a behavior holds: Kubernetes writes there a type of its own, which has no names
// for JSON.
type behavior struct{ ScaleUp, ScaleDown *rules }

type rules struct {
	StabilizationWindowSeconds *int32
	SelectPolicy               *autoscalingv2.ScalingPolicySelect
	Policies                   []policy
	Tolerance                  *resource.Quantity
}

type policy struct {
	Type          autoscalingv2.HPAScalingPolicyType
	Value         int32
	PeriodSeconds int32
}

// toV1 is an autoscaler in v1. It shares memory with a, which it doesn't change.
func toV1(a *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: a.ObjectMeta}
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(a.Spec.ScaleTargetRef),
		MinReplicas:    a.Spec.MinReplicas, MaxReplicas: a.Spec.MaxReplicas,
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: a.Status.ObservedGeneration, LastScaleTime: a.Status.LastScaleTime,
		CurrentReplicas: a.Status.CurrentReplicas, DesiredReplicas: a.Status.DesiredReplicas,
	}
	said := map[string]any{}
	if others := splitMetrics(a.Spec.Metrics, &out.Spec); len(others) > 0 {
		said[metricsAnnotation] = others
	}
	if a.Spec.Behavior != nil {
		said[behaviorAnnotation] = behavior{rulesToV1(a.Spec.Behavior.ScaleUp), rulesToV1(a.Spec.Behavior.ScaleDown)}
	}
	if len(a.Status.CurrentMetrics) > 0 {
		said[statusesAnnotation] = statusesToV1(a.Status.CurrentMetrics, &out.Status)
	}
	if len(a.Status.Conditions) > 0 {
		said[conditionsAnnotation] = a.Status.Conditions // the same JSON in both versions
	}
	out.Annotations = withoutV1(out.Annotations)
	if len(said) == 0 {
		return out, nil
	}
	annotations := maps.Clone(out.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	for name, what := range said {
		raw, err := json.Marshal(what)
		if err != nil {
			return nil, fmt.Errorf("write annotation %s: %w", name, err)
		}
		annotations[name] = string(raw)
	}
	out.Annotations = annotations
	return out, nil
}

// splitMetrics gives s the first target of the CPU's utilization, and returns all metrics that are none.
func splitMetrics(metrics []autoscalingv2.MetricSpec, s *autoscalingv1.HorizontalPodAutoscalerSpec) []autoscalingv1.MetricSpec {
	var others []autoscalingv1.MetricSpec
	for i := range metrics {
		m := &metrics[i]
		if r := m.Resource; m.Type != autoscalingv2.ResourceMetricSourceType || r == nil || r.Name != corev1.ResourceCPU || r.Target.AverageUtilization == nil {
			others = append(others, metricToV1(m))
		} else if s.TargetCPUUtilizationPercentage == nil {
			s.TargetCPUUtilizationPercentage = r.Target.AverageUtilization
		}
	}
	return others
}

func metricToV1(m *autoscalingv2.MetricSpec) autoscalingv1.MetricSpec {
	out := autoscalingv1.MetricSpec{Type: autoscalingv1.MetricSourceType(m.Type)}
	if s := m.Object; s != nil {
		out.Object = &autoscalingv1.ObjectMetricSource{
			Target: autoscalingv1.CrossVersionObjectReference(s.DescribedObject), MetricName: s.Metric.Name, Selector: s.Metric.Selector,
			TargetValue: orZero(s.Target.Value), AverageValue: s.Target.AverageValue,
		}
	}
	if s := m.Pods; s != nil {
		out.Pods = &autoscalingv1.PodsMetricSource{MetricName: s.Metric.Name, Selector: s.Metric.Selector, TargetAverageValue: orZero(s.Target.AverageValue)}
	}
	if s := m.Resource; s != nil {
		out.Resource = &autoscalingv1.ResourceMetricSource{Name: s.Name, TargetAverageUtilization: s.Target.AverageUtilization, TargetAverageValue: s.Target.AverageValue}
	}
	if s := m.ContainerResource; s != nil {
		out.ContainerResource = &autoscalingv1.ContainerResourceMetricSource{
			Name: s.Name, Container: s.Container, TargetAverageUtilization: s.Target.AverageUtilization, TargetAverageValue: s.Target.AverageValue,
		}
	}
	if s := m.External; s != nil {
		out.External = &autoscalingv1.ExternalMetricSource{
			MetricName: s.Metric.Name, MetricSelector: s.Metric.Selector, TargetValue: s.Target.Value, TargetAverageValue: s.Target.AverageValue,
		}
	}
	return out
}

// statusesToV1 returns the metrics as v1 has them, and gives s the last of the CPU's utilization.
func statusesToV1(metrics []autoscalingv2.MetricStatus, s *autoscalingv1.HorizontalPodAutoscalerStatus) []autoscalingv1.MetricStatus {
	out := make([]autoscalingv1.MetricStatus, len(metrics))
	for i := range metrics {
		m := &metrics[i]
		out[i] = statusToV1(m)
		if r := m.Resource; m.Type == autoscalingv2.ResourceMetricSourceType && r != nil && r.Name == corev1.ResourceCPU && r.Current.AverageUtilization != nil {
			s.CurrentCPUUtilizationPercentage = r.Current.AverageUtilization
		}
	}
	return out
}

func statusToV1(m *autoscalingv2.MetricStatus) autoscalingv1.MetricStatus {
	out := autoscalingv1.MetricStatus{Type: autoscalingv1.MetricSourceType(m.Type)}
	if s := m.Object; s != nil {
		out.Object = &autoscalingv1.ObjectMetricStatus{
			Target: autoscalingv1.CrossVersionObjectReference(s.DescribedObject), MetricName: s.Metric.Name, Selector: s.Metric.Selector,
			CurrentValue: orZero(s.Current.Value), AverageValue: s.Current.AverageValue,
		}
	}
	if s := m.Pods; s != nil {
		out.Pods = &autoscalingv1.PodsMetricStatus{MetricName: s.Metric.Name, Selector: s.Metric.Selector, CurrentAverageValue: orZero(s.Current.AverageValue)}
	}
	if s := m.Resource; s != nil {
		out.Resource = &autoscalingv1.ResourceMetricStatus{
			Name: s.Name, CurrentAverageUtilization: s.Current.AverageUtilization, CurrentAverageValue: orZero(s.Current.AverageValue),
		}
	}
	if s := m.ContainerResource; s != nil {
		out.ContainerResource = &autoscalingv1.ContainerResourceMetricStatus{
			Name: s.Name, Container: s.Container, CurrentAverageUtilization: s.Current.AverageUtilization, CurrentAverageValue: orZero(s.Current.AverageValue),
		}
	}
	if s := m.External; s != nil {
		out.External = &autoscalingv1.ExternalMetricStatus{
			MetricName: s.Metric.Name, MetricSelector: s.Metric.Selector, CurrentValue: orZero(s.Current.Value), CurrentAverageValue: s.Current.AverageValue,
		}
	}
	return out
}

func rulesToV1(r *autoscalingv2.HPAScalingRules) *rules {
	if r == nil {
		return nil
	}
	out := &rules{r.StabilizationWindowSeconds, r.SelectPolicy, nil, r.Tolerance}
	if r.Policies != nil {
		out.Policies = make([]policy, len(r.Policies))
	}
	for i, p := range r.Policies {
		out.Policies[i] = policy(p)
	}
	return out
}

func orZero(q *resource.Quantity) resource.Quantity {
	if q == nil {
		return resource.Quantity{}
	}
	return *q
}
