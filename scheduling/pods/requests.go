package pods

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// amountLimit bounds every single amount, requested or offered, so that sums over
// a node's pods stay exact: 4.5e15, which is 4 PiB or 4.5e12 cores.
const amountLimit = 1 << 52

// What the scores count for a container that says nothing of cpu or memory.
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 << 20
)

// request is what a pod asks a node for.
type request struct {
	cpu, memory, ephemeral int64 // milli-cores, bytes, bytes
	// The same for scores: a container that requests nothing counts as a small one.
	scoredCPU, scoredMemory int64
	scalars                 []scalar // sorted by name, none zero
}

type scalar struct {
	name   corev1.ResourceName
	amount int64
}

// amounts is a sum or maximum of resource lists.
type amounts struct {
	cpu, memory, ephemeral int64
	scalars                map[corev1.ResourceName]int64
}

// requestOf computes what a pod asks for: the sum over its containers and
// sidecars or, if that is more, what starting its init containers takes (KEP-753);
// resized containers count with what they have, got or want, whichever is most
// (KEP-1287); requests of the pod itself replace the sum (KEP-2837); overhead is
// added (KEP-688).
func requestOf(pod *corev1.Pod) request {
	a := podAmounts(pod, amounts{})
	r := request{cpu: a.cpu, memory: a.memory, ephemeral: a.ephemeral, scoredCPU: a.cpu, scoredMemory: a.memory}
	if missing := missingRequests(pod, a); missing.cpu > 0 || missing.memory > 0 {
		scored := podAmounts(pod, missing)
		r.scoredCPU, r.scoredMemory = scored.cpu, scored.memory
	}
	for name, amount := range a.scalars {
		if amount != 0 {
			r.scalars = append(r.scalars, scalar{name, amount})
		}
	}
	slices.SortFunc(r.scalars, func(a, b scalar) int { return strings.Compare(string(a.name), string(b.name)) })
	return r
}

// missingRequests is what the scores put in for containers without requests. A
// pod with requests of its own has them only for what nothing was requested of.
func missingRequests(pod *corev1.Pod, a amounts) amounts {
	missing := amounts{cpu: defaultMilliCPU, memory: defaultMemory}
	if hasPodRequests(pod) {
		if a.cpu != 0 {
			missing.cpu = 0
		}
		if a.memory != 0 {
			missing.memory = 0
		}
	}
	return missing
}

// podAmounts adds up a pod, putting in what is missing for containers that don't
// mention cpu or memory.
func podAmounts(pod *corev1.Pod, missing amounts) amounts {
	sum := containersAmounts(pod, missing, specRequests)
	if wasResized(pod) {
		infeasible := resizeInfeasible(pod)
		actual := containersAmounts(pod, missing, func(c *corev1.Container, s *corev1.ContainerStatus) corev1.ResourceList {
			return actualRequests(c, s, infeasible)
		})
		allocated := containersAmounts(pod, missing, func(c *corev1.Container, s *corev1.ContainerStatus) corev1.ResourceList {
			return allocatedRequests(c, s, infeasible)
		})
		if infeasible {
			sum = amounts{}
		}
		sum.atLeast(actual)
		sum.atLeast(allocated)
	}
	if hasPodRequests(pod) {
		sum.replace(podLevel(pod))
	}
	sum.add(pod.Spec.Overhead, amounts{})
	sum.limit()
	return sum
}

// containersAmounts is the most that a pod's containers need at any one time.
func containersAmounts(pod *corev1.Pod, missing amounts, of func(*corev1.Container, *corev1.ContainerStatus) corev1.ResourceList) amounts {
	var running, sidecars, starting amounts
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		running.add(of(c, statusOf(pod.Status.ContainerStatuses, c.Name)), missing)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		list := of(c, statusOf(pod.Status.InitContainerStatuses, c.Name))
		if isSidecar(c) {
			running.add(list, missing)
			sidecars.add(list, missing)
			starting.atLeast(sidecars)
			continue
		}
		step := sidecars.clone()
		step.add(list, missing)
		starting.atLeast(step)
	}
	running.atLeast(starting)
	return running
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func statusOf(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range statuses {
		if statuses[i].Name == name {
			return &statuses[i]
		}
	}
	return nil
}

// wasResized reports whether any status says something of resources; otherwise the
// spec alone counts.
func wasResized(pod *corev1.Pod) bool {
	said := func(s corev1.ContainerStatus) bool { return s.Resources != nil || s.AllocatedResources != nil }
	return slices.ContainsFunc(pod.Status.ContainerStatuses, said) || slices.ContainsFunc(pod.Status.InitContainerStatuses, said)
}

