package scheduling_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/scheduling"
)

func class(name string, value int32, change ...func(*schedulingv1.PriorityClass)) *schedulingv1.PriorityClass {
	c := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
	for _, f := range change {
		f(c)
	}
	return c
}

func preempting(p corev1.PreemptionPolicy) func(*schedulingv1.PriorityClass) {
	return func(c *schedulingv1.PriorityClass) { c.PreemptionPolicy = &p }
}

func TestPriorityClass(t *testing.T) {
	_, err := apimachinery.NewRegistry(scheduling.Resources()...)
	require.NoError(t, err)
	res := scheduling.PriorityClasses()
	isDefault := func(c *schedulingv1.PriorityClass) { c.GlobalDefault = true }
	for name, c := range map[string]struct {
		new, old *schedulingv1.PriorityClass
		want     []string
	}{
		"highest":       {class("a", 1_000_000_000), nil, nil},
		"too high":      {class("a", 1_000_000_001), nil, []string{"value Forbidden"}},
		"negative":      {class("a", -5), nil, nil},
		"system":        {class("system-node-critical", 2_000_001_000), nil, nil},
		"its value":     {class("system-node-critical", 1), nil, []string{"metadata.name Forbidden"}},
		"its default":   {class("system-cluster-critical", 2_000_000_000, isDefault), nil, []string{"metadata.name Forbidden"}},
		"not system":    {class("system-mine", 1), nil, []string{"metadata.name Forbidden"}},
		"policy":        {class("a", 1, preempting("Sometimes")), nil, []string{"preemptionPolicy Unsupported value"}},
		"empty policy":  {class("a", 1, preempting("")), nil, []string{"preemptionPolicy Required value"}},
		"immutable":     {class("a", 2, preempting(corev1.PreemptNever)), class("a", 1, preempting(corev1.PreemptLowerPriority)), []string{"value Forbidden", "preemptionPolicy Invalid value"}},
		"may be marked": {class("a", 1, isDefault), class("a", 1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var old apimachinery.Object
			if c.old != nil {
				old = c.old
			}
			var got []string
			for _, e := range res.Validate(t.Context(), c.new, old) {
				got = append(got, e.Field+" "+e.Type.String())
			}
			require.Equal(t, c.want, got)
		})
	}
	for _, c := range scheduling.SystemPriorityClasses() {
		res.Default(c)
		res.Prepare(t.Context(), c, nil)
		require.Empty(t, res.Validate(t.Context(), c, nil))
		require.EqualValues(t, 1, c.Generation)
		require.Equal(t, corev1.PreemptLowerPriority, *c.PreemptionPolicy)
	}
	for _, c := range res.Views[0].Columns {
		require.NotNil(t, c.Cell(res.New()))
	}
}

// Only the system's own pods may be worth more than a thousand million.
func Example() {
	c := &schedulingv1.PriorityClass{Value: scheduling.HighestUserPriority + 1}
	for _, err := range scheduling.PriorityClasses().Validate(context.Background(), c, nil) {
		fmt.Println(err)
	}
	// Output: value: Forbidden: maximum allowed value of a user defined priority is 1000000000
}
