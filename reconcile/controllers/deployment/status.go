package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of conditions, as kubectl and others know them.
const (
	reasonNewSet      = "NewReplicaSetCreated"
	reasonFoundSet    = "FoundNewReplicaSet"
	reasonUpdated     = "ReplicaSetUpdated"
	reasonAvailable   = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonPaused      = "DeploymentPaused"
	reasonResumed     = "DeploymentResumed"
	reasonCreateError = "ReplicaSetCreateError"
	reasonMinimum     = "MinimumReplicasAvailable"
	reasonTooFew      = "MinimumReplicasUnavailable"
)

func condition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition replaces a condition, unless status and reason are what they were. A status that stays keeps its
// time of transition.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition, now time.Time) {
	have := condition(s, c.Type)
	if have != nil && have.Status == c.Status && have.Reason == c.Reason {
		return
	}
	replaceCondition(s, c, now)
}

// replaceCondition is setCondition, but renews the time of the update in any case.
func replaceCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition, now time.Time) {
	c.LastUpdateTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
	if have := condition(s, c.Type); have != nil && have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	dropCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func dropCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

func progressing(status corev1.ConditionStatus, reason, format string, args ...any) appsv1.DeploymentCondition {
	return appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...),
	}
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// counted is the status without judgement: the numbers, and whether enough is available.
func (p *planner) counted() *appsv1.DeploymentStatus {
	all := p.all()
	available := availableSum(all)
	s := &appsv1.DeploymentStatus{
		ObservedGeneration: p.d.Generation, Replicas: actualSum(all), ReadyReplicas: readySum(all),
		AvailableReplicas: available, UnavailableReplicas: max(0, specSum(all)-available),
		CollisionCount: p.status.CollisionCount, Conditions: slices.Clone(p.status.Conditions),
	}
	var terminating int32
	for _, rs := range all {
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	s.TerminatingReplicas = &terminating
	if p.new != nil {
		s.UpdatedReplicas = p.new.Status.Replicas
	}
	c := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: reasonMinimum,
		Message: "Deployment has minimum availability.",
	}
	if available < size(p.d.Spec.Replicas)-maxUnavailable(p.d) {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonTooFew, "Deployment does not have minimum availability."
	}
	setCondition(s, c, p.now)
	return s
}

// complete says whether a status shows all replicas new and available, and none old.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	n := size(d.Spec.Replicas)
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

// moved says whether a status shows progress over the one before.
func moved(before, now *appsv1.DeploymentStatus) bool {
	return now.UpdatedReplicas > before.UpdatedReplicas ||
		now.Replicas-now.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		now.ReadyReplicas > before.ReadyReplicas || now.AvailableReplicas > before.AvailableReplicas
}

// timedOut says whether there was no progress for the deadline.
func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == reasonAvailable {
		return false
	}
	return c.Reason == reasonTimedOut || deadline(d, c).Before(now)
}

func deadline(d *appsv1.Deployment, c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// rollout judges how the rollout goes. after is when it is to be judged again though nothing happens.
func (p *planner) rollout() (status appsv1.DeploymentStatus, after time.Duration) {
	s := p.counted()
	if !hasDeadline(p.d) {
		dropCondition(s, appsv1.DeploymentProgressing)
	}
	c := condition(&p.status, appsv1.DeploymentProgressing)
	done := s.Replicas == s.UpdatedReplicas && c != nil && c.Reason == reasonAvailable
	if hasDeadline(p.d) && !done {
		p.judge(s)
	}
	p.reportFailure(s)
	c = condition(s, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) || c == nil || complete(p.d, s) || c.Reason == reasonTimedOut || c.Reason == reasonAvailable {
		return *s, 0
	}
	return *s, max(0, deadline(p.d, c).Sub(p.now)) + time.Second
}

func (p *planner) judge(s *appsv1.DeploymentStatus) {
	what, name := "Deployment", p.d.Name
	if p.new != nil {
		what, name = "ReplicaSet", p.new.Name
	}
	switch {
	case complete(p.d, s):
		setCondition(s, progressing(corev1.ConditionTrue, reasonAvailable, "%s %q has successfully progressed.", what, name), p.now)
	case moved(&p.status, s):
		replaceCondition(s, progressing(corev1.ConditionTrue, reasonUpdated, "%s %q is progressing.", what, name), p.now)
	case timedOut(p.d, s, p.now):
		setCondition(s, progressing(corev1.ConditionFalse, reasonTimedOut, "%s %q has timed out progressing.", what, name), p.now)
	}
}

// reportFailure shows the failure of a set, the new one's first.
func (p *planner) reportFailure(s *appsv1.DeploymentStatus) {
	dropCondition(s, appsv1.DeploymentReplicaFailure)
	sets := p.old
	if p.new != nil {
		sets = append([]*appsv1.ReplicaSet{p.new}, sets...)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				s.Conditions = append(s.Conditions, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
				})
				return
			}
		}
	}
}

// checkPaused notes in the condition that the rollout was paused or resumed, so that the time does not count.
func (p *planner) checkPaused() {
	if !hasDeadline(p.d) {
		return
	}
	c := condition(&p.status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return
	}
	switch paused := c != nil && c.Reason == reasonPaused; {
	case p.d.Spec.Paused && !paused:
		setCondition(&p.status, progressing(corev1.ConditionUnknown, reasonPaused, "Deployment is paused"), p.now)
	case !p.d.Spec.Paused && paused:
		setCondition(&p.status, progressing(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed"), p.now)
	}
}
