package pods

import (
	"encoding/binary"

	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
)

type hosts = scheduling.Hosts

// Resources keeps what nodes offer and what of it is taken.
// It is shared by [Fit], [LeastAllocated] and [BalancedAllocation].
type Resources struct {
	cpu, memory, ephemeral, pods amountColumns
	scored                       struct{ cpu, memory scheduling.Column[int64] } // taken, as the scores count it
	balance                      scheduling.Column[int64]                       // of cpu and memory, as things are
	scalars                      map[corev1.ResourceName]*amountColumns
	end                          int // one more than the highest number seen
	last                         struct {
		pod *corev1.Pod
		req request
	}
}

// amountColumns is one resource on all nodes.
type amountColumns struct {
	offered, taken, free scheduling.Column[int64]
	nodes                int // on which it is offered or taken; kept for scalars
}

var _ scheduling.Columns[*corev1.Pod, corev1.Node] = (*Resources)(nil)

// NewResources returns empty columns.
func NewResources() *Resources {
	return &Resources{scalars: map[corev1.ResourceName]*amountColumns{}}
}

// Host takes a node's allocatable resources over.
func (r *Resources) Host(n int, node *corev1.Node) {
	r.end = max(r.end, n+1)
	var list corev1.ResourceList
	if node != nil {
		list = node.Status.Allocatable
	}
	of := func(name corev1.ResourceName) int64 { return amount(name, list[name]) }
	r.cpu.offer(n, of(corev1.ResourceCPU))
	r.memory.offer(n, of(corev1.ResourceMemory))
	r.ephemeral.offer(n, of(corev1.ResourceEphemeralStorage))
	r.pods.offer(n, of(corev1.ResourcePods))
	r.scored.cpu.At(n)
	r.scored.memory.At(n)
	r.rebalance(n)
	for name := range r.scalars {
		if _, still := list[name]; !still {
			r.scalar(name, n, func(c *amountColumns) { c.offer(n, 0) })
		}
	}
	for name, q := range list {
		if isScalar(name) {
			r.scalar(name, n, func(c *amountColumns) { c.offer(n, amount(name, q)) })
		}
	}
}

// Placed counts a pod's requests.
func (r *Resources) Placed(n int, pod *corev1.Pod, by int) {
	req, times := r.of(pod), int64(by)
	r.cpu.take(n, times*req.cpu)
	r.memory.take(n, times*req.memory)
	r.ephemeral.take(n, times*req.ephemeral)
	r.pods.take(n, times)
	*r.scored.cpu.At(n) += times * req.scoredCPU
	*r.scored.memory.At(n) += times * req.scoredMemory
	r.rebalance(n)
	for _, s := range req.scalars {
		r.scalar(s.name, n, func(c *amountColumns) { c.take(n, times*s.amount) })
	}
}

func (r *Resources) rebalance(n int) {
	*r.balance.At(n) = balance(r.cpu.taken.Get(n), r.cpu.offered.Get(n), r.memory.taken.Get(n), r.memory.offered.Get(n))
}

// of computes a pod's requests; the last pod's are at hand, as a pod is filtered,
// scored and placed in a row.
func (r *Resources) of(pod *corev1.Pod) *request {
	if r.last.pod != pod {
		r.last.pod, r.last.req = pod, requestOf(pod)
	}
	return &r.last.req
}

// scalar changes a resource that exists only as long as a node offers it or a pod
// takes it.
func (r *Resources) scalar(name corev1.ResourceName, n int, change func(*amountColumns)) {
	c := r.scalars[name]
	if c == nil {
		c = &amountColumns{}
		r.scalars[name] = c
	}
	was := c.has(n)
	change(c)
	switch is := c.has(n); {
	case is && !was:
		c.nodes++
	case was && !is:
		c.nodes--
	}
	if c.nodes == 0 {
		delete(r.scalars, name)
	}
}

func (c *amountColumns) has(n int) bool { return c.offered.Get(n) != 0 || c.taken.Get(n) != 0 }

func (c *amountColumns) offer(n int, v int64) {
	*c.offered.At(n) = v
	*c.free.At(n) = v - *c.taken.At(n)
}

func (c *amountColumns) take(n int, v int64) {
	*c.taken.At(n) += v
	*c.free.At(n) = c.offered.Get(n) - c.taken[n]
}

// classOf appends everything that the plugins over Resources look at in a pod.
func (r *Resources) classOf(key []byte, pod *corev1.Pod) []byte {
	req := r.of(pod)
	for _, v := range []int64{req.cpu, req.memory, req.ephemeral, req.scoredCPU, req.scoredMemory} {
		key = binary.AppendVarint(key, v)
	}
	for _, s := range req.scalars {
		key = appendString(key, string(s.name))
		key = binary.AppendVarint(key, s.amount)
	}
	return key
}

// appendString appends a string so that it can't run into what follows.
func appendString(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}
