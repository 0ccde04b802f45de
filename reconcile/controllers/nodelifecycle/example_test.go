package nodelifecycle_test

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/reconcile/controllers/nodelifecycle"
)

// When a pod has to leave a node that has fallen silent.
func ExampleEvictAt() {
	began := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	taints := []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: []corev1.Toleration{{
		Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: new(int64(300)),
	}}}}
	at, leave := nodelifecycle.EvictAt(pod, taints, func(corev1.Taint) time.Time { return began })
	fmt.Println(leave, at.Format(time.TimeOnly))
	// Output: true 12:05:00
}
