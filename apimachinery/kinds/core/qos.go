package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOS is the quality-of-service class of a pod: Guaranteed where every container limits cpu and memory to what
// it requests, BestEffort where none asks for either, Burstable else. Pod-level resources, where set, decide alone.
func QOS(s *corev1.PodSpec) corev1.PodQOSClass {
	asks, guaranteed := false, true
	judge := func(r *corev1.ResourceRequirements) {
		asks = asks || asksQOS(r.Requests) || asksQOS(r.Limits)
		guaranteed = guaranteed && limited(r, corev1.ResourceCPU) && limited(r, corev1.ResourceMemory)
	}
	if s.Resources != nil {
		judge(s.Resources)
	} else {
		for c := range containers(s) {
			judge(&c.Resources)
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// limited says whether a resource is limited to what is requested of it.
func limited(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	limit, ok := r.Limits[name]
	request, asked := r.Requests[name]
	return ok && !limit.IsZero() && (!asked || request.Cmp(limit) == 0)
}

func asksQOS(list corev1.ResourceList) bool {
	positive := func(q resource.Quantity) bool { return q.Sign() > 0 }
	return positive(list[corev1.ResourceCPU]) || positive(list[corev1.ResourceMemory])
}
