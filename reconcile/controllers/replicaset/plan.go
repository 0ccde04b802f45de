package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// World is what a ReplicaSet's controller sees. Nothing in it is changed.
type World struct {
	Set *appsv1.ReplicaSet
	// Pods are those that the set controls, whatever their state.
	Pods []*corev1.Pod
	// Related says how many active pods of the set's siblings, and of itself, there are on each node.
	Related map[string]int
	Now     time.Time
}

// Plan is what is to be done.
type Plan struct {
	// Create is how many pods are missing.
	Create int
	// Delete are the pods that are too many, those to go first in front.
	Delete []*corev1.Pod
	// Status is what the set's status should be before that is done.
	Status appsv1.ReplicaSetStatus
	// After is when a pod becomes available by the passing of time alone; 0: none does.
	After time.Duration
}

// burst is the most pods that are created or deleted in one go.
const burst = 500

// Diff compares what is with what should be. It is a pure function.
func Diff(w World) Plan {
	active := slices.DeleteFunc(slices.Clone(w.Pods), func(p *corev1.Pod) bool { return !Active(p) })
	p := Plan{}
	p.Status, p.After = status(w, active)
	if w.Set.DeletionTimestamp != nil {
		return p
	}
	switch missing := want(w.Set) - len(active); {
	case missing > 0:
		p.Create = min(missing, burst)
	case missing < 0:
		p.Delete = victims(w, active, min(-missing, burst))
	}
	return p
}

func want(rs *appsv1.ReplicaSet) int {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return int(*rs.Spec.Replicas)
}

// Active says whether a pod counts: it has not ended and is not about to.
func Active(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && p.DeletionTimestamp == nil
}

// readySince is when a pod became ready; false if it is not.
func readySince(p *corev1.Pod) (time.Time, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

func status(w World, active []*corev1.Pod) (s appsv1.ReplicaSetStatus, after time.Duration) {
	s = appsv1.ReplicaSetStatus{
		Replicas: int32(len(active)), ObservedGeneration: w.Set.Generation,
		Conditions: slices.Clone(w.Set.Status.Conditions),
	}
	var terminating int32
	for _, p := range w.Pods {
		if p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			terminating++
		}
	}
	s.TerminatingReplicas = &terminating
	template := labels.SelectorFromValidatedSet(w.Set.Spec.Template.Labels)
	least := time.Duration(w.Set.Spec.MinReadySeconds) * time.Second
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		since, ready := readySince(p)
		if !ready {
			continue
		}
		s.ReadyReplicas++
		left := since.Add(least).Sub(w.Now)
		switch {
		case least == 0 || left <= 0:
			s.AvailableReplicas++
		case after == 0 || left < after:
			after = left
		}
	}
	return s, after
}

// Failure is the condition after creating or deleting pods went wrong; nil err takes it away.
func Failure(s *appsv1.ReplicaSetStatus, reason string, err error, now time.Time) {
	at := slices.IndexFunc(s.Conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case err == nil && at >= 0:
		s.Conditions = slices.Delete(s.Conditions, at, at+1)
	case err != nil && at < 0:
		s.Conditions = append(s.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: err.Error(),
			LastTransitionTime: metav1.NewTime(now),
		})
	}
}

// victims are the n pods whose end costs least.
func victims(w World, active []*corev1.Pod, n int) []*corev1.Pod {
	ranked := slices.Clone(active)
	slices.SortStableFunc(ranked, func(a, b *corev1.Pod) int { return dearer(w, a, b) })
	return ranked[:n]
}

// dearer orders pods by how much their end costs: not placed, not running, not ready, cheap by annotation, crowded
// on their node, ready for a short time, often restarted, young.
func dearer(w World, a, b *corev1.Pod) int {
	readyA, okA := readySince(a)
	readyB, okB := readySince(b)
	return cmp.Or(
		no(a.Spec.NodeName != "", b.Spec.NodeName != ""),
		cmp.Compare(phase(a), phase(b)),
		no(okA, okB),
		cmp.Compare(deletionCost(a), deletionCost(b)),
		-cmp.Compare(w.Related[a.Spec.NodeName], w.Related[b.Spec.NodeName]),
		cmp.Compare(bucket(w.Now, readyA, okA), bucket(w.Now, readyB, okB)),
		-cmp.Compare(restarts(a), restarts(b)),
		cmp.Compare(bucket(w.Now, a.CreationTimestamp.Time, true), bucket(w.Now, b.CreationTimestamp.Time, true)),
		cmp.Compare(a.UID, b.UID),
	)
}

// no puts false before true.
func no(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phase(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodUnknown:
		return 1
	case corev1.PodRunning:
		return 2
	}
	return 0
}

func deletionCost(p *corev1.Pod) int32 {
	n, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func restarts(p *corev1.Pod) (n int32) {
	for _, c := range p.Status.ContainerStatuses {
		n = max(n, c.RestartCount)
	}
	return n
}

// bucket is the logarithm of an age: pods of about one age are equal, so that their place decides.
func bucket(now, t time.Time, ok bool) int {
	if !ok || t.IsZero() {
		return -1
	}
	age := now.Sub(t)
	if age < 1 {
		return 0
	}
	return int(math.Log2(float64(age)))
}

// related counts the active pods per node, of sets with these uids.
func related(pods func(owner types.UID) []*corev1.Pod, sets []types.UID) map[string]int {
	n := map[string]int{}
	for _, uid := range sets {
		for _, p := range pods(uid) {
			if Active(p) {
				n[p.Spec.NodeName]++
			}
		}
	}
	return n
}
