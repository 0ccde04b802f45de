package endpointslice

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
)

// groups are the endpoints of one address family, by their ports.
func (d *differ) groups(f corev1.IPFamily) map[string]*group {
	out := map[string]*group{}
	alike := map[string]*group{} // by the numbers of their ports
	var numbers []byte
	for _, p := range d.Pods {
		e, ok := d.endpoint(p, f)
		if !ok {
			continue
		}
		numbers = d.numbers(numbers[:0], p)
		g := alike[string(numbers)]
		if g == nil {
			g = &group{kind: discoveryv1.AddressType(f), ports: d.ports(p)}
			if have := out[portsKey(g.ports)]; have != nil {
				g = have
			}
			alike[string(numbers)] = g
			out[portsKey(g.ports)] = g
		}
		g.endpoints = append(g.endpoints, e)
	}
	return out
}

// numbers appends where the service's ports lead on a pod.
func (d *differ) numbers(to []byte, p *backend.Pod) []byte {
	for n := range d.Service.Spec.Ports {
		number, ok := p.Port(&d.Service.Spec.Ports[n])
		if !ok {
			number = -1
		}
		to = binary.BigEndian.AppendUint32(to, uint32(number))
	}
	return to
}

// place is where an endpoint is, as it is written there.
type place struct {
	node, zone *string
	known      bool
}

func (d *differ) placeOf(node string) place {
	if at, ok := d.places[node]; ok {
		return at
	}
	zone, known := d.Zone(node)
	at := place{filled(node), filled(zone), known}
	d.places[node] = at
	return at
}

// endpoint is a pod as an endpoint; false if it has no address of the family, or is on a node that is not there,
// and the service does not ask for such.
func (d *differ) endpoint(p *backend.Pod, f corev1.IPFamily) (e discoveryv1.Endpoint, ok bool) {
	a, ok := p.Addr(f)
	if !ok {
		return e, false
	}
	at := d.placeOf(p.Node)
	if !at.known && !d.Service.Spec.PublishNotReadyAddresses {
		return e, false
	}
	ready := d.Service.Spec.PublishNotReadyAddresses || p.Ready && !p.Terminating
	e = discoveryv1.Endpoint{
		Addresses:  []string{a.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: d.flag(ready), Serving: d.flag(p.Ready), Terminating: d.flag(p.Terminating)},
		Hostname:   filled(p.HostnameFor(d.Service)),
		TargetRef:  p.Reference(),
		NodeName:   at.node,
		Zone:       at.zone,
	}
	e.Hints = hints(d.Service, &e)
	return e, true
}

// flag is a pointer that the endpoints of one plan share.
func (d *differ) flag(v bool) *bool {
	if v {
		return &d.yes
	}
	return &d.no
}

// filled is nil for an empty string.
func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// hints say who should use a ready endpoint, as the service's spec.trafficDistribution asks (KEP-4444, KEP-3015).
func hints(s *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	if s.Spec.TrafficDistribution == nil || !*e.Conditions.Ready {
		return nil
	}
	h := &discoveryv1.EndpointHints{}
	switch *s.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferClose:
	default:
		return nil
	}
	if e.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
	}
	if len(h.ForNodes)+len(h.ForZones) == 0 {
		return nil
	}
	return h
}

// ports are where the service's ports lead on a pod; those that it doesn't have are left out.
func (d *differ) ports(p *backend.Pod) (ports []discoveryv1.EndpointPort) {
	for n := range d.Service.Spec.Ports {
		sp := &d.Service.Spec.Ports[n]
		number, ok := p.Port(sp)
		if !ok {
			continue
		}
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, discoveryv1.EndpointPort{Name: new(sp.Name), Port: &number, Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return ports
}

// portsKey tells lists of ports apart, whatever their order.
func portsKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, 0, len(ports))
	for _, p := range ports {
		number := "-"
		if p.Port != nil {
			number = fmt.Sprint(*p.Port)
		}
		app := "-"
		if p.AppProtocol != nil {
			app = "=" + *p.AppProtocol
		}
		keys = append(keys, strings.Join([]string{text(p.Name), text(p.Protocol), number, app}, " "))
	}
	slices.Sort(keys)
	return strings.Join(keys, "\n")
}

func text[S ~string](s *S) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

// sameEndpoint says whether two endpoints have the same id and state.
func sameEndpoint(a, b *discoveryv1.Endpoint) bool {
	return slices.Equal(a.Addresses, b.Addresses) && maps.Equal(a.DeprecatedTopology, b.DeprecatedTopology) &&
		equal(a.Conditions.Ready, b.Conditions.Ready) && equal(a.Conditions.Serving, b.Conditions.Serving) &&
		equal(a.Conditions.Terminating, b.Conditions.Terminating) && equal(a.Hostname, b.Hostname) &&
		equal(a.NodeName, b.NodeName) && equal(a.Zone, b.Zone) && equal(a.TargetRef, b.TargetRef) && sameHints(a.Hints, b.Hints)
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func sameHints(a, b *discoveryv1.EndpointHints) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.ForZones, b.ForZones) && slices.Equal(a.ForNodes, b.ForNodes)
}
