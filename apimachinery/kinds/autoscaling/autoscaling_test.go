package autoscaling_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/autoscaling"
)

func ptr[T any](v T) *T { return &v }

func autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas:    5,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		},
	}
}

func external() autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr(resource.MustParse("30"))},
	}}
}

// TestViews: what v1 has no fields for survives a client that knows nothing else.
func TestViews(t *testing.T) {
	api := clienttest.Start(t, clienttest.Config{Resources: autoscaling.Resources()}).Client
	v2, v1 := client.For[*autoscalingv2.HorizontalPodAutoscaler](api), client.For[*autoscalingv1.HorizontalPodAutoscaler](api)
	a := autoscaler()
	a.Spec.Metrics = []autoscalingv2.MetricSpec{external()}
	a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr(int32(7))}}
	a, err := v2.Create(t.Context(), a)
	require.NoError(t, err)
	require.EqualValues(t, 1, *a.Spec.MinReplicas)
	require.EqualValues(t, 7, *a.Spec.Behavior.ScaleUp.StabilizationWindowSeconds)
	require.Len(t, a.Spec.Behavior.ScaleDown.Policies, 1)

	old, err := v1.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.Nil(t, old.Spec.TargetCPUUtilizationPercentage)
	require.Contains(t, old.Annotations["autoscaling.alpha.kubernetes.io/metrics"], `"metricName":"queue"`)
	old.Spec.TargetCPUUtilizationPercentage, old.Spec.MaxReplicas = ptr(int32(60)), 9
	old, err = v1.Update(t.Context(), old)
	require.NoError(t, err)
	require.EqualValues(t, 60, *old.Spec.TargetCPUUtilizationPercentage)

	now, err := v2.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.Empty(t, now.Annotations)
	require.EqualValues(t, 9, now.Spec.MaxReplicas)
	require.Equal(t, a.Spec.Behavior, now.Spec.Behavior)
	require.Equal(t, a.Spec.Metrics[0], now.Spec.Metrics[0])
	require.Equal(t, corev1.ResourceCPU, now.Spec.Metrics[1].Resource.Name)

	now.Status.CurrentReplicas, now.Spec.MaxReplicas = 2, 1
	now, err = v2.UpdateStatus(t.Context(), now)
	require.NoError(t, err)
	require.EqualValues(t, 2, now.Status.CurrentReplicas)
	require.EqualValues(t, 9, now.Spec.MaxReplicas)
	now.Status.DesiredReplicas = -1
	_, err = v2.UpdateStatus(t.Context(), now)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestColumns(t *testing.T) {
	r := autoscaling.HorizontalPodAutoscalers()
	a := autoscaler()
	r.Default(a)
	a.Spec.Metrics = append(a.Spec.Metrics, external(), external())
	a.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{
		Type:     autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricStatus{Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: ptr(int32(40))}},
	}}
	old, err := r.Views[1].FromHub(a)
	require.NoError(t, err)
	var cells [2][]any
	for i, o := range []apimachinery.Object{a, old} {
		for _, c := range r.Views[i].Columns {
			cells[i] = append(cells[i], c.Cell(o))
		}
	}
	require.Equal(t, []any{"web", "Deployment/web", "cpu: 40%/80%, <unknown>/30 (avg) + 1 more...", "1", int64(5), int64(0), "<unknown>"}, cells[0])
	require.Len(t, cells[1], len(cells[0]))
}

// An autoscaler may go to nothing if it looks at something that is there without its pods.
func Example() {
	r := autoscaling.HorizontalPodAutoscalers()
	a := autoscaler()
	a.Spec.MinReplicas = ptr(int32(0))
	r.Default(a)
	fmt.Println(r.Validate(context.Background(), a, nil).ToAggregate())
	a.Spec.Metrics = append(a.Spec.Metrics, external())
	fmt.Println(r.Validate(context.Background(), a, nil).ToAggregate())
	// Output:
	// spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas
	// <nil>
}
