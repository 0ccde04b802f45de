package pods

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// NodeAffinity refuses nodes that a pod's node selector or required node affinity
// doesn't select.
type NodeAffinity struct{ *Labels }

var (
	_ scheduling.Filter[*corev1.Pod]              = NodeAffinity{}
	_ scheduling.Explainer[*corev1.Pod]           = NodeAffinity{}
	_ scheduling.Local[*corev1.Pod]               = NodeAffinity{}
	_ scheduling.Skipper[*corev1.Pod]             = NodeAffinity{}
	_ scheduling.Hinter[*corev1.Pod, corev1.Node] = NodeAffinity{}
)

// Name returns the plugin's name.
func (NodeAffinity) Name() string { return "NodeAffinity" }

// Skip skips pods that select nothing.
func (NodeAffinity) Skip(pod *corev1.Pod) bool {
	return len(pod.Spec.NodeSelector) == 0 && requiredAffinity(pod) == nil
}

// Filter keeps the nodes that the selector and any one of the terms select.
func (a NodeAffinity) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	for key, value := range pod.Spec.NodeSelector {
		a.keep(&corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}, h)
	}
	required := requiredAffinity(pod)
	if required == nil {
		return nil
	}
	selected, one := make(hosts, len(h)), make(hosts, len(h))
	for i := range required.NodeSelectorTerms {
		one.Copy(h)
		a.keepTerm(&required.NodeSelectorTerms[i], one)
		selected.Or(one)
	}
	h.And(selected)
	return nil
}

// Explain asks Filter about one node.
func (a NodeAffinity) Explain(pod *corev1.Pod, n int) []string {
	return explainBy(a, pod, n, "node(s) didn't match Pod's node affinity/selector")
}

// Class is what the pod requires.
func (NodeAffinity) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	key = binary.AppendUvarint(key, uint64(len(pod.Spec.NodeSelector)))
	for _, k := range slices.Sorted(maps.Keys(pod.Spec.NodeSelector)) {
		key = appendString(appendString(key, k), pod.Spec.NodeSelector[k])
	}
	if required := requiredAffinity(pod); required != nil {
		key = append(key, 1)
		for i := range required.NodeSelectorTerms {
			key = appendTerm(key, &required.NodeSelectorTerms[i])
		}
	}
	return key, true
}

// Hint says yes when a node came, or changed its labels.
func (NodeAffinity) Hint(_ *corev1.Pod, e event) bool {
	return e.Kind == scheduling.HostAdded || e.Kind == scheduling.HostChanged && !maps.Equal(e.Old.Labels, e.New.Labels)
}

func requiredAffinity(pod *corev1.Pod) *corev1.NodeSelector {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

func appendTerm(key []byte, term *corev1.NodeSelectorTerm) []byte {
	for _, rs := range [][]corev1.NodeSelectorRequirement{term.MatchExpressions, term.MatchFields} {
		key = binary.AppendUvarint(key, uint64(len(rs)))
		for i := range rs {
			key = appendString(appendString(key, rs[i].Key), string(rs[i].Operator))
			key = binary.AppendUvarint(key, uint64(len(rs[i].Values)))
			for _, v := range rs[i].Values {
				key = appendString(key, v)
			}
		}
	}
	return key
}

// explainBy asks a filter about one node.
func explainBy(f scheduling.Filter[*corev1.Pod], pod *corev1.Pod, n int, reason string) []string {
	one := scheduling.NewHosts(n + 1)
	one.Add(n)
	if err := f.Filter(context.Background(), pod, one); err != nil || one.Has(n) {
		return nil
	}
	return []string{reason}
}

// Pinned refuses the nodes that a pod's required affinity leaves out by naming
// others, as a daemon's pod does. It is apart from [NodeAffinity], whose name it
// has, because it comes before everything else.
type Pinned struct{ *Labels }

var (
	_ scheduling.Filter[*corev1.Pod]              = Pinned{}
	_ scheduling.Explainer[*corev1.Pod]           = Pinned{}
	_ scheduling.Local[*corev1.Pod]               = Pinned{}
	_ scheduling.Skipper[*corev1.Pod]             = Pinned{}
	_ scheduling.Hinter[*corev1.Pod, corev1.Node] = Pinned{}
)

// Name returns the name of the plugin that it is a part of.
func (Pinned) Name() string { return NodeAffinity{}.Name() }

// Skip skips pods that aren't pinned: any term that names no node leaves all open.
func (Pinned) Skip(pod *corev1.Pod) bool {
	required := requiredAffinity(pod)
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return true
	}
	return slices.ContainsFunc(required.NodeSelectorTerms, func(t corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchFields, pins)
	})
}

