package pods

import (
	"context"
	"math"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

// Fit refuses nodes that lack what a pod requests, NodeResourcesFit by name.
type Fit struct{ *Resources }

var (
	_ scheduling.Filter[*corev1.Pod]              = Fit{}
	_ scheduling.Explainer[*corev1.Pod]           = Fit{}
	_ scheduling.Local[*corev1.Pod]               = Fit{}
	_ scheduling.Hinter[*corev1.Pod, corev1.Node] = Fit{}
)

// Name returns the plugin's name.
func (Fit) Name() string { return "NodeResourcesFit" }

// Filter compares what is requested, and only that, with what is free.
func (f Fit) Filter(_ context.Context, pod *corev1.Pod, h hosts) error {
	req := f.of(pod)
	keep := func(c *amountColumns, want int64) {
		if want > 0 {
			h.KeepAtLeast(c.free, want)
		}
	}
	keep(&f.pods, 1)
	keep(&f.cpu, req.cpu)
	keep(&f.memory, req.memory)
	keep(&f.ephemeral, req.ephemeral)
	for _, s := range req.scalars {
		c := f.scalars[s.name]
		if c == nil {
			h.Clear()
			return nil
		}
		c.free.At(f.end) // cover nodes that know nothing of it
		keep(c, s.amount)
	}
	return nil
}

// Explain names each resource that is short.
func (f Fit) Explain(pod *corev1.Pod, n int) []string {
	var short []string
	if f.pods.free.Get(n) < 1 {
		short = append(short, "Too many pods")
	}
	req := f.of(pod)
	for _, r := range []struct {
		name corev1.ResourceName
		c    *amountColumns
		want int64
	}{
		{corev1.ResourceCPU, &f.cpu, req.cpu},
		{corev1.ResourceMemory, &f.memory, req.memory},
		{corev1.ResourceEphemeralStorage, &f.ephemeral, req.ephemeral},
	} {
		if r.want > 0 && r.want > r.c.free.Get(n) {
			short = append(short, "Insufficient "+string(r.name))
		}
	}
	for _, s := range req.scalars {
		if c := f.scalars[s.name]; c == nil || s.amount > c.free.Get(n) {
			short = append(short, "Insufficient "+string(s.name))
		}
	}
	return short
}

// Class is what the pod requests.
func (f Fit) Class(key []byte, pod *corev1.Pod) ([]byte, bool) { return f.classOf(key, pod), true }

// Hint says yes when something left a node, and when a node that is big enough for
// the pod came or changed.
func (f Fit) Hint(pod *corev1.Pod, e event) bool {
	switch e.Kind {
	case scheduling.ItemUnplaced:
		return true
	case scheduling.HostAdded, scheduling.HostChanged:
		return couldHold(e.New, requestOf(pod))
	}
	return false
}

// couldHold reports whether an empty node would do.
func couldHold(node *corev1.Node, req request) bool {
	of := func(name corev1.ResourceName) int64 { return amount(name, node.Status.Allocatable[name]) }
	for _, s := range req.scalars {
		if s.amount > of(s.name) {
			return false
		}
	}
	return of(corev1.ResourcePods) > 0 && req.cpu <= of(corev1.ResourceCPU) && req.memory <= of(corev1.ResourceMemory) &&
		req.ephemeral <= of(corev1.ResourceEphemeralStorage)
}

// LeastAllocated prefers nodes with more cpu and memory left, each in parts of
// what the node offers: NodeResourcesFit's default score.
type LeastAllocated struct{ *Resources }

var (
	_ scheduling.Score[*corev1.Pod] = LeastAllocated{}
	_ scheduling.Local[*corev1.Pod] = LeastAllocated{}
)

// Name returns the plugin's name.
func (LeastAllocated) Name() string { return "LeastAllocated" }

// Score averages over cpu and memory what would be left, in percent.
func (l LeastAllocated) Score(_ context.Context, pod *corev1.Pod, h hosts, score []int64) error {
	req := l.of(pod)
	for n := range h.All() {
		cpu, cpus := leftPercent(l.cpu.offered[n], l.scored.cpu[n]+req.scoredCPU)
		memory, memories := leftPercent(l.memory.offered[n], l.scored.memory[n]+req.scoredMemory)
		score[n] = (cpu + memory) / max(cpus+memories, 1)
	}
	return nil
}

// leftPercent is what is left, and the weight of that: a resource that the node
// doesn't offer has none.
func leftPercent(offered, taken int64) (percent, weight int64) {
	switch {
	case offered == 0:
		return 0, 0
	case taken > offered:
		return 0, 1
	}
	return (offered - taken) * scheduling.MaxScore / offered, 1
}

// Class is what the pod requests.
func (l LeastAllocated) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	return l.classOf(key, pod), true
}

// BalancedAllocation prefers nodes whose cpu and memory the pod would bring into
// balance: NodeResourcesBalancedAllocation by name. Pods that request neither are
// skipped.
type BalancedAllocation struct{ *Resources }

var (
	_ scheduling.Score[*corev1.Pod]   = BalancedAllocation{}
	_ scheduling.Local[*corev1.Pod]   = BalancedAllocation{}
	_ scheduling.Skipper[*corev1.Pod] = BalancedAllocation{}
)

// Name returns the plugin's name.
func (BalancedAllocation) Name() string { return "NodeResourcesBalancedAllocation" }

// Skip skips pods that request neither cpu nor memory.
func (b BalancedAllocation) Skip(pod *corev1.Pod) bool {
	req := b.of(pod)
	return req.cpu == 0 && req.memory == 0
}

// Score compares the balance with the pod to the balance without it, and gives 75
// when it makes no difference.
func (b BalancedAllocation) Score(_ context.Context, pod *corev1.Pod, h hosts, score []int64) error {
	req := b.of(pod)
	for n := range h.All() {
		cpu, memory := b.cpu.offered[n], b.memory.offered[n]
		with := balance(b.cpu.taken[n]+req.cpu, cpu, b.memory.taken[n]+req.memory, memory)
		score[n] = scheduling.MaxScore/2 + (scheduling.MaxScore/2+with-b.balance[n])/2
	}
	return nil
}

// balance is 100 when the same part of both is taken, and less by the standard
// deviation of the two parts.
func balance(cpu, cpus, memory, memories int64) int64 {
	if cpus == 0 || memories == 0 {
		return scheduling.MaxScore
	}
	a, b := float64(cpu)/float64(cpus), float64(memory)/float64(memories)
	if a > 1 {
		a = 1
	}
	if b > 1 {
		b = 1
	}
	return int64((1 - math.Abs(a-b)/2) * scheduling.MaxScore)
}

// Class is what the pod requests.
func (b BalancedAllocation) Class(key []byte, pod *corev1.Pod) ([]byte, bool) {
	return b.classOf(key, pod), true
}
