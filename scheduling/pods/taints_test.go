package pods

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"
)

// Tolerations match as k8s.io/api's own do.
func TestMatchesAgainstAPI(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{"", "x", "5", "7", "-3", "+5", "05", "99999999999999999999"})
		key := rapid.SampledFrom([]string{"", "a", "b"})
		effect := rapid.SampledFrom([]corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule})
		op := rapid.SampledFrom([]corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpGt, corev1.TolerationOpLt, "Like"})
		toleration := corev1.Toleration{Key: key.Draw(t, "key"), Operator: op.Draw(t, "op"), Value: value.Draw(t, "value"), Effect: effect.Draw(t, "effect")}
		taint := corev1.Taint{Key: key.Draw(t, "taint key"), Value: value.Draw(t, "taint value"), Effect: effect.Draw(t, "taint effect")}
		require.Equal(t, toleration.ToleratesTaint(klog.Logger{}, &taint, true), matches(&toleration, &taint))
	})
}
