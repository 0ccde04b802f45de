package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
)

// The label by which the controller's Endpoints are known.
const (
	ManagedByLabel = "endpoints.kubernetes.io/managed-by"
	ManagedBy      = "endpoint-controller"
)

// Max is how many addresses an object holds; of more, the ready ones come first and the rest is left out. Use
// EndpointSlices for large services.
const Max = 1000

// World is what the controller sees of a service. Nothing in it is changed.
type World struct {
	Service *corev1.Service
	// Pods are those that the service selects, ordered by name.
	Pods []*backend.Pod
	// Have is the object as it is; nil: there is none.
	Have *corev1.Endpoints
	// Changed is when that happened which is to be written; zero: unknown.
	Changed time.Time
}

// Diff is the object as it should be, which is the caller's own, and whether that is a change. It is a pure function.
func Diff(w World) (want *corev1.Endpoints, change bool) {
	subsets, cut := truncate(Subsets(w.Service, w.Pods))
	have := w.Have
	if have == nil {
		have = &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: w.Service.Namespace, Name: w.Service.Name}}
	}
	_, marked := have.Annotations[corev1.EndpointsOverCapacity]
	labels := labels(w.Service)
	if w.Have != nil && marked == cut && maps.Equal(have.Labels, labels) && equality.Semantic.DeepEqual(have.Subsets, subsets) {
		return w.Have, false
	}
	want = have.DeepCopy()
	want.Labels, want.Subsets = labels, subsets
	annotate(want, corev1.EndpointsOverCapacity, "truncated", cut)
	annotate(want, corev1.EndpointsLastChangeTriggerTime, w.Changed.UTC().Format(time.RFC3339Nano), !w.Changed.IsZero())
	return want, true
}

// annotate sets an annotation, or takes it away.
func annotate(e *corev1.Endpoints, key, value string, set bool) {
	if !set {
		delete(e.Annotations, key)
		return
	}
	if e.Annotations == nil {
		e.Annotations = map[string]string{}
	}
	e.Annotations[key] = value
}

func labels(s *corev1.Service) map[string]string {
	out := make(map[string]string, len(s.Labels)+2)
	maps.Copy(out, s.Labels)
	delete(out, corev1.IsHeadlessService)
	if backend.Headless(s) {
		out[corev1.IsHeadlessService] = ""
	}
	out[ManagedByLabel] = ManagedBy
	return out
}

// Subsets are the endpoints of a service: those with the same ports together, all in a fixed order.
func Subsets(s *corev1.Service, pods []*backend.Pod) []corev1.EndpointSubset {
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, p := range pods {
		a, ok := address(s, p)
		if !ok || p.Terminating && !s.Spec.PublishNotReadyAddresses {
			continue
		}
		ports, key := portsOf(s, p)
		if len(ports) == 0 && (len(s.Spec.Ports) > 0 || s.Spec.ClusterIP != corev1.ClusterIPNone) {
			continue
		}
		if byPorts[key] == nil {
			byPorts[key] = &corev1.EndpointSubset{Ports: ports}
		}
		if to := byPorts[key]; p.Ready || s.Spec.PublishNotReadyAddresses {
			to.Addresses = append(to.Addresses, a)
		} else {
			to.NotReadyAddresses = append(to.NotReadyAddresses, a)
		}
	}
	var out []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		to := byPorts[key]
		slices.SortFunc(to.Addresses, byIP)
		slices.SortFunc(to.NotReadyAddresses, byIP)
		out = append(out, *to)
	}
	return out
}

// address is a pod as an address: of the service's first family, or where none is said, the pod's own first.
func address(s *corev1.Service, p *backend.Pod) (a corev1.EndpointAddress, ok bool) {
	ip, ok := p.Addrs[0], true
	switch at := s.Spec.ClusterIP; {
	case len(s.Spec.IPFamilies) > 0:
		ip, ok = p.Addr(s.Spec.IPFamilies[0])
	case backend.Headless(s):
	case strings.Contains(at, ":"):
		ip, ok = p.Addr(corev1.IPv6Protocol)
	default:
		ip, ok = p.Addr(corev1.IPv4Protocol)
	}
	if !ok {
		return a, false
	}
	a = corev1.EndpointAddress{IP: ip.String(), Hostname: p.HostnameFor(s), TargetRef: p.Reference()}
	if p.Node != "" {
		a.NodeName = new(p.Node)
	}
	return a, true
}

// portsOf are where the service's ports lead on a pod, in a fixed order, and what tells them from others.
func portsOf(s *corev1.Service, p *backend.Pod) (ports []corev1.EndpointPort, key string) {
	for n := range s.Spec.Ports {
		sp := &s.Spec.Ports[n]
		number, ok := p.Port(sp)
		if !ok {
			continue
		}
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, corev1.EndpointPort{Name: sp.Name, Port: number, Protocol: protocol, AppProtocol: sp.AppProtocol})
	}
	slices.SortFunc(ports, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	var k strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&k, "%s %05d %s\n", p.Name, p.Port, p.Protocol)
	}
	return ports, k.String()
}

// byIP orders addresses by number, and those of one number by their pod's name.
func byIP(a, b corev1.EndpointAddress) int {
	x, _ := netip.ParseAddr(a.IP) // they were made from such
	y, _ := netip.ParseAddr(b.IP)
	return cmp.Or(x.Compare(y), cmp.Compare(a.TargetRef.Name, b.TargetRef.Name))
}

// truncate leaves out what is more than [Max]: of those that are not ready, and only then of the others, as many of
// each subset as its part of them is.
func truncate(subsets []corev1.EndpointSubset) (out []corev1.EndpointSubset, cut bool) {
	ready, not := 0, 0
	for _, s := range subsets {
		ready, not = ready+len(s.Addresses), not+len(s.NotReadyAddresses)
	}
	if ready+not <= Max {
		return subsets, false
	}
	readyLeft := min(ready, Max)
	notLeft := Max - readyLeft
	for _, s := range subsets {
		s.Addresses, ready, readyLeft = share(s.Addresses, ready, readyLeft)
		s.NotReadyAddresses, not, notLeft = share(s.NotReadyAddresses, not, notLeft)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out, true
}

// share is a subset's part of the room that is left for all that are still to come, rounded up.
func share(list []corev1.EndpointAddress, all, room int) (part []corev1.EndpointAddress, allLeft, roomLeft int) {
	if len(list) == 0 {
		return nil, all, room
	}
	n := min(len(list), (len(list)*room+all-1)/all)
	if n == 0 {
		return nil, all - len(list), room
	}
	return list[:n], all - len(list), room - n
}
