package runtimeclass_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/runtimeclass"
	"github.com/bedplate/bedplate/apimachinery"
)

var cost = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}

func classes(_ context.Context, name string) (*nodev1.RuntimeClass, error) {
	switch name {
	case "plain":
		return &nodev1.RuntimeClass{}, nil
	case "sandbox":
		return &nodev1.RuntimeClass{Overhead: &nodev1.Overhead{PodFixed: cost}, Scheduling: &nodev1.Scheduling{
			NodeSelector: map[string]string{"sandbox": "yes"},
			Tolerations:  []corev1.Toleration{{Key: "sandbox", Operator: corev1.TolerationOpExists}},
		}}, nil
	case "broken":
		return nil, errors.New("boom")
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

func pod(class string, change func(s *corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{}
	if class != "" {
		p.Spec.RuntimeClassName = &class
	}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func admit(o apimachinery.Object) error {
	p := runtimeclass.New(runtimeclass.ClassesFunc(classes))
	a := &apimachinery.Admission{Operation: "CREATE", Name: "p", Object: o}
	for range 2 { // idempotent
		if err := p.Mutate.Mutate(context.Background(), a); err != nil {
			return err
		}
	}
	return p.Validate.Validate(context.Background(), a)
}

func TestWhatTheClassSays(t *testing.T) {
	p := pod("sandbox", func(s *corev1.PodSpec) {
		s.NodeSelector = map[string]string{"disk": "ssd"}
		s.Tolerations = []corev1.Toleration{{Key: "sandbox", Operator: corev1.TolerationOpEqual, Value: "x"}, {Key: "other", Operator: corev1.TolerationOpExists}}
	})
	require.NoError(t, admit(p))
	require.Equal(t, cost, p.Spec.Overhead)
	require.Equal(t, map[string]string{"disk": "ssd", "sandbox": "yes"}, p.Spec.NodeSelector)
	require.Equal(t, []corev1.Toleration{{Key: "other", Operator: corev1.TolerationOpExists}, {Key: "sandbox", Operator: corev1.TolerationOpExists}}, p.Spec.Tolerations)

	p = pod("sandbox", nil)
	require.NoError(t, admit(p))
	require.Equal(t, map[string]string{"sandbox": "yes"}, p.Spec.NodeSelector)
	for _, p := range []*corev1.Pod{pod("", nil), pod("plain", nil)} {
		require.NoError(t, admit(p))
		require.Empty(t, p.Spec.Overhead)
	}
	require.NoError(t, admit(&corev1.Node{}))
}

func TestTolerations(t *testing.T) {
	ten, five := int64(10), int64(5)
	all := corev1.Toleration{Operator: corev1.TolerationOpExists}
	for name, c := range map[string]struct{ have, want []corev1.Toleration }{
		"all covers": {[]corev1.Toleration{all, {Key: "a", Operator: corev1.TolerationOpEqual}}, []corev1.Toleration{all}},
		"longer": {[]corev1.Toleration{
			{Key: "sandbox", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &ten},
			{Key: "b", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &five},
			{Key: "b", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &ten},
		}, []corev1.Toleration{
			{Key: "b", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &ten},
			{Key: "sandbox", Operator: corev1.TolerationOpExists},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod("sandbox", func(s *corev1.PodSpec) { s.Tolerations = c.have })
			require.NoError(t, admit(p))
			require.Equal(t, c.want, p.Spec.Tolerations)
		})
	}
}

func TestRefused(t *testing.T) {
	other := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	for name, p := range map[string]*corev1.Pod{
		"no such class":  pod("missing", nil),
		"other overhead": pod("sandbox", func(s *corev1.PodSpec) { s.Overhead = other }),
		"own overhead":   pod("plain", func(s *corev1.PodSpec) { s.Overhead = other }),
		"no class":       pod("", func(s *corev1.PodSpec) { s.Overhead = other }),
		"other nodes":    pod("sandbox", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"sandbox": "no"} }),
	} {
		err := admit(p)
		require.True(t, apierrors.IsForbidden(err), "%s: %v", name, err)
	}
	err := admit(pod("broken", nil))
	require.ErrorContains(t, err, "boom")
	require.False(t, apierrors.IsForbidden(err))
}

func Example() {
	p := pod("sandbox", nil)
	err := admit(p)
	fmt.Println(p.Spec.Overhead.Cpu(), err)
	// Output: 100m <nil>
}
