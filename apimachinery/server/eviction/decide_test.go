package eviction

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func podOf(phase corev1.PodPhase, isReady bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: phase}}
	if isReady {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func budgetOf(name string, change func(b *policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1}}
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2}
	if change != nil {
		change(b)
	}
	return b
}

func TestDecide(t *testing.T) {
	always := policyv1.AlwaysAllow
	plain := budgetOf("plain", nil)
	poor := budgetOf("poor", func(b *policyv1.PodDisruptionBudget) { b.Status.CurrentHealthy = 1 })
	lenient := budgetOf("lenient", func(b *policyv1.PodDisruptionBudget) {
		b.Spec.UnhealthyPodEvictionPolicy, b.Status.CurrentHealthy = &always, 0
	})
	other := budgetOf("other", func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector.MatchLabels["app"] = "db" })
	none := budgetOf("none", func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = nil })
	far := budgetOf("far", func(b *policyv1.PodDisruptionBudget) { b.Namespace = "elsewhere" })
	bad := budgetOf("bad", func(b *policyv1.PodDisruptionBudget) {
		b.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
	})
	all := budgetOf("all", func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &metav1.LabelSelector{} })
	leaving := podOf(corev1.PodRunning, true)
	leaving.DeletionTimestamp = &metav1.Time{}

	type list = []*policyv1.PodDisruptionBudget
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		budgets list
		want    Verdict
	}{
		"ended":                      {podOf(corev1.PodSucceeded, false), list{plain}, Verdict{}},
		"failed":                     {podOf(corev1.PodFailed, false), list{plain, all}, Verdict{}},
		"leaving":                    {leaving, list{plain}, Verdict{}},
		"not running yet":            {podOf(corev1.PodPending, false), list{plain}, Verdict{Pin: true}},
		"no budget":                  {podOf(corev1.PodRunning, true), nil, Verdict{}},
		"budgets of others":          {podOf(corev1.PodRunning, true), list{other, none, far, bad}, Verdict{}},
		"ready":                      {podOf(corev1.PodRunning, true), list{other, plain}, Verdict{Budget: plain, Charge: true}},
		"everything":                 {podOf(corev1.PodRunning, true), list{all}, Verdict{Budget: all, Charge: true}},
		"not ready, enough others":   {podOf(corev1.PodRunning, false), list{plain}, Verdict{Budget: plain, Pin: true}},
		"not ready, too few others":  {podOf(corev1.PodRunning, false), list{poor}, Verdict{Budget: poor, Charge: true}},
		"not ready, always allowed":  {podOf(corev1.PodRunning, false), list{lenient}, Verdict{Budget: lenient, Pin: true}},
		"ready, though always allow": {podOf(corev1.PodRunning, true), list{lenient}, Verdict{Budget: lenient, Charge: true}},
	} {
		got, err := Decide(c.pod, c.budgets)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := Decide(podOf(corev1.PodRunning, true), list{plain, all})
	require.True(t, apierrors.IsInternalError(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown, "%v", err)
	require.ErrorContains(t, err, "more than one PodDisruptionBudget")
}

func TestCharge(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := budgetOf("b", func(b *policyv1.PodDisruptionBudget) {
		b.Status.DisruptionsAllowed = 2
		b.Status.DisruptedPods = map[string]metav1.Time{"x": {}}
	})
	before := b.DeepCopy()
	one, err := Charge(b, "p", now)
	require.NoError(t, err)
	require.Equal(t, before, b)
	require.EqualValues(t, 1, one.Status.DisruptionsAllowed)
	require.Equal(t, map[string]metav1.Time{"x": {}, "p": metav1.NewTime(now)}, one.Status.DisruptedPods)
	require.Empty(t, one.Status.Conditions)
	two, err := Charge(one, "q", now)
	require.NoError(t, err)
	require.Zero(t, two.Status.DisruptionsAllowed)
	require.Equal(t, policyv1.InsufficientPodsReason, two.Status.Conditions[0].Reason)

	for want, change := range map[string]func(b *policyv1.PodDisruptionBudget){
		"still being processed":                        func(b *policyv1.PodDisruptionBudget) { b.Generation = 2 },
		"needs 3 healthy pods and has 3 currently":     func(b *policyv1.PodDisruptionBudget) { b.Status.DesiredHealthy = 3 },
		"does not allow evicting pods currently":       func(*policyv1.PodDisruptionBudget) {},
		"failed sync: no scale":                        condition(policyv1.SyncFailedReason, "no scale"),
		"currently (" + "Odd): for reasons of its own": condition("Odd", "for reasons of its own"),
	} {
		b := budgetOf("b", func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 0 })
		change(b)
		_, err := Charge(b, "p", now)
		require.True(t, apierrors.IsTooManyRequests(err), "%s: %v", want, err)
		cause, ok := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause)
		require.True(t, ok, want)
		require.Contains(t, cause.Message, want)
	}
	_, err = Charge(budgetOf("b", func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = -1 }), "p", now)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	_, err = Charge(budgetOf("b", func(b *policyv1.PodDisruptionBudget) {
		b.Status.DisruptedPods = map[string]metav1.Time{}
		for i := range mostDisrupted + 1 {
			b.Status.DisruptedPods[fmt.Sprint(i)] = metav1.Time{}
		}
	}), "p", now)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
}

func condition(reason, message string) func(*policyv1.PodDisruptionBudget) {
	return func(b *policyv1.PodDisruptionBudget) {
		b.Status.Conditions = []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	}
}