func resizeInfeasible(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodResizePending {
			return c.Reason == corev1.PodReasonInfeasible
		}
	}
	return false
}

func specRequests(c *corev1.Container, _ *corev1.ContainerStatus) corev1.ResourceList {
	return c.Resources.Requests
}

func allocatedRequests(c *corev1.Container, s *corev1.ContainerStatus, infeasible bool) corev1.ResourceList {
	switch {
	case s != nil && s.AllocatedResources != nil:
		return s.AllocatedResources
	case infeasible:
		return nil
	}
	return c.Resources.Requests
}

func actualRequests(c *corev1.Container, s *corev1.ContainerStatus, infeasible bool) corev1.ResourceList {
	if s != nil && s.Resources != nil && s.Resources.Requests != nil {
		return s.Resources.Requests
	}
	return allocatedRequests(c, s, infeasible)
}

// podLevel is what the pod as a whole requests, and has, of what can be requested
// so: cpu, memory and huge pages.
func podLevel(pod *corev1.Pod) map[corev1.ResourceName]int64 {
	most := map[corev1.ResourceName]int64{}
	take := func(list, less corev1.ResourceList) {
		for name, q := range list {
			if podLevelResource(name) {
				minus := less[name]
				most[name] = max(most[name], amount(name, q)-amount(name, minus))
			}
		}
	}
	if !resizeInfeasible(pod) || pod.Status.Resources == nil && pod.Status.AllocatedResources == nil {
		take(pod.Spec.Resources.Requests, nil)
	}
	if pod.Status.Resources != nil {
		take(pod.Status.Resources.Requests, pod.Spec.Overhead)
	}
	take(pod.Status.AllocatedResources, pod.Spec.Overhead)
	return most
}

func hasPodRequests(pod *corev1.Pod) bool {
	if pod.Spec.Resources == nil {
		return false
	}
	for name := range pod.Spec.Resources.Requests {
		if podLevelResource(name) {
			return true
		}
	}
	return false
}

func podLevelResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isScalar reports whether a resource is counted by its name: extended resources,
// huge pages, attachable volumes.
func isScalar(name corev1.ResourceName) bool {
	s := string(name)
	return strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) || strings.HasPrefix(s, corev1.ResourceAttachableVolumesPrefix) ||
		strings.Contains(s, "/") && (strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) || !strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix))
}

// amount is a quantity in the unit that it is counted in, between 0 and amountLimit.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	v := q.Value()
	if name == corev1.ResourceCPU {
		if v > amountLimit/1000 {
			return amountLimit
		}
		v = q.MilliValue()
	}
	return min(max(v, 0), amountLimit)
}

// change replaces the amount of a resource; one that isn't counted has none.
func (a *amounts) change(name corev1.ResourceName, to func(int64) int64) {
	switch {
	case name == corev1.ResourceCPU:
		a.cpu = to(a.cpu)
	case name == corev1.ResourceMemory:
		a.memory = to(a.memory)
	case name == corev1.ResourceEphemeralStorage:
		a.ephemeral = to(a.ephemeral)
	case isScalar(name):
		if a.scalars == nil {
			a.scalars = map[corev1.ResourceName]int64{}
		}
		a.scalars[name] = to(a.scalars[name])
	}
}

// add adds a list, and what is missing in it. Sums can't overflow: each amount is
// limited, and so is the number of containers by what an API server takes.
func (a *amounts) add(list corev1.ResourceList, missing amounts) {
	for name, q := range list {
		v := amount(name, q)
		a.change(name, func(was int64) int64 { return min(was+v, amountLimit) })
	}
	if _, ok := list[corev1.ResourceCPU]; !ok {
		a.cpu += missing.cpu
	}
	if _, ok := list[corev1.ResourceMemory]; !ok {
		a.memory += missing.memory
	}
}

func (a *amounts) replace(by map[corev1.ResourceName]int64) {
	for name, v := range by {
		a.change(name, func(int64) int64 { return v })
	}
}

func (a *amounts) atLeast(b amounts) {
	a.cpu, a.memory, a.ephemeral = max(a.cpu, b.cpu), max(a.memory, b.memory), max(a.ephemeral, b.ephemeral)
	for name, v := range b.scalars {
		a.change(name, func(was int64) int64 { return max(was, v) })
	}
}

func (a *amounts) clone() amounts {
	var c amounts
	c.atLeast(*a)
	return c
}

func (a *amounts) limit() {
	a.cpu, a.memory, a.ephemeral = min(a.cpu, amountLimit), min(a.memory, amountLimit), min(a.ephemeral, amountLimit)
}
