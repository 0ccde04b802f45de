package taintrule_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource/taintrule"
)

// A taint has one of three effects.
func Example() {
	r := taintrule.DeviceTaintRules()
	o := &resourcev1.DeviceTaintRule{Spec: resourcev1.DeviceTaintRuleSpec{Taint: resourcev1.DeviceTaint{Key: "broken", Effect: "Odd"}}}
	for _, err := range r.Validate(context.Background(), o, nil) {
		fmt.Println(err)
	}
	// Output: spec.taint.effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"
}

func TestDeviceTaintRule(t *testing.T) {
	_, err := apimachinery.NewRegistry(taintrule.Resources()...)
	require.NoError(t, err)
	r := taintrule.DeviceTaintRules()
	old := &resourcev1.DeviceTaintRule{Spec: resourcev1.DeviceTaintRuleSpec{
		DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: ptr.To("gpu.example.com"), Pool: ptr.To("a/b"), Device: ptr.To("d")},
		Taint:          resourcev1.DeviceTaint{Key: "broken", Effect: resourcev1.DeviceTaintEffectNoSchedule, TimeAdded: ptr.To(metav1.NewTime(time.Unix(1, 0)))},
	}}
	r.Prepare(t.Context(), old, nil)
	require.EqualValues(t, 1, old.Generation)
	require.Empty(t, r.Validate(t.Context(), old, nil))
	for _, c := range r.Views[0].Columns {
		require.NotNil(t, c.Cell(old))
	}

	n := old.DeepCopy()
	n.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
	r.Prepare(t.Context(), n, old)
	require.EqualValues(t, 2, n.Generation)
	require.NotEqual(t, old.Spec.Taint.TimeAdded, n.Spec.Taint.TimeAdded, "another effect begins now")

	wrong := old.DeepCopy()
	wrong.Spec.DeviceSelector = &resourcev1.DeviceTaintSelector{Driver: ptr.To(""), Pool: ptr.To("/"), Device: ptr.To("D")}
	require.Len(t, r.Validate(t.Context(), wrong, old), 4)
	many := old.DeepCopy()
	for range 9 {
		many.Status.Conditions = append(many.Status.Conditions, metav1.Condition{Type: "a", Status: "True", Reason: "B", LastTransitionTime: metav1.Now()})
	}
	require.NotEmpty(t, r.Subs["status"].Strategy.Validate(t.Context(), many, old))
}
