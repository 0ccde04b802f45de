package tolerations_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/admission/tolerations"
	"github.com/bedplate/bedplate/apimachinery"
)

func admit(t require.TestingT, c tolerations.Config, op, sub string, have ...corev1.Toleration) []corev1.Toleration {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: have}}
	p := tolerations.New(c)
	for range 2 { // idempotent
		require.NoError(t, p.Mutate.Mutate(context.Background(), &apimachinery.Admission{Operation: op, Sub: sub, Object: pod}))
	}
	return pod.Spec.Tolerations
}

func TestDefaultTolerations(t *testing.T) {
	five, ten := int64(300), int64(10)
	own := func(key string, s *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: s}
	}
	notReady, unreachable := own("node.kubernetes.io/not-ready", &five), own("node.kubernetes.io/unreachable", &five)
	all := corev1.Toleration{Operator: "Exists"}
	mine := own("node.kubernetes.io/not-ready", nil)
	otherEffect := corev1.Toleration{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoSchedule"}
	list := func(l ...corev1.Toleration) []corev1.Toleration { return l }
	require.Equal(t, list(notReady, unreachable), admit(t, tolerations.Config{}, "CREATE", ""))
	require.Equal(t, list(notReady, unreachable), admit(t, tolerations.Config{}, "UPDATE", ""))
	require.Equal(t, list(all), admit(t, tolerations.Config{}, "CREATE", "", all))
	require.Equal(t, list(mine, unreachable), admit(t, tolerations.Config{}, "CREATE", "", mine))
	require.Equal(t, list(otherEffect, notReady, unreachable), admit(t, tolerations.Config{}, "CREATE", "", otherEffect))
	require.Equal(t, list(own("node.kubernetes.io/not-ready", &ten), unreachable), admit(t, tolerations.Config{NotReady: &ten}, "CREATE", ""))
	require.Empty(t, admit(t, tolerations.Config{}, "UPDATE", "status"))
	require.Empty(t, admit(t, tolerations.Config{}, "DELETE", ""))
	require.NoError(t, tolerations.New(tolerations.Config{}).Mutate.Mutate(t.Context(), &apimachinery.Admission{Operation: "CREATE", Object: &corev1.Node{}}))
}

func Example() {
	pod := &corev1.Pod{}
	err := tolerations.New(tolerations.Config{}).Mutate.Mutate(context.Background(), &apimachinery.Admission{Operation: "CREATE", Object: pod})
	for _, t := range pod.Spec.Tolerations {
		fmt.Println(t.Key, *t.TolerationSeconds)
	}
	fmt.Println(err)
	// Output:
	// node.kubernetes.io/not-ready 300
	// node.kubernetes.io/unreachable 300
	// <nil>
}
