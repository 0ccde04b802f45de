package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/bedplate/bedplate/apimachinery"
)

// prepareService keeps the status out of writers' hands, and takes out what the new type of a service has no use for.
func prepareService(new *corev1.Service, old apimachinery.Object) {
	if new.Spec.Type == corev1.ServiceTypeExternalName {
		new.Spec.InternalTrafficPolicy = nil // never meant for this type
	}
	if old == nil {
		new.Status = corev1.ServiceStatus{}
		return
	}
	o := old.(*corev1.Service)
	new.Status = *o.Status.DeepCopy()
	dropAddresses(new, o)
	dropPorts(new, o)
	dropLoadBalancer(new, o)
}

// A field that no longer applies is taken out if it may have been filled in for the writer, and the writer did not
// change it as well: then validation is to say so.

func dropAddresses(new, old *corev1.Service) {
	if old.Spec.Type == corev1.ServiceTypeExternalName || new.Spec.Type != corev1.ServiceTypeExternalName {
		return
	}
	if old.Spec.ClusterIP == new.Spec.ClusterIP && slices.Equal(old.Spec.ClusterIPs, new.Spec.ClusterIPs) {
		new.Spec.ClusterIP, new.Spec.ClusterIPs = "", nil
	}
	if equality.Semantic.DeepEqual(old.Spec.IPFamilies, new.Spec.IPFamilies) {
		new.Spec.IPFamilies = nil
	}
	if equality.Semantic.DeepEqual(old.Spec.IPFamilyPolicy, new.Spec.IPFamilyPolicy) {
		new.Spec.IPFamilyPolicy = nil
	}
}

func dropPorts(new, old *corev1.Service) {
	if needsNodePort(old) && !needsNodePort(new) && !asksForNodePorts(new, old) {
		for i := range new.Spec.Ports {
			new.Spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(new) && old.Spec.HealthCheckNodePort == new.Spec.HealthCheckNodePort {
		new.Spec.HealthCheckNodePort = 0
	}
}

// asksForNodePorts says whether new names a node port that old has not.
func asksForNodePorts(new, old *corev1.Service) bool {
	have := nodePortsOf(old)
	for port := range nodePortsOf(new) {
		if !have[port] {
			return true
		}
	}
	return false
}

// nodePortsOf is the set of the node ports that the service's ports name.
func nodePortsOf(s *corev1.Service) map[int32]bool {
	out := map[int32]bool{}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out[p.NodePort] = true
		}
	}
	return out
}

func dropLoadBalancer(new, old *corev1.Service) {
	if new.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if old.Spec.Type == corev1.ServiceTypeLoadBalancer {
			dropSame(&new.Spec.AllocateLoadBalancerNodePorts, old.Spec.AllocateLoadBalancerNodePorts)
			dropSame(&new.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass)
		}
		new.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	if externallyAccessible(old) && !externallyAccessible(new) && old.Spec.ExternalTrafficPolicy == new.Spec.ExternalTrafficPolicy {
		new.Spec.ExternalTrafficPolicy = ""
	}
}

// dropSame takes out a value that is what it was.
func dropSame[T comparable](p **T, old *T) {
	if *p != nil && old != nil && **p == *old {
		*p = nil
	}
}
