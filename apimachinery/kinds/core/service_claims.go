package core

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
)

// addressManager is who manages the IPAddress objects of services, in Kubernetes' words.
const addressManager = "ipallocator.k8s.io"

// NodePortClaim is the key by which a Service claims a node port, whatever the protocol.
func NodePortClaim(port int32) string { return "nodeports/" + strconv.Itoa(int(port)) }

// serviceClaims are the service's addresses and node ports.
func serviceClaims(o apimachinery.Object) []apimachinery.Claim {
	s := o.(*corev1.Service)
	var out []apimachinery.Claim
	if s.Spec.Type != corev1.ServiceTypeExternalName && !headless(s) {
		for _, text := range s.Spec.ClusterIPs {
			if ip := netutils.ParseIPSloppy(text); ip != nil {
				out = appendClaim(out, addressClaim(s, text, ip.String(), netutils.IsIPv6(ip)))
			}
		}
	}
	if !needsNodePort(s) {
		return out
	}
	for i, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = appendClaim(out, apimachinery.Claim{Name: NodePortClaim(p.NodePort), Taken: func() error {
				return field.Invalid(spec.Child("ports").Index(i).Child("nodePort"), p.NodePort, "provided port is already allocated")
			}})
		}
	}
	if port := s.Spec.HealthCheckNodePort; port != 0 && needsHealthCheck(s) {
		out = appendClaim(out, apimachinery.Claim{Name: NodePortClaim(port), Taken: func() error {
			return fmt.Errorf("failed to allocate requested HealthCheck NodePort %d: provided port is already allocated", port)
		}})
	}
	return out
}

// appendClaim appends a claim unless it is there: a port may serve several protocols.
func appendClaim(to []apimachinery.Claim, c apimachinery.Claim) []apimachinery.Claim {
	if slices.ContainsFunc(to, func(have apimachinery.Claim) bool { return have.Resource == c.Resource && have.Name == c.Name }) {
		return to
	}
	return append(to, c)
}

func addressClaim(s *corev1.Service, asked, ip string, six bool) apimachinery.Claim {
	return apimachinery.Claim{
		Resource: networkingv1.SchemeGroupVersion.WithResource("ipaddresses").GroupResource(), Name: ip,
		New: func() apimachinery.Object {
			family := corev1.IPv4Protocol
			if six {
				family = corev1.IPv6Protocol
			}
			return &networkingv1.IPAddress{
				ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
					networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: addressManager,
				}},
				Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
					Resource: "services", Namespace: s.Namespace, Name: s.Name,
				}},
			}
		},
		Taken: func() error {
			return field.Invalid(clusterIPsPath, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", asked))
		},
	}
}

// completeService carries over what was allocated to a service before, so that its first manifest may be sent again,
// and makes clusterIP and clusterIPs agree.
func completeService(new, old apimachinery.Object) field.ErrorList {
	n := new.(*corev1.Service)
	o, _ := old.(*corev1.Service)
	if o != nil {
		keepAddresses(n, o)
		keepNodePorts(n, o)
		if needsHealthCheck(o) && needsHealthCheck(n) {
			set(&n.Spec.HealthCheckNodePort, o.Spec.HealthCheckNodePort)
		}
	}
	agree(n, o)
	return validateClusterIPs(n, o)
}

func keepAddresses(new, old *corev1.Service) {
	if new.Spec.Type == corev1.ServiceTypeExternalName || old.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	set(&new.Spec.ClusterIP, old.Spec.ClusterIP)
	if len(new.Spec.ClusterIPs) == 0 {
		new.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
	}
}

// keepNodePorts goes by the names of ports: whatever else the writer changed of them.
func keepNodePorts(new, old *corev1.Service) {
	if !givesNodePorts(new) || !givesNodePorts(old) {
		return
	}
	before, after := nodePortsOf(old), nodePortsOf(new)
	byName := map[string]int32{}
	for _, p := range old.Spec.Ports {
		byName[p.Name] = p.NodePort
	}
	for i := range new.Spec.Ports {
		p := &new.Spec.Ports[i]
		if port := byName[p.Name]; p.NodePort == 0 && (!before[port] || !after[port]) {
			p.NodePort = port
		}
	}
}

// givesNodePorts says whether each port of the service gets a node port.
func givesNodePorts(s *corev1.Service) bool {
	all := s.Spec.AllocateLoadBalancerNodePorts
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer && (all == nil || *all)
}

// agree makes the list of addresses follow the single one, for writers who know that one alone.
func agree(new, old *corev1.Service) {
	n := &new.Spec
	if old == nil {
		if n.ClusterIP != "" && len(n.ClusterIPs) == 0 {
			n.ClusterIPs = []string{n.ClusterIP}
		}
		return
	}
	o := &old.Spec
	if n.ClusterIP == o.ClusterIP {
		if len(n.ClusterIPs) == 0 {
			n.ClusterIPs = slices.Clone(o.ClusterIPs)
		}
		return
	}
	if !slices.Equal(n.ClusterIPs, o.ClusterIPs) {
		return
	}
	n.ClusterIPs = nil
	if o.ClusterIP == "" || n.ClusterIP != "" {
		n.ClusterIPs = []string{n.ClusterIP}
	}
}