func pins(r corev1.NodeSelectorRequirement) bool {
	return r.Key == "metadata.name" && r.Operator == corev1.NodeSelectorOpIn
}

// Filter keeps the nodes that are named.
func (p Pinned) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	if p.Skip(pod) {
		return nil
	}
	selected, one := make(hosts, len(h)), make(hosts, len(h))
	for _, term := range requiredAffinity(pod).NodeSelectorTerms {
		one.Copy(h)
		for i := range term.MatchFields {
			if pins(term.MatchFields[i]) {
				p.keepField(&term.MatchFields[i], one)
			}
		}
		selected.Or(one)
	}
	h.And(selected)
	return nil
}

// Explain asks Filter about one node.
func (p Pinned) Explain(pod *corev1.Pod, n int) []string {
	return explainBy(p, pod, n, "node(s) didn't satisfy plugin(s) [NodeAffinity]")
}

// Class is what the pod requires.
func (Pinned) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	return NodeAffinity{}.Class(key, pod)
}

// Hint says yes when a node came.
func (Pinned) Hint(_ *corev1.Pod, e event) bool { return e.Kind == scheduling.HostAdded }

// PreferredAffinity prefers the nodes that a pod's preferred node affinity
// selects, by weight: NodeAffinity's score.
type PreferredAffinity struct{ *Labels }

var (
	_ scheduling.Score[*corev1.Pod]   = PreferredAffinity{}
	_ scheduling.Scaler               = PreferredAffinity{}
	_ scheduling.Local[*corev1.Pod]   = PreferredAffinity{}
	_ scheduling.Skipper[*corev1.Pod] = PreferredAffinity{}
)

// Name returns the name of the plugin that it is a part of.
func (PreferredAffinity) Name() string { return NodeAffinity{}.Name() }

// Skip skips pods that prefer nothing.
func (PreferredAffinity) Skip(pod *corev1.Pod) bool { return len(preferredTerms(pod)) == 0 }

// Score adds up the weights of the terms that select a node.
func (a PreferredAffinity) Score(_ context.Context, pod *corev1.Pod, h hosts, score []int64) error {
	for n := range h.All() {
		score[n] = 0
	}
	one := make(hosts, len(h))
	terms := preferredTerms(pod)
	for i := range terms {
		one.Copy(h)
		a.keepTerm(&terms[i].Preference, one)
		for n := range one.All() {
			score[n] += int64(terms[i].Weight)
		}
	}
	return nil
}

// Scale makes the best node 100.
func (PreferredAffinity) Scale(h hosts, score []int64, _, highest int64) {
	scaleToHighest(h, score, highest, false)
}

// Class is what the pod prefers.
func (PreferredAffinity) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	terms := preferredTerms(pod)
	for i := range terms {
		key = appendTerm(binary.AppendVarint(key, int64(terms[i].Weight)), &terms[i].Preference)
	}
	return key, true
}

func preferredTerms(pod *corev1.Pod) []corev1.PreferredSchedulingTerm {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// scaleToHighest makes the highest score 100, or 0 when less is better.
func scaleToHighest(h hosts, score []int64, highest int64, lessIsBetter bool) {
	for n := range h.All() {
		v := score[n]
		if highest > 0 {
			v = v * scheduling.MaxScore / highest
		}
		if lessIsBetter {
			v = scheduling.MaxScore - v
		}
		score[n] = v
	}
}
