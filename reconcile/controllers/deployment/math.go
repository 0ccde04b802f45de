package deployment

import (
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The annotations that kubectl rollout and Kubernetes' own controller read.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
	lastApplied        = "kubectl.kubernetes.io/last-applied-configuration"
	rollbackAnnotation = "deprecated.deployment.rollback.to"
)

func size(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func specSum(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += size(rs.Spec.Replicas)
	}
	return n
}

func actualSum(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.Replicas
	}
	return n
}

func readySum(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.ReadyReplicas
	}
	return n
}

func availableSum(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.AvailableReplicas
	}
	return n
}

// serving counts a set's available pods, less those that its new size takes away though its status doesn't show it yet.
func serving(rs *appsv1.ReplicaSet) int32 {
	return min(size(rs.Spec.Replicas), rs.Status.AvailableReplicas)
}

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType && d.Spec.Strategy.RollingUpdate != nil
}

// limits are how many pods may be too many, and too few, during a rolling update. They are never both 0.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	if !rolling(d) {
		return 0, 0
	}
	r, n := d.Spec.Strategy.RollingUpdate, size(d.Spec.Replicas)
	surge, unavailable = scaled(r.MaxSurge, n, true), scaled(r.MaxUnavailable, n, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// maxUnavailable is never more than there should be.
func maxUnavailable(d *appsv1.Deployment) int32 {
	_, n := limits(d)
	return min(n, size(d.Spec.Replicas))
}

func maxSurge(d *appsv1.Deployment) int32 {
	n, _ := limits(d)
	return n
}

func scaled(v *intstr.IntOrString, of int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(of), up)
	if err != nil {
		return 0
	}
	return int32(n)
}

// newSize is how many replicas the new set should have now.
func newSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, current int32) int32 {
	want := size(d.Spec.Replicas)
	if !rolling(d) {
		return want
	}
	room := want + maxSurge(d) - specSum(all)
	if room <= 0 {
		return current
	}
	return current + min(room, want-current)
}

// fraction is by how much a set grows or shrinks for its share of a change of the deployment's size.
func fraction(d *appsv1.Deployment, rs *appsv1.ReplicaSet) int32 {
	n := size(rs.Spec.Replicas)
	if size(d.Spec.Replicas) == 0 {
		return -n
	}
	before, ok := number(rs, maxAnnotation)
	if !ok || before == 0 {
		// The set predates its annotation: what the deployment had last must do.
		if before = d.Status.Replicas; before == 0 {
			return 0
		}
	}
	now := size(d.Spec.Replicas) + maxSurge(d)
	return int32(math.Round(float64(n)*float64(now)/float64(before))) - n
}

// proportion is a set's share of toAdd, of which added is given out already.
func proportion(d *appsv1.Deployment, rs *appsv1.ReplicaSet, toAdd, added int32) int32 {
	if size(rs.Spec.Replicas) == 0 || toAdd == added {
		return 0
	}
	if toAdd > 0 {
		return min(fraction(d, rs), toAdd-added)
	}
	return max(fraction(d, rs), toAdd-added)
}

func number(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}

// revision is a set's number in the history; 0 if it has none.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func maxRevision(sets []*appsv1.ReplicaSet) (n int64) {
	for _, rs := range sets {
		n = max(n, revision(rs))
	}
	return n
}

// annotate gives the set the deployment's annotations and its place in the history, and says whether that changed
// anything. fresh sets get their sizes too.
func annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet, to int64, fresh bool) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		switch k {
		case revisionAnnotation, historyAnnotation, desiredAnnotation, maxAnnotation, lastApplied, rollbackAnnotation:
			continue
		}
		if have, ok := rs.Annotations[k]; !ok || have != v {
			rs.Annotations[k] = v
			changed = true
		}
	}
	if old := revision(rs); old < to {
		if was := rs.Annotations[revisionAnnotation]; was != "" && !fresh {
			history := rs.Annotations[historyAnnotation]
			if !slices.Contains(strings.Split(history, ","), was) {
				rs.Annotations[historyAnnotation] = strings.TrimPrefix(history+","+was, ",")
			}
		}
		rs.Annotations[revisionAnnotation] = strconv.FormatInt(to, 10)
		changed = true
	}
	if fresh {
		setSizes(d, rs)
	}
	return changed || fresh
}

// setSizes notes the deployment's size on a set, for proportional scaling later.
func setSizes(d *appsv1.Deployment, rs *appsv1.ReplicaSet) (changed bool) {
	want := size(d.Spec.Replicas)
	for k, n := range map[string]int32{desiredAnnotation: want, maxAnnotation: want + maxSurge(d)} {
		if v := strconv.Itoa(int(n)); rs.Annotations[k] != v {
			if rs.Annotations == nil {
				rs.Annotations = map[string]string{}
			}
			rs.Annotations[k] = v
			changed = true
		}
	}
	return changed
}
