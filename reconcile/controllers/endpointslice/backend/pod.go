package backend

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Pod is what of a pod matters to those who lead to it. It is shared: nobody may change it.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	// Addrs are the pod's addresses, at most one of each family, its first family's in front; never none.
	Addrs []netip.Addr
	// Node may be empty.
	Node, Hostname, Subdomain string
	// Ready is the pod's condition of that name; Terminating says that it is about to end.
	Ready, Terminating bool
	// Since is when Ready last changed; zero if the pod doesn't say.
	Since time.Time
	// Ports are the ports of its containers that have a name.
	Ports []Port

	labels map[string]string
}

// Port is a named port of a container.
type Port struct {
	Name     string
	Protocol corev1.Protocol
	Number   int32
}

// Of returns what matters of a pod; false if no service can lead to it: it has no address, or has ended.
func Of(p *corev1.Pod) (*Pod, bool) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil, false
	}
	b := &Pod{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, Addrs: addresses(&p.Status),
		Node: p.Spec.NodeName, Hostname: p.Spec.Hostname, Subdomain: p.Spec.Subdomain,
		Terminating: p.DeletionTimestamp != nil, labels: p.Labels,
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			b.Ready, b.Since = c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
		}
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			b.Ports = named(b.Ports, c.Ports)
		}
	}
	for _, c := range p.Spec.Containers {
		b.Ports = named(b.Ports, c.Ports)
	}
	return b, len(b.Addrs) > 0
}

// addresses are those of a status that can be read, the first of each family.
func addresses(s *corev1.PodStatus) (out []netip.Addr) {
	ips := s.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: s.PodIP}}
	}
	for _, ip := range ips {
		a, err := netip.ParseAddr(ip.IP)
		same := func(have netip.Addr) bool { return have.Is4() == a.Unmap().Is4() }
		if err == nil && a.Zone() == "" && !slices.ContainsFunc(out, same) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func named(out []Port, ports []corev1.ContainerPort) []Port {
	for _, p := range ports {
		if p.Name != "" {
			out = append(out, Port{Name: p.Name, Protocol: protocol(p.Protocol), Number: p.ContainerPort})
		}
	}
	return out
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// Key is the pod's "namespace/name".
func (p *Pod) Key() string { return apimachinery.Key(p.Namespace, p.Name) }

// Addr is the pod's address of a family; false if it has none.
func (p *Pod) Addr(f corev1.IPFamily) (netip.Addr, bool) {
	for _, a := range p.Addrs {
		if a.Is4() == (f == corev1.IPv4Protocol) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// Port is where on the pod a port of a service leads; false if it leads to a name that the pod doesn't have.
func (p *Pod) Port(sp *corev1.ServicePort) (int32, bool) {
	switch name := sp.TargetPort.StrVal; {
	case name != "":
		for _, have := range p.Ports {
			if have.Name == name && have.Protocol == protocol(sp.Protocol) {
				return have.Number, true
			}
		}
		return 0, false
	case sp.TargetPort.IntVal != 0:
		return sp.TargetPort.IntVal, true
	}
	return sp.Port, true
}

// HostnameFor is the name under which a service's own name knows the pod; empty if it has none there.
func (p *Pod) HostnameFor(s *corev1.Service) string {
	if p.Subdomain == s.Name && p.Namespace == s.Namespace {
		return p.Hostname
	}
	return ""
}

// Reference is what an endpoint says that it leads to.
func (p *Pod) Reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// matches says whether a service's selector selects the pod.
func (p *Pod) matches(selector map[string]string) bool {
	for k, v := range selector {
		if have, ok := p.labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// same says whether a service sees no difference, apart from whether it selects them.
func same(a, b *Pod) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.UID == b.UID && a.Ready == b.Ready && a.Terminating == b.Terminating && a.Node == b.Node &&
		a.Hostname == b.Hostname && a.Subdomain == b.Subdomain &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Ports, b.Ports)
}

// sameLabels says whether the same services select both.
func sameLabels(a, b *Pod) bool {
	return a == nil || b == nil || maps.Equal(a.labels, b.labels)
}

// Headless says whether a service has no address of its own.
func Headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone
}

// Selects says whether a service's endpoints are those of the pods that it selects. Those of all others are
// written by somebody else, or lie outside of the cluster.
func Selects(s *corev1.Service) bool {
	return len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName
}
