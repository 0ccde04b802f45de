package kinds

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/registry/core/pod"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// TestGrace: a pod gets the same time to end, whatever is asked for and whatever it says itself.
func TestGrace(t *testing.T) {
	k, ours := newKubernetes(), core.Pods()
	seconds := []*int64{nil}
	for _, n := range []int64{-1, 0, 1, 5, 30, 100} {
		seconds = append(seconds, &n)
	}
	for _, own := range seconds {
		for _, asked := range seconds {
			for _, host := range []string{"", "n1"} {
				for _, phase := range []corev1.PodPhase{"", corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
					p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: host, TerminationGracePeriodSeconds: own}, Status: corev1.PodStatus{Phase: phase}}
					in, err := k.internal(withKind(p))
					require.NoError(t, err)
					o := &metav1.DeleteOptions{GracePeriodSeconds: asked}
					require.True(t, pod.Strategy.CheckGracefulDelete(background(), in, o))
					require.Equal(t, *o.GracePeriodSeconds, ours.Grace(p, asked), fmt.Sprintf("%v of %v on %q, %s", brief64(asked), brief64(own), host, phase))
				}
			}
		}
	}
}

func withKind(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	p.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	return p
}

func brief64(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}
