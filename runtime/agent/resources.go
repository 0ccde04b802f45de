package agent

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/runtime"
)

const (
	cpuPeriod = 100_000 // microseconds
	minQuota  = 1_000
	minShares = 2
	maxShares = 262_144
)

// resources translates requests and limits into what cgroups know.
func resources(r corev1.ResourceRequirements) runtime.Resources {
	var out runtime.Resources
	if m, ok := r.Limits[corev1.ResourceMemory]; ok {
		out.Memory = m.Value()
	}
	if cpu, ok := r.Limits[corev1.ResourceCPU]; ok && !cpu.IsZero() {
		out.CPUPeriod = cpuPeriod
		out.CPUQuota = max(cpu.MilliValue()*cpuPeriod/1000, minQuota)
	}
	out.CPUShares = shares(r.Requests.Cpu().MilliValue())
	return out
}

// shares are 1024 a CPU.
func shares(milli int64) uint64 {
	return uint64(min(max(milli*1024/1000, minShares), maxShares))
}

// podResources limit the pod as a whole: its own where it has them, else the sum of its containers', where
// every one of them has a limit.
func podResources(s *corev1.PodSpec) runtime.Resources {
	if s.Resources != nil {
		return resources(*s.Resources)
	}
	sum := corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}
	limited := map[corev1.ResourceName]int{}
	count := 0
	for _, c := range s.Containers {
		count++
		addTo(sum.Requests, c.Resources.Requests)
		addTo(sum.Limits, c.Resources.Limits)
		for name := range c.Resources.Limits {
			limited[name]++
		}
	}
	for _, c := range s.InitContainers {
		if sidecar(&c) {
			count++
			addTo(sum.Requests, c.Resources.Requests)
			addTo(sum.Limits, c.Resources.Limits)
			for name := range c.Resources.Limits {
				limited[name]++
			}
		}
	}
	for name := range sum.Limits {
		if limited[name] != count || len(s.InitContainers) > 0 {
			delete(sum.Limits, name)
		}
	}
	return resources(sum)
}

func addTo(sum, list corev1.ResourceList) {
	for name, q := range list {
		have := sum[name]
		have.Add(q)
		sum[name] = have
	}
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// oomScoreAdj is how readily the kernel kills a container for want of memory: -997 for Guaranteed pods, 1000 for
// BestEffort, in between by how much of the machine's memory a Burstable one asks for.
func oomScoreAdj(qos corev1.PodQOSClass, c *corev1.Container, machine int64) int {
	switch qos {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if machine <= 0 {
		return 999
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/machine
	return int(min(max(score, 3), 999))
}

// podKey is "namespace/name".
func podKey(p *corev1.Pod) string { return apimachinery.KeyOf(p) }
