package bedplate_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// TestOlderWays: pods are bound by the older way too, evicted, and components tell how they are.
func TestOlderWays(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := p.Client()
	pods := client.For[*corev1.Pod](c)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	if _, err := client.For[*corev1.ServiceAccount](c).Create(t.Context(), account); !apierrors.IsAlreadyExists(err) { // a controller may be faster
		require.NoError(t, err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	pod.Spec = corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}
	_, err := pods.Create(t.Context(), pod)
	require.NoError(t, err)

	bindings := client.For[*corev1.Binding](c)
	binding := &corev1.Binding{ObjectMeta: pod.ObjectMeta, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	_, err = bindings.Create(t.Context(), binding)
	require.NoError(t, err)
	bound, err := pods.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.Equal(t, "n1", bound.Spec.NodeName)
	_, err = bindings.Create(t.Context(), binding)
	require.True(t, apierrors.IsConflict(err), "%v", err)

	var zero int64
	_, err = client.Sub[policyv1.Eviction](pods, "eviction").Create(t.Context(), "default", "web", &policyv1.Eviction{
		ObjectMeta: pod.ObjectMeta, DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &zero},
	})
	require.NoError(t, err)
	_, err = pods.Get(t.Context(), "default", "web")
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	list, err := client.For[*corev1.ComponentStatus](c).List(t.Context())
	require.NoError(t, err)
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
		require.Equal(t, corev1.ConditionTrue, s.Conditions[0].Status, s.Name)
	}
	require.Equal(t, []string{"controller-manager", "etcd-0", "scheduler"}, names)
	_, err = client.For[*corev1.ComponentStatus](c).Get(t.Context(), "", "nobody")
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}
