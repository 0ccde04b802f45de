package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const unknown = "<unknown>"

// targetsText is what kubectl shows of the metrics: what is and what should be, of the first two.
func targetsText(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	const most = 2
	var list []string
	for i := range specs[:min(len(specs), most)] {
		var s autoscalingv2.MetricStatus
		if i < len(statuses) {
			s = statuses[i]
		}
		list = append(list, targetText(&specs[i], &s))
	}
	text := strings.Join(list, ", ")
	if more := len(specs) - most; more > 0 {
		text += fmt.Sprintf(" + %d more...", more)
	}
	return text
}

func targetText(m *autoscalingv2.MetricSpec, s *autoscalingv2.MetricStatus) string {
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		var now *autoscalingv2.MetricValueStatus
		if s.External != nil {
			now = &s.External.Current
		}
		return valueText(&m.External.Target, now)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		var now *autoscalingv2.MetricValueStatus
		if s.Object != nil {
			now = &s.Object.Current
		}
		return valueText(&m.Object.Target, now)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		now := unknown
		if s.Pods != nil {
			now = s.Pods.Current.AverageValue.String()
		}
		return now + "/" + m.Pods.Target.AverageValue.String()
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		var now *autoscalingv2.MetricValueStatus
		if s.Resource != nil {
			now = &s.Resource.Current
		}
		return resourceText(m.Resource.Name, &m.Resource.Target, now)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		var now *autoscalingv2.MetricValueStatus
		if s.ContainerResource != nil {
			now = &s.ContainerResource.Current
		}
		return resourceText(m.ContainerResource.Name, &m.ContainerResource.Target, now)
	}
	return "<unknown type>"
}

// valueText is that of a metric which is a number for all pods, or, if the target says so, for each.
func valueText(target *autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	text := func(q *resource.Quantity) string { return q.String() }
	if target.AverageValue == nil {
		if now == nil {
			return unknown + "/" + text(target.Value)
		}
		return text(now.Value) + "/" + text(target.Value)
	}
	if now == nil || now.AverageValue == nil {
		return unknown + "/" + text(target.AverageValue) + " (avg)"
	}
	return text(now.AverageValue) + "/" + text(target.AverageValue) + " (avg)"
}

// resourceText is that of a resource's use: a number, or a percentage of what was asked for.
func resourceText(name corev1.ResourceName, target *autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	is, want := unknown, "<auto>"
	if target.AverageValue != nil {
		if now != nil {
			is = now.AverageValue.String()
		}
		return fmt.Sprintf("%s: %s/%s", name, is, target.AverageValue.String())
	}
	if now != nil && now.AverageUtilization != nil {
		is = fmt.Sprintf("%d%%", *now.AverageUtilization)
	}
	if target.AverageUtilization != nil {
		want = fmt.Sprintf("%d%%", *target.AverageUtilization)
	}
	return fmt.Sprintf("%s: %s/%s", name, is, want)
}
