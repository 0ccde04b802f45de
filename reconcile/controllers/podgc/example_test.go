package podgc_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/reconcile/controllers/podgc"
)

// A pod whose node is gone is an orphan.
func ExampleJudge() {
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "gone"}}
	fmt.Println(podgc.Judge(pod, nil) == podgc.Orphan)
	// Output: true
}
