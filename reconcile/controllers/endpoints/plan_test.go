package endpoints

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
)

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.0.0.1", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")},
				{Name: "admin", Port: 81, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(81)},
			},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func pod(n int, change ...func(*backend.Pod)) *backend.Pod {
	p := &backend.Pod{
		Namespace: "default", Name: fmt.Sprintf("p%04d", n), UID: types.UID(fmt.Sprint("u", n)), Node: "n0", Ready: true,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), netip.MustParseAddr(fmt.Sprintf("fd00::%x", n))},
		Ports: []backend.Port{{Name: "web", Protocol: corev1.ProtocolTCP, Number: 8080}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func address4(n int) corev1.EndpointAddress {
	return corev1.EndpointAddress{IP: fmt.Sprint("10.1.0.", n), NodeName: new("n0"), TargetRef: pod(n).Reference()}
}

func TestWhole(t *testing.T) {
	unready := func(p *backend.Pod) { p.Ready = false }
	other := func(p *backend.Pod) { p.Ports[0].Number = 9090 }
	going := func(p *backend.Pod) { p.Terminating = true }
	w := World{
		Service: service(), Changed: time.Unix(0, 0),
		Pods: []*backend.Pod{pod(9), pod(1), pod(2, unready), pod(3, other), pod(4, going)},
	}
	got, change := Diff(w)
	require.True(t, change)
	ports := func(number int32) []corev1.EndpointPort {
		return []corev1.EndpointPort{{Name: "admin", Port: 81, Protocol: "TCP"}, {Name: "http", Port: number, Protocol: "TCP"}}
	}
	require.Equal(t, &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web", Labels: map[string]string{"team": "a", "endpoints.kubernetes.io/managed-by": "endpoint-controller"},
			Annotations: map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:00:00Z"},
		},
		Subsets: []corev1.EndpointSubset{
			{Ports: ports(8080), Addresses: []corev1.EndpointAddress{address4(1), address4(9)}, NotReadyAddresses: []corev1.EndpointAddress{address4(2)}},
			{Ports: ports(9090), Addresses: []corev1.EndpointAddress{address4(3)}},
		},
	}, got)

	w.Have = got
	_, change = Diff(w)
	require.False(t, change)
	w.Service.Spec.PublishNotReadyAddresses = true
	w.Changed = time.Time{}
	now, change := Diff(w)
	require.True(t, change)
	require.Len(t, now.Subsets[0].Addresses, 4, "with what goes and what is not ready")
	require.Empty(t, now.Annotations)
	require.Len(t, got.Subsets[0].Addresses, 2, "what there was is not changed")
	w.Have = now
	w.Pods = nil
	none, change := Diff(w)
	require.True(t, change)
	require.Empty(t, none.Subsets)
}

func TestHeadlessAndFamilies(t *testing.T) {
	got, _ := Diff(World{Service: service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = "None", nil }), Pods: []*backend.Pod{
		pod(1, func(p *backend.Pod) { p.Hostname, p.Subdomain = "one", "web" }),
	}})
	require.Contains(t, got.Labels, "service.kubernetes.io/headless")
	require.Equal(t, "one", got.Subsets[0].Addresses[0].Hostname)
	require.Empty(t, got.Subsets[0].Ports)

	for want, change := range map[string]func(*corev1.Service){
		"fd00::1":  func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{"IPv6", "IPv4"} },
		"10.1.0.1": func(s *corev1.Service) { s.Spec.IPFamilies = nil },
		"fd00::01": func(s *corev1.Service) { s.Spec.IPFamilies, s.Spec.ClusterIP = nil, "fd01::1" },
	} {
		got, _ := Diff(World{Service: service(change), Pods: []*backend.Pod{pod(1)}})
		require.Equal(t, netip.MustParseAddr(want), netip.MustParseAddr(got.Subsets[0].Addresses[0].IP))
	}
	got, _ = Diff(World{Service: service(), Pods: []*backend.Pod{pod(1, func(p *backend.Pod) { p.Addrs = p.Addrs[1:] })}})
	require.Empty(t, got.Subsets, "it has no address of the family")
	got, _ = Diff(World{Service: service(func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }), Pods: []*backend.Pod{pod(1, func(p *backend.Pod) { p.Ports = nil })}})
	require.Empty(t, got.Subsets, "it has none of the ports")
}

func TestRepair(t *testing.T) {
	w := World{Service: service(), Pods: []*backend.Pod{pod(1), pod(2)}}
	want, _ := Diff(w)
	for name, spoil := range map[string]func(*corev1.Endpoints){
		"address": func(e *corev1.Endpoints) { e.Subsets[0].Addresses[0].IP = "8.8.8.8" },
		"subsets": func(e *corev1.Endpoints) { e.Subsets = nil },
		"label":   func(e *corev1.Endpoints) { delete(e.Labels, ManagedByLabel) },
		"mark":    func(e *corev1.Endpoints) { e.Annotations = map[string]string{corev1.EndpointsOverCapacity: "x"} },
	} {
		w.Have = want.DeepCopy()
		spoil(w.Have)
		got, change := Diff(w)
		require.True(t, change, name)
		got.Annotations = nil
		require.Equal(t, want, got, name)
	}
}

func TestTruncate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var subsets []corev1.EndpointSubset
		ready, all := 0, 0
		for range rapid.IntRange(1, 4).Draw(t, "subsets") {
			r, n := rapid.IntRange(0, 700).Draw(t, "ready"), rapid.IntRange(1, 700).Draw(t, "not ready")
			subsets = append(subsets, corev1.EndpointSubset{Addresses: make([]corev1.EndpointAddress, r), NotReadyAddresses: make([]corev1.EndpointAddress, n)})
			ready, all = ready+r, all+r+n
		}
		got, cut := truncate(subsets)
		gotReady, gotAll := 0, 0
		for _, s := range got {
			gotReady, gotAll = gotReady+len(s.Addresses), gotAll+len(s.Addresses)+len(s.NotReadyAddresses)
		}
		require.Equal(t, all > Max, cut)
		require.Equal(t, min(all, Max), gotAll)
		require.Equal(t, min(ready, Max), gotReady)
	})
}

func TestOverCapacity(t *testing.T) {
	w := World{Service: service()}
	for n := range Max + 1 {
		w.Pods = append(w.Pods, pod(n))
	}
	got, _ := Diff(w)
	require.Equal(t, "truncated", got.Annotations[corev1.EndpointsOverCapacity])
	w.Have = got
	_, change := Diff(w)
	require.False(t, change)
	w.Pods = w.Pods[1:]
	got, change = Diff(w)
	require.True(t, change)
	require.Empty(t, got.Annotations)
}

func ExampleDiff() {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}
	pods := []*backend.Pod{{Namespace: "default", Name: "web-1", Ready: true, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.4")}}}
	e, change := Diff(World{Service: svc, Pods: pods})
	fmt.Println(e.Name, e.Subsets[0].Addresses[0].IP, e.Subsets[0].Ports[0].Port, change)
	// Output: web 10.1.0.4 8080 true
}

func BenchmarkDiff(b *testing.B) {
	w := World{Service: service()}
	for n := range 100 {
		w.Pods = append(w.Pods, pod(n))
	}
	w.Have, _ = Diff(w)
	b.ReportAllocs()
	for b.Loop() {
		if _, change := Diff(w); change {
			b.Fatal("nothing changed")
		}
	}
}
