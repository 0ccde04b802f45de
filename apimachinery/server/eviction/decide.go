package eviction

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Verdict is what is to be done about a pod that is to be evicted.
type Verdict struct {
	// Budget is the budget that the pod falls under, nil if there is none.
	Budget *policyv1.PodDisruptionBudget
	// Charge says that the eviction is a disruption which the budget must allow: see [Charge].
	Charge bool
	// Pin says that the verdict holds only as long as the pod stays as it is.
	Pin bool
}

// Decide says how a pod may be evicted, given the budgets of its namespace. It is a function of its arguments alone.
// The error, an internal one as in Kubernetes, is that of a pod under more than one budget.
func Decide(pod *corev1.Pod, budgets []*policyv1.PodDisruptionBudget) (Verdict, error) {
	if free, pin := unbudgeted(pod); free {
		return Verdict{Pin: pin}, nil
	}
	var mine []*policyv1.PodDisruptionBudget
	for _, b := range budgets {
		if covers(b, pod) {
			mine = append(mine, b)
		}
	}
	switch len(mine) {
	case 0:
		return Verdict{}, nil
	case 1:
	default:
		return Verdict{}, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}}
	}
	b := mine[0]
	if !ready(pod) && expendable(b) {
		return Verdict{Budget: b, Pin: true}, nil
	}
	return Verdict{Budget: b, Charge: true}, nil
}

// unbudgeted tells of pods whose end disrupts nothing: they have ended or are about to, or don't run yet. Of the
// latter that is so only as long as they stay as they are.
func unbudgeted(p *corev1.Pod) (free, pin bool) {
	switch {
	case p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed, p.DeletionTimestamp != nil:
		return true, false
	case p.Status.Phase == corev1.PodPending:
		return true, true
	}
	return false, false
}

func covers(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	if b.Namespace != p.Namespace {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(p.Labels)) // what can't be read covers nothing
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// expendable says whether pods that are not ready may go without a charge: always, or as long as enough others are.
func expendable(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// mostDisrupted bounds the evictions that the controller of budgets has not seen to yet.
const mostDisrupted = 2000

// Charge returns a copy of a budget in which pod counts as disrupted since now, or says why the budget does not allow
// that: as a rule TooManyRequests, with the cause DisruptionBudget.
func Charge(b *policyv1.PodDisruptionBudget, pod string, now time.Time) (*policyv1.PodDisruptionBudget, error) {
	group := schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}
	switch s := &b.Status; {
	case s.ObservedGeneration < b.Generation:
		return nil, unsettled(b.Name)
	case s.DisruptionsAllowed < 0:
		return nil, apierrors.NewForbidden(group, b.Name, fmt.Errorf("pdb disruptions allowed is negative"))
	case len(s.DisruptedPods) > mostDisrupted:
		return nil, apierrors.NewForbidden(group, b.Name, fmt.Errorf("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case s.DisruptionsAllowed == 0:
		return nil, refused(0, exhausted(b))
	}
	out := b.DeepCopy()
	if out.Status.DisruptionsAllowed--; out.Status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&out.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: out.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
		})
	}
	out.Status.DisruptedPods = maps.Clone(out.Status.DisruptedPods)
	if out.Status.DisruptedPods == nil {
		out.Status.DisruptedPods = map[string]metav1.Time{}
	}
	out.Status.DisruptedPods[pod] = metav1.NewTime(now)
	return out, nil
}

// exhausted says why a budget allows nothing.
func exhausted(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch s := &b.Status; {
	case told && c.Reason == policyv1.SyncFailedReason: // the counts can't be trusted then
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case s.CurrentHealthy <= s.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

// unsettled is the answer as long as nobody knows what a budget allows.
func unsettled(budget string) error {
	const soon = 10
	return refused(soon, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func refused(retry int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retry)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}
