package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOS is the quality-of-service class of a pod: Guaranteed where every container limits cpu and memory to what
// it requests, BestEffort where none asks for either, Burstable else. Pod-level resources, where set, decide alone.
func QOS(s *corev1.PodSpec) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if s.Resources != nil && (len(s.Resources.Requests) > 0 || len(s.Resources.Limits) > 0) {
		all = []corev1.ResourceRequirements{*s.Resources}
	} else {
		for c := range containers(s) {
			all = append(all, c.Resources)
		}
	}
	asks, guaranteed := false, true
	for _, r := range all {
		asks = asks || asksQOS(r.Requests) || asksQOS(r.Limits)
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := r.Limits[name]
			request, asked := r.Requests[name]
			if !ok || limit.IsZero() || (asked && request.Cmp(limit) != 0) {
				guaranteed = false
			}
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

func asksQOS(list corev1.ResourceList) bool {
	positive := func(q resource.Quantity) bool { return q.Sign() > 0 }
	return positive(list[corev1.ResourceCPU]) || positive(list[corev1.ResourceMemory])
}
