package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Execution is what is to become of a node's taints that evict.
type Execution int

// What may become of them.
const (
	// Hold adds none; one that is there goes with its cause, or becomes the other.
	Hold Execution = iota
	// Evict adds the one that the node's condition calls for.
	Evict
	// Lift takes them off, whatever the condition is: evictions are stopped.
	Lift
)

// Calls says whether a node's condition calls for a taint that evicts, and it has none.
func Calls(n *corev1.Node) bool {
	return executes(n) != "" && !slices.ContainsFunc(n.Spec.Taints, ours)
}

// executes is the key of the taint that evicts from a node, "" if none.
func executes(n *corev1.Node) string {
	switch readiness(n) {
	case corev1.ConditionFalse:
		return corev1.TaintNodeNotReady
	case corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	}
	return ""
}

// ours says whether a taint is one that evicts and that this controller keeps.
func ours(t corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
}

// wanted are the NoSchedule taints that follow from a node's conditions and its spec.
func wanted(n *corev1.Node) (keys []string) {
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse:
			keys = append(keys, corev1.TaintNodeNotReady)
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown:
			keys = append(keys, corev1.TaintNodeUnreachable)
		case c.Status == corev1.ConditionTrue && pressures()[c.Type] != "":
			keys = append(keys, pressures()[c.Type])
		}
	}
	if n.Spec.Unschedulable {
		keys = append(keys, corev1.TaintNodeUnschedulable)
	}
	return keys
}

func pressures() map[corev1.NodeConditionType]string {
	return map[corev1.NodeConditionType]string{
		corev1.NodeMemoryPressure: corev1.TaintNodeMemoryPressure, corev1.NodeDiskPressure: corev1.TaintNodeDiskPressure,
		corev1.NodePIDPressure: corev1.TaintNodePIDPressure, corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
	}
}

// follows says whether a key is one of those that wanted may return.
func follows(key string) bool {
	switch key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure,
		corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable:
		return true
	}
	return false
}

// Taints are those that a node should have, and whether they are others than it has. Those of other people stay as
// they are. A node that has not said yet whether it is ready keeps what evicts. It is a pure function.
func Taints(n *corev1.Node, e Execution, now time.Time) (taints []corev1.Taint, changed bool) {
	keys, execute, since := wanted(n), executes(n), metav1.NewTime(now)
	keep := func(t corev1.Taint) bool {
		switch {
		case ours(t):
			return e != Lift && (t.Key == execute || readiness(n) == "")
		case t.Effect == corev1.TaintEffectNoSchedule && follows(t.Key):
			return slices.Contains(keys, t.Key)
		}
		return true
	}
	swap := false
	for _, t := range n.Spec.Taints {
		if keep(t) {
			taints = append(taints, t)
			continue
		}
		changed = true
		if ours(t) && execute != "" && e != Lift {
			if swap = true; t.TimeAdded != nil && t.TimeAdded.Before(&since) {
				since = *t.TimeAdded
			}
		}
	}
	has := func(key string, effect corev1.TaintEffect) bool {
		return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect == effect })
	}
	for _, key := range keys {
		if !has(key, corev1.TaintEffectNoSchedule) {
			at := metav1.NewTime(now)
			taints, changed = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &at}), true
		}
	}
	if execute != "" && (e == Evict || swap) && !has(execute, corev1.TaintEffectNoExecute) {
		taints, changed = append(taints, corev1.Taint{Key: execute, Effect: corev1.TaintEffectNoExecute, TimeAdded: &since}), true
	}
	return taints, changed
}
