package priority_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/priority"
	"github.com/bedplate/bedplate/apimachinery"
)

type classes []*schedulingv1.PriorityClass

func (c classes) PriorityClass(_ context.Context, name string) (*schedulingv1.PriorityClass, error) {
	for _, one := range c {
		if one.Name == name {
			return one, nil
		}
	}
	if name == "broken" {
		return nil, errors.New("boom")
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

func (c classes) PriorityClasses(context.Context, bool) ([]*schedulingv1.PriorityClass, error) {
	return c, nil
}

func class(name string, value int32, isDefault bool) *schedulingv1.PriorityClass {
	never := corev1.PreemptNever
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, GlobalDefault: isDefault, PreemptionPolicy: &never}
}

func admit(c classes, op string, o, old apimachinery.Object) error {
	p := priority.New(c)
	a := &apimachinery.Admission{Operation: op, Name: "x", Object: o, Old: old}
	for range 2 { // idempotent
		if err := p.Mutate.Mutate(context.Background(), a); err != nil {
			return err
		}
	}
	return p.Validate.Validate(context.Background(), a)
}

func pod(name string) *corev1.Pod { return &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: name}} }

func TestPods(t *testing.T) {
	p := pod("high")
	require.NoError(t, admit(classes{class("high", 10, false)}, "CREATE", p, nil))
	require.EqualValues(t, 10, *p.Spec.Priority)
	require.Equal(t, corev1.PreemptNever, *p.Spec.PreemptionPolicy)

	p = pod("")
	require.NoError(t, admit(nil, "CREATE", p, nil))
	require.EqualValues(t, 0, *p.Spec.Priority)
	require.Equal(t, corev1.PreemptLowerPriority, *p.Spec.PreemptionPolicy)
	require.Empty(t, p.Spec.PriorityClassName)

	p = pod("")
	require.NoError(t, admit(classes{class("more", 10, true), class("less", 5, true)}, "CREATE", p, nil))
	require.Equal(t, "less", p.Spec.PriorityClassName)

	n := pod("less")
	require.NoError(t, admit(nil, "UPDATE", n, p))
	require.Equal(t, p.Spec, n.Spec, "an update that leaves it out changes nothing")
}

func TestRefused(t *testing.T) {
	value, lower := int32(11), corev1.PreemptLowerPriority
	p := pod("high")
	p.Spec.Priority = &value
	q := pod("high")
	q.Spec.PreemptionPolicy = &lower
	for _, p := range []*corev1.Pod{p, q, pod("missing")} {
		err := admit(classes{class("high", 10, false)}, "CREATE", p, nil)
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	}
	err := admit(nil, "CREATE", pod("broken"), nil)
	require.ErrorContains(t, err, "boom")
	require.False(t, apierrors.IsForbidden(err))
}

func TestOneDefault(t *testing.T) {
	have := classes{class("one", 1, true)}
	require.True(t, apierrors.IsForbidden(admit(have, "CREATE", class("two", 2, true), nil)))
	require.True(t, apierrors.IsForbidden(admit(have, "UPDATE", class("two", 2, true), nil)))
	require.NoError(t, admit(have, "UPDATE", class("one", 1, true), nil))
	require.NoError(t, admit(have, "CREATE", class("two", 2, false), nil))
	require.NoError(t, admit(nil, "CREATE", class("one", 1, true), nil))
	require.NoError(t, admit(have, "DELETE", nil, class("one", 1, true)))
}

func Example() {
	p := &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: "high"}}
	err := admit(classes{class("high", 1000, false)}, "CREATE", p, nil)
	fmt.Println(*p.Spec.Priority, err)
	// Output: 1000 <nil>
}
