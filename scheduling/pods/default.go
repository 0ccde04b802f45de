package pods

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Plugin is a rule about pods and nodes.
type Plugin = scheduling.Plugin[*corev1.Pod, corev1.Node]

// Engine is an engine of pods and nodes.
type Engine = scheduling.Engine[*corev1.Pod, corev1.Node]

type event = scheduling.Event[*corev1.Pod, corev1.Node]

// Default returns new instances of the plugins of this package, in kube-scheduler's
// order and with its weights.
func Default() []Plugin {
	resources, labels, taints := NewResources(), NewLabels(), NewTaints()
	unschedulable, ports := &NodeUnschedulable{}, NewNodePorts()
	return []Plugin{
		{Columns: labels, Filter: Pinned{labels}},
		{Columns: unschedulable, Filter: unschedulable},
		{Columns: labels, Filter: NodeName{labels}},
		{Columns: taints, Filter: TaintToleration{taints}, Score: TaintToleration{taints}, Weight: 3},
		{Columns: labels, Filter: NodeAffinity{labels}, Score: PreferredAffinity{labels}, Weight: 2},
		{Columns: ports, Filter: ports},
		{Columns: resources, Filter: Fit{resources}, Score: LeastAllocated{resources}, Weight: 1},
		{Columns: resources, Score: BalancedAllocation{resources}, Weight: 1},
	}
}

// Config returns what a [scheduling.Cycle] or [scheduling.Scheduler] of pods needs
// to know of them. Without plugins it has those of [Default].
func Config(plugins ...Plugin) scheduling.CycleConfig[*corev1.Pod, corev1.Node] {
	if len(plugins) == 0 {
		plugins = Default()
	}
	return scheduling.CycleConfig[*corev1.Pod, corev1.Node]{
		Config:    scheduling.Config[*corev1.Pod, corev1.Node]{Key: Key, Plugins: plugins, Reasons: true},
		HostOf:    func(pod *corev1.Pod) string { return pod.Spec.NodeName },
		Priority:  priority,
		Gated:     func(pod *corev1.Pod) bool { return len(pod.Spec.SchedulingGates) > 0 },
		EqualItem: equalPods,
		EqualHost: equalNodes,
	}
}

// NewEngine returns an engine of pods and nodes without any. Without plugins it
// has those of [Default].
func NewEngine(plugins ...Plugin) (*Engine, error) {
	return scheduling.NewEngine(Config(plugins...).Config)
}

// Key identifies a pod: by its UID, as a pod that was deleted and made anew under
// the same name is another one; by namespace and name where it has none.
func Key(pod *corev1.Pod) string {
	if pod.UID != "" {
		return string(pod.UID)
	}
	return pod.Namespace + "/" + pod.Name
}

// Message is what kube-scheduler says of a pod that it can't schedule, in the
// pod's condition and in an event.
func Message(err error) string {
	unfit, ok := errors.AsType[*scheduling.Unfit](err)
	switch {
	case !ok:
		return err.Error()
	case unfit.Hosts == 0:
		return "no nodes available to schedule pods"
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", unfit.Hosts, strings.Join(unfit.Histogram(), ", "))
}

func priority(pod *corev1.Pod) int64 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return int64(*pod.Spec.Priority)
}

// equalPods reports whether two states of a pod are the same to every plugin: all
// but the node, which is asked for apart, and what the scheduler itself writes.
func equalPods(a, b *corev1.Pod) bool {
	if a == b {
		return true
	}
	if (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) || !maps.Equal(a.Labels, b.Labels) || !maps.Equal(a.Annotations, b.Annotations) {
		return false
	}
	specA, specB := a.Spec, b.Spec
	specA.NodeName, specB.NodeName = "", ""
	if !equality.Semantic.DeepEqual(&specA, &specB) {
		return false
	}
	return !(wasResized(a) || wasResized(b)) || sameAmounts(requestOf(a), requestOf(b))
}

func sameAmounts(a, b request) bool {
	return slices.Equal(a.scalars, b.scalars) && a.cpu == b.cpu && a.memory == b.memory && a.ephemeral == b.ephemeral &&
		a.scoredCPU == b.scoredCPU && a.scoredMemory == b.scoredMemory
}

// equalNodes reports whether two states of a node are the same to every plugin:
// all but its conditions, and what else of its status beats with its heart.
func equalNodes(a, b *corev1.Node) bool {
	return a == b || maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(&a.Spec, &b.Spec) &&
		equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) &&
		equality.Semantic.DeepEqual(a.Status.Images, b.Status.Images)
}
