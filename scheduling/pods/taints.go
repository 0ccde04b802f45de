package pods

import (
	"context"
	"strconv"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
)

// Taints keeps the taints of nodes. Nodes with the same taints share one set, so
// that a pod's tolerations are compared once per set.
type Taints struct {
	of   scheduling.Column[int32] // number of the set
	sets []taintSet               // number 0: no taints
	ids  map[string]int32
	free []int32
}

type taintSet struct {
	key    string
	taints []corev1.Taint
	nodes  int
}

var _ scheduling.Columns[*corev1.Pod, corev1.Node] = (*Taints)(nil)

// NewTaints returns empty columns.
func NewTaints() *Taints {
	return &Taints{sets: make([]taintSet, 1), ids: map[string]int32{"": 0}}
}

// Host takes a node's taints over.
func (t *Taints) Host(n int, node *corev1.Node) {
	var id int32
	if node != nil {
		id = t.id(node.Spec.Taints)
	}
	place := t.of.At(n)
	was := *place
	*place = id
	t.sets[id].nodes++
	if was == 0 {
		return
	}
	if t.sets[was].nodes--; t.sets[was].nodes == 0 {
		delete(t.ids, t.sets[was].key)
		t.sets[was] = taintSet{}
		t.free = append(t.free, was)
	}
}

// Placed is nothing to taints.
func (t *Taints) Placed(int, *corev1.Pod, int) {}

func (t *Taints) id(taints []corev1.Taint) int32 {
	var key []byte
	for i := range taints {
		key = appendString(appendString(appendString(key, taints[i].Key), taints[i].Value), string(taints[i].Effect))
	}
	if id, ok := t.ids[string(key)]; ok {
		return id
	}
	set := taintSet{key: string(key), taints: taints}
	id := int32(len(t.sets))
	if last := len(t.free) - 1; last >= 0 {
		id, t.free = t.free[last], t.free[:last]
		t.sets[id] = set
	} else {
		t.sets = append(t.sets, set)
	}
	t.ids[set.key] = id
	return id
}

// TaintToleration refuses nodes with a taint that forbids the pod to come and
// that it doesn't tolerate, and prefers nodes with fewer taints that would rather
// not have it.
type TaintToleration struct{ *Taints }

var (
	_ scheduling.Filter[*corev1.Pod]              = TaintToleration{}
	_ scheduling.Explainer[*corev1.Pod]           = TaintToleration{}
	_ scheduling.Score[*corev1.Pod]               = TaintToleration{}
	_ scheduling.Scaler                           = TaintToleration{}
	_ scheduling.Local[*corev1.Pod]               = TaintToleration{}
	_ scheduling.Hinter[*corev1.Pod, corev1.Node] = TaintToleration{}
)

// Name returns the plugin's name.
func (TaintToleration) Name() string { return "TaintToleration" }

// Filter judges each set of taints, then looks up the nodes.
func (t TaintToleration) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	bad, some := make([]bool, len(t.sets)), false
	for i := range t.sets {
		bad[i] = forbidden(pod, t.sets[i].taints)
		some = some || bad[i]
	}
	if !some {
		return nil
	}
	for n := range h.All() {
		if bad[t.of[n]] {
			h.Remove(n)
		}
	}
	return nil
}

// Explain tells that there is such a taint. It doesn't tell which: a pod's owner
// may not be the one who may see nodes.
func (t TaintToleration) Explain(pod *corev1.Pod, n int) []string {
	if forbidden(pod, t.sets[t.of.Get(n)].taints) {
		return []string{"node(s) had untolerated taint(s)"}
	}
	return nil
}

// Score counts the taints of a node that would rather not have the pod.
func (t TaintToleration) Score(_ context.Context, pod *corev1.Pod, h hosts, score []int64) error {
	counts := make([]int64, len(t.sets))
	for i := range t.sets {
		counts[i] = unwelcome(pod, t.sets[i].taints)
	}
	for n := range h.All() {
		score[n] = counts[t.of[n]]
	}
	return nil
}

// Scale makes nodes without such taints 100.
func (TaintToleration) Scale(h hosts, score []int64, _, highest int64) {
	scaleToHighest(h, score, highest, true)
}

// Class is what the pod tolerates.
func (TaintToleration) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	return appendTolerations(key, pod), true
}

// Hint says yes when a node came, or changed its taints to some that the pod
// tolerates.
func (TaintToleration) Hint(pod *corev1.Pod, e event) bool {
	return (e.Kind == scheduling.HostAdded || e.Kind == scheduling.HostChanged) && !forbidden(pod, e.New.Spec.Taints)
}

func appendTolerations(key []byte, pod *corev1.Pod) []byte {
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		for _, s := range []string{t.Key, string(t.Operator), t.Value, string(t.Effect)} {
			key = appendString(key, s)
		}
	}
	return key
}

// forbidden reports whether one of the taints keeps the pod away.
func forbidden(pod *corev1.Pod, taints []corev1.Taint) bool {
	for i := range taints {
		effect := taints[i].Effect
		if (effect == corev1.TaintEffectNoSchedule || effect == corev1.TaintEffectNoExecute) && !tolerates(pod, &taints[i]) {
			return true
		}
	}
	return false
}

// unwelcome counts the taints that would rather not have the pod.
func unwelcome(pod *corev1.Pod, taints []corev1.Taint) (count int64) {
	for i := range taints {
		if taints[i].Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(pod, &taints[i]) {
			count++
		}
	}
	return count
}

func tolerates(pod *corev1.Pod, taint *corev1.Taint) bool {
	for i := range pod.Spec.Tolerations {
		if matches(&pod.Spec.Tolerations[i], taint) {
			return true
		}
	}
	return false
}

// matches reports whether a toleration tolerates a taint: an effect or key that it
// leaves out is any, an operator that it leaves out is Equal. Gt and Lt compare
// integers, the taint's with the toleration's (KEP-5471).
func matches(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		return t.Value == taint.Value
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpGt, corev1.TolerationOpLt:
		wanted, ok := integer(t.Value)
		got, ok2 := integer(taint.Value)
		return ok && ok2 && (t.Operator == corev1.TolerationOpGt && got > wanted || t.Operator == corev1.TolerationOpLt && got < wanted)
	}
	return false
}

func integer(s string) (int64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil && len(content.IsDecimalInteger(s)) == 0
}
