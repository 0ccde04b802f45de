package proxy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// ProxyNameLabel on a service gives it to another proxy: this one leaves it alone.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Compile says how a node has to treat a service with these slices, one entry per port; nil if not at all: it is
// headless, an ExternalName, has no IPv4 cluster IP, or belongs to another proxy. slices may be those of the service
// alone; others' are not told apart. It is a pure function, keeps nothing of its arguments and changes nothing.
//
// Endpoints follow KEP-1669: those that are ready, else those that terminate and still serve. Hints for zones and
// nodes are heeded if all ready endpoints have them and one is for this node. Endpoints at loopback, link-local,
// multicast and unspecified addresses are left out.
func Compile(n Node, s *corev1.Service, slices []*discoveryv1.EndpointSlice) []ServicePort {
	ip, ok := clusterIP(s)
	if !ok {
		return nil
	}
	ports := make([]ServicePort, 0, len(s.Spec.Ports))
	for i := range s.Spec.Ports {
		if p, ok := compilePort(n, s, ip, &s.Spec.Ports[i], slices); ok {
			ports = append(ports, p)
		}
	}
	return ports
}

func clusterIP(s *corev1.Service) (netip.Addr, bool) {
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Labels[ProxyNameLabel] != "" {
		return netip.Addr{}, false
	}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if a, ok := unicast(ip); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// unicast parses an IPv4 address that a packet from elsewhere may have as its destination.
func unicast(ip string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(ip)
	ok := err == nil && a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return a, ok
}

func compilePort(n Node, s *corev1.Service, ip netip.Addr, port *corev1.ServicePort, all []*discoveryv1.EndpointSlice) (ServicePort, bool) {
	proto, ok := protocolOf(port.Protocol)
	if !ok || port.Port < 1 || port.Port > 65535 {
		return ServicePort{}, false
	}
	p := ServicePort{
		Service: s.Namespace + "/" + s.Name, Name: port.Name, Created: s.CreationTimestamp.Time,
		Internal:      Frontend{ip, proto, uint16(port.Port)},
		External:      externals(n, s, port, proto),
		InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Affinity:      affinity(s),
	}
	p.choose(n, endpointsOf(n, port, proto, all))
	return p, true
}

func protocolOf(p corev1.Protocol) (Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	case corev1.ProtocolSCTP:
		return SCTP, true
	}
	return 0, false
}

func affinity(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

// externals lists the frontends beside the cluster IP, each once, those of the lowest rank first.
func externals(n Node, s *corev1.Service, port *corev1.ServicePort, proto Protocol) []External {
	var all []External
	add := func(a netip.Addr, port int32, r Rank) {
		f := Frontend{a, proto, uint16(port)}
		if !slices.ContainsFunc(all, func(e External) bool { return e.Frontend == f }) {
			all = append(all, External{f, r})
		}
	}
	if port.NodePort > 0 && port.NodePort <= 65535 {
		for _, a := range n.Addresses {
			add(a, port.NodePort, NodePort)
		}
	}
	for _, a := range loadBalancers(s) {
		add(a, port.Port, LoadBalancer)
	}
	for _, ip := range s.Spec.ExternalIPs {
		a, ok := unicast(ip)
		if ok && slices.ContainsFunc(n.ExternalIPs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			add(a, port.Port, ExternalIP)
		}
	}
	return all
}

// loadBalancers are the addresses under which the load balancer hands packets on unchanged. A service that wants
// its sources restricted gets none: to let everybody in would be worse than to let nobody in here.
func loadBalancers(s *corev1.Service) (all []netip.Addr) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || len(s.Spec.LoadBalancerSourceRanges) > 0 {
		return nil
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy {
			continue
		}
		if a, ok := unicast(in.IP); ok {
			all = append(all, a)
		}
	}
	return all
}

// endpoint is one endpoint of a port.
type endpoint struct {
	at                          netip.AddrPort
	ready, serving, terminating bool
	local                       bool
	zones, nodes                []string
}

// endpointsOf gathers a port's endpoints, sorted and each once. Of two of one address, in slices that are being
// rewritten, the one that is better to use counts.
func endpointsOf(n Node, port *corev1.ServicePort, proto Protocol, all []*discoveryv1.EndpointSlice) []endpoint {
	var found []endpoint
	for _, s := range all {
		number, ok := targetPort(s, port.Name, proto)
		if !ok || s.AddressType != discoveryv1.AddressTypeIPv4 || s.DeletionTimestamp != nil {
			continue
		}
		for i := range s.Endpoints {
			if e, ok := endpointOf(n, &s.Endpoints[i], number); ok {
				found = append(found, e)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b endpoint) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.worth(), a.worth()))
	})
	return slices.CompactFunc(found, func(a, b endpoint) bool { return a.at == b.at })
}

func (e *endpoint) worth() int {
	switch {
	case e.ready:
		return 2
	case e.serving:
		return 1
	}
	return 0
}

func targetPort(s *discoveryv1.EndpointSlice, name string, proto Protocol) (uint16, bool) {
	for _, p := range s.Ports {
		got, ok := corev1.ProtocolTCP, true
		if p.Protocol != nil {
			got = *p.Protocol
		}
		if is, known := protocolOf(got); !known || is != proto {
			ok = false
		}
		named := p.Name == nil && name == "" || p.Name != nil && *p.Name == name
		if ok && named && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func endpointOf(n Node, e *discoveryv1.Endpoint, port uint16) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	a, ok := unicast(e.Addresses[0])
	if !ok {
		return endpoint{}, false
	}
	c := e.Conditions
	got := endpoint{at: netip.AddrPortFrom(a, port), ready: c.Ready == nil || *c.Ready,
		terminating: c.Terminating != nil && *c.Terminating, local: n.Name != "" && e.NodeName != nil && *e.NodeName == n.Name}
	got.serving = got.ready
	if c.Serving != nil {
		got.serving = *c.Serving
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			got.zones = append(got.zones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			got.nodes = append(got.nodes, n.Name)
		}
	}
	return got, true
}
