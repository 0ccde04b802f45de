package pods

import (
	"context"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// NodeName refuses all nodes but the one that a pod names.
type NodeName struct{ *Labels }

var (
	_ scheduling.Filter[*corev1.Pod]              = NodeName{}
	_ scheduling.Explainer[*corev1.Pod]           = NodeName{}
	_ scheduling.Local[*corev1.Pod]               = NodeName{}
	_ scheduling.Skipper[*corev1.Pod]             = NodeName{}
	_ scheduling.Hinter[*corev1.Pod, corev1.Node] = NodeName{}
)

// Name returns the plugin's name.
func (NodeName) Name() string { return "NodeName" }

// Skip skips pods that name no node.
func (NodeName) Skip(pod *corev1.Pod) bool { return pod.Spec.NodeName == "" }

// Filter keeps the node that is named.
func (p NodeName) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	if pod.Spec.NodeName == "" {
		return nil
	}
	n, known := p.names[pod.Spec.NodeName]
	keep := known && h.Has(n)
	h.Clear()
	if keep {
		h.Add(n)
	}
	return nil
}

// Explain compares the names.
func (p NodeName) Explain(pod *corev1.Pod, n int) []string {
	if want := pod.Spec.NodeName; want != "" && want != p.name.Get(n) {
		return []string{"node(s) didn't match the requested node name"}
	}
	return nil
}

// Class is the name.
func (NodeName) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	return append(key, pod.Spec.NodeName...), true
}

// Hint says yes when the node that is named came.
func (NodeName) Hint(pod *corev1.Pod, e event) bool {
	return e.Kind == scheduling.HostAdded && e.Host == pod.Spec.NodeName
}

// NodeUnschedulable refuses nodes that are cordoned, unless the pod tolerates that.
type NodeUnschedulable struct{ cordoned hosts }

var (
	_ scheduling.Columns[*corev1.Pod, corev1.Node] = (*NodeUnschedulable)(nil)
	_ scheduling.Filter[*corev1.Pod]               = (*NodeUnschedulable)(nil)
	_ scheduling.Explainer[*corev1.Pod]            = (*NodeUnschedulable)(nil)
	_ scheduling.Local[*corev1.Pod]                = (*NodeUnschedulable)(nil)
	_ scheduling.Hinter[*corev1.Pod, corev1.Node]  = (*NodeUnschedulable)(nil)
)

// Name returns the plugin's name.
func (*NodeUnschedulable) Name() string { return "NodeUnschedulable" }

// Host notes whether a node is cordoned.
func (p *NodeUnschedulable) Host(n int, node *corev1.Node) {
	p.cordoned.Remove(n)
	if node != nil && node.Spec.Unschedulable {
		p.cordoned = p.cordoned.Grow(n + 1)
		p.cordoned.Add(n)
	}
}

// Placed is nothing to it.
func (*NodeUnschedulable) Placed(int, *corev1.Pod, int) {}

// Filter takes the cordoned nodes out.
func (p *NodeUnschedulable) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	if p.cordoned.Empty() || toleratesCordon(pod) {
		return nil
	}
	for n := range p.cordoned.All() {
		h.Remove(n)
	}
	return nil
}

// Explain says that the node is cordoned.
func (p *NodeUnschedulable) Explain(pod *corev1.Pod, n int) []string {
	if p.cordoned.Has(n) && !toleratesCordon(pod) {
		return []string{"node(s) were unschedulable"}
	}
	return nil
}

// Class is whether the pod tolerates it.
func (*NodeUnschedulable) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	if toleratesCordon(pod) {
		key = append(key, 1)
	}
	return key, true
}

// Hint says yes when a node that isn't cordoned came or changed.
func (*NodeUnschedulable) Hint(_ *corev1.Pod, e event) bool {
	return (e.Kind == scheduling.HostAdded || e.Kind == scheduling.HostChanged) && !e.New.Spec.Unschedulable
}

func toleratesCordon(pod *corev1.Pod) bool {
	return tolerates(pod, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
}
