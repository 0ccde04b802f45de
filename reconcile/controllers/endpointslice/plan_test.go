package endpointslice

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// pod is the nth pod, ready on node n0 of zone z0.
func pod(n int, change ...func(*backend.Pod)) *backend.Pod {
	p := &backend.Pod{
		Namespace: "default", Name: fmt.Sprintf("p%04d", n), UID: types.UID(fmt.Sprint("u", n)), Node: "n0", Ready: true,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})},
		Ports: []backend.Port{{Name: "web", Protocol: corev1.ProtocolTCP, Number: 8080}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func pods(n int) (out []*backend.Pod) {
	for i := range n {
		out = append(out, pod(i))
	}
	return out
}

func zone(node string) (string, bool) {
	switch node {
	case "n0":
		return "z0", true
	case "bare":
		return "", true
	}
	return "", false
}

// world is a service with its slices, to which plans are applied as the API would.
type world struct {
	w    World
	made int
}

func newWorld(s *corev1.Service, most int) *world {
	return &world{w: World{Service: s, Zone: zone, Max: most}}
}

// sync applies what Diff says for these pods.
func (w *world) sync(pods ...*backend.Pod) Plan {
	w.w.Pods = pods
	plan := Diff(w.w)
	w.apply(plan)
	return plan
}

func (w *world) apply(p Plan) {
	replaced := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range p.Update {
		replaced[s.Name] = s
	}
	for _, s := range p.Delete {
		replaced[s.Name] = nil
	}
	var next []*discoveryv1.EndpointSlice
	for _, s := range w.w.Slices {
		now, ok := replaced[s.Name]
		switch {
		case !ok:
			next = append(next, s)
		case now != nil:
			next = append(next, now)
		}
	}
	for _, s := range p.Create {
		s.Name = fmt.Sprintf("%s%04d", s.GenerateName, w.made)
		s.UID = types.UID(s.Name)
		w.made++
		next = append(next, s)
	}
	w.w.Slices = next
}

func (w *world) sizes() (out []int) {
	for _, s := range w.w.Slices {
		out = append(out, len(s.Endpoints))
	}
	return out
}

func TestWholeSlice(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	w := newWorld(service(), 100)
	w.w.Changed = at
	p := w.sync(pod(1, func(p *backend.Pod) { p.Hostname, p.Subdomain = "one", "web" }))
	require.Len(t, p.Create, 1)
	yes, no := true, false
	require.Equal(t, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", GenerateName: "web-", Name: "web-0000", UID: "web-0000",
			Labels: map[string]string{
				"team": "a", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
			},
			Annotations: map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05.000006Z"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Service", Name: "web", UID: "svc", Controller: &yes, BlockOwnerDeletion: &yes,
			}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.1.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			Hostname: new("one"), NodeName: new("n0"), Zone: new("z0"),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p0001", UID: "u1"},
		}},
	}, p.Create[0])
	require.Zero(t, w.sync(w.w.Pods...).Writes(), "nothing is left to do")

	w.w.Changed = time.Time{}
	p = w.sync(pod(1))
	require.Len(t, p.Update, 1)
	require.Nil(t, p.Update[0].Endpoints[0].Hostname)
	require.Empty(t, p.Update[0].Annotations, "the time of an older change is not this one's")
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		ready, terminating, publish bool
		want                        [3]bool // ready, serving, terminating
	}{
		{true, false, false, [3]bool{true, true, false}},
		{false, false, false, [3]bool{false, false, false}},
		{true, true, false, [3]bool{false, true, true}},
		{false, true, false, [3]bool{false, false, true}},
		{false, false, true, [3]bool{true, false, false}},
		{false, true, true, [3]bool{true, false, true}},
	} {
		w := newWorld(service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = c.publish }), 100)
		w.sync(pod(1, func(p *backend.Pod) { p.Ready, p.Terminating = c.ready, c.terminating }))
		got := w.w.Slices[0].Endpoints[0].Conditions
		require.Equal(t, c.want, [3]bool{*got.Ready, *got.Serving, *got.Terminating}, "%+v", c)
	}
}

func TestNodes(t *testing.T) {
	on := func(node string) func(*backend.Pod) { return func(p *backend.Pod) { p.Node = node } }
	w := newWorld(service(), 100)
	w.sync(pod(1, on("bare")), pod(2, on("missing")), pod(3))
	e := w.w.Slices[0].Endpoints
	require.Len(t, e, 2)
	require.Nil(t, e[0].Zone)
	require.Equal(t, "z0", *e[1].Zone)

	w.w.Service.Spec.PublishNotReadyAddresses = true
	w.sync(w.w.Pods...)
	require.Len(t, w.w.Slices[0].Endpoints, 3, "whoever asks for all gets all")
}

func TestHints(t *testing.T) {
	for how, want := range map[string]*discoveryv1.EndpointHints{
		"PreferClose":    {ForZones: []discoveryv1.ForZone{{Name: "z0"}}},
		"PreferSameZone": {ForZones: []discoveryv1.ForZone{{Name: "z0"}}},
		"PreferSameNode": {ForZones: []discoveryv1.ForZone{{Name: "z0"}}, ForNodes: []discoveryv1.ForNode{{Name: "n0"}}},
		"Other":          nil,
	} {
		w := newWorld(service(func(s *corev1.Service) { s.Spec.TrafficDistribution = &how }), 100)
		w.sync(pod(1), pod(2, func(p *backend.Pod) { p.Ready = false }))
		require.Equal(t, want, w.w.Slices[0].Endpoints[0].Hints, how)
		require.Nil(t, w.w.Slices[0].Endpoints[1].Hints, how)
		require.Zero(t, w.sync(w.w.Pods...).Writes(), how)
	}
}

func TestFamilies(t *testing.T) {
	both := func(p *backend.Pod) { p.Addrs = append(p.Addrs, netip.MustParseAddr("fd00::1")) }
	kinds := func(w *world) (out []discoveryv1.AddressType) {
		for _, s := range w.w.Slices {
			out = append(out, s.AddressType)
		}
		return out
	}
	w := newWorld(service(func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	}), 100)
	require.Len(t, w.sync(pod(1, both)).Create, 2)
	require.Equal(t, []discoveryv1.AddressType{"IPv6", "IPv4"}, kinds(w))
	require.Equal(t, []string{"fd00::1"}, w.w.Slices[0].Endpoints[0].Addresses)
	w.w.Service.Spec.IPFamilies = w.w.Service.Spec.IPFamilies[1:]
	require.Len(t, w.sync(pod(1, both)).Delete, 1)
	require.Equal(t, []discoveryv1.AddressType{"IPv4"}, kinds(w))

	for ip, want := range map[string][]corev1.IPFamily{
		"10.0.0.1": {"IPv4"}, "fd00::1": {"IPv6"}, "None": {"IPv4", "IPv6"},
	} {
		require.Equal(t, want, Families(service(func(s *corev1.Service) { s.Spec.IPFamilies, s.Spec.ClusterIP = nil, ip })), ip)
	}
}

func TestHeadless(t *testing.T) {
	w := newWorld(service(func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Spec.Ports = "None", nil
		s.Labels[discoveryv1.LabelManagedBy] = "me"
	}), 100)
	w.sync(pod(1))
	require.Len(t, w.w.Slices, 1)
	require.Contains(t, w.w.Slices[0].Labels, "service.kubernetes.io/headless")
	require.Equal(t, ManagedBy, w.w.Slices[0].Labels[discoveryv1.LabelManagedBy], "a service can't say that its slices are another's")
	require.Equal(t, []discoveryv1.EndpointPort{}, w.w.Slices[0].Ports)
	w.w.Service.Spec.ClusterIP = "10.0.0.1"
	require.Len(t, w.sync(pod(1)).Update, 1)
	require.NotContains(t, w.w.Slices[0].Labels, "service.kubernetes.io/headless")
}

// TestPortsApart has pods whose named port differs: each of the two lies in a slice of its own.
func TestPortsApart(t *testing.T) {
	other := func(p *backend.Pod) {
		p.Ports = []backend.Port{{Name: "web", Protocol: corev1.ProtocolTCP, Number: 9090}}
	}
	w := newWorld(service(), 100)
	require.Len(t, w.sync(pod(1), pod(2, other), pod(3)).Create, 2)
	require.Equal(t, []int{2, 1}, w.sizes())
	require.Equal(t, int32(9090), *w.w.Slices[1].Ports[0].Port)
	p := w.sync(pod(1), pod(3))
	require.Len(t, p.Delete, 1)
	require.Equal(t, 1, p.Writes())
}

func TestPlaceholder(t *testing.T) {
	w := newWorld(service(), 100)
	require.Len(t, w.sync().Create, 1)
	require.Zero(t, w.sync().Writes())
	require.Equal(t, []discoveryv1.Endpoint{}, w.w.Slices[0].Endpoints)

	p := w.sync(pod(1))
	require.Equal(t, 1, p.Writes())
	require.Len(t, p.Update, 1, "the empty slice becomes the first")
	p = w.sync()
	require.Equal(t, 1, p.Writes())
	require.Len(t, p.Update, 1, "the last slice becomes empty")
	require.Equal(t, []discoveryv1.EndpointPort{}, w.w.Slices[0].Ports)
}

// TestFill follows one service of 3 a slice through its changes: each takes as few writes as can be.
func TestFill(t *testing.T) {
	w := newWorld(service(), 3)
	require.Len(t, w.sync(pods(8)...).Create, 3)
	require.Equal(t, []int{3, 3, 2}, w.sizes())

	p := w.sync(pods(9)...)
	require.Equal(t, Plan{Update: p.Update}, p)
	require.Equal(t, "web-0002", p.Update[0].Name, "into the hole")
	require.Len(t, w.sync(pods(10)...).Create, 1)
	require.Equal(t, []int{3, 3, 3, 1}, w.sizes())

	less := slices.Delete(pods(10), 1, 2)
	p = w.sync(less...)
	require.Equal(t, 1, p.Writes())
	require.Equal(t, []int{2, 3, 3, 1}, w.sizes(), "slices are not packed for its own sake")

	p = w.sync(append(slices.Delete(less, 3, 4), pod(20))...)
	require.Equal(t, 1, p.Writes(), "the slice that loses one takes one")
	require.Equal(t, []int{2, 3, 3, 1}, w.sizes())

	p = w.sync(pods(1)...)
	require.Len(t, p.Delete, 3)
	require.Equal(t, []int{1}, w.sizes())
}

func TestSmallerSlices(t *testing.T) {
	w := newWorld(service(), 10)
	w.sync(pods(10)...)
	w.w.Max = 4
	w.sync(pods(10)...)
	require.Equal(t, []int{4, 4, 2}, w.sizes())
	require.Zero(t, w.sync(pods(10)...).Writes())
}

func TestRepair(t *testing.T) {
	for name, spoil := range map[string]func(*discoveryv1.EndpointSlice){
		"address":   func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses[0] = "8.8.8.8" },
		"readiness": func(s *discoveryv1.EndpointSlice) { s.Endpoints[1].Conditions.Ready = nil },
		"twice":     func(s *discoveryv1.EndpointSlice) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) },
		"too many": func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.9.9.9"}})
		},
		"too few":   func(s *discoveryv1.EndpointSlice) { s.Endpoints = s.Endpoints[1:] },
		"none":      func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil },
		"port":      func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = new(int32(1)) },
		"ports":     func(s *discoveryv1.EndpointSlice) { s.Ports = nil },
		"label":     func(s *discoveryv1.EndpointSlice) { s.Labels["team"] = "b" },
		"service":   func(s *discoveryv1.EndpointSlice) { delete(s.Labels, discoveryv1.LabelServiceName) },
		"reference": func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].TargetRef.FieldPath = "x" },
		"hints":     func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Hints = &discoveryv1.EndpointHints{} },
		"topology":  func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].DeprecatedTopology = map[string]string{"a": "b"} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(service(), 100)
			w.sync(pods(3)...)
			want := w.w.Slices[0].DeepCopy()
			spoil(w.w.Slices[0])
			p := w.sync(pods(3)...)
			require.Equal(t, 1, p.Writes())
			require.Len(t, p.Update, 1)
			byAddress := func(a, b discoveryv1.Endpoint) int { return slices.Compare(a.Addresses, b.Addresses) }
			slices.SortFunc(w.w.Slices[0].Endpoints, byAddress)
			require.Equal(t, want, w.w.Slices[0])
		})
	}
}

func TestOtherOwners(t *testing.T) {
	w := newWorld(service(), 100)
	w.sync(pods(2)...)
	w.w.Slices[0].OwnerReferences[0].UID = "the service before"
	p := w.sync(pods(2)...)
	require.Equal(t, [3]int{1, 0, 1}, [3]int{len(p.Create), len(p.Update), len(p.Delete)}, "another service's slice is not taken over")

	w.w.Slices[0].DeletionTimestamp = &metav1.Time{}
	p = w.sync(pods(2)...)
	require.Equal(t, [3]int{1, 0, 0}, [3]int{len(p.Create), len(p.Update), len(p.Delete)}, "what is going is not written")

	w = newWorld(service(func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{} }), 100)
	require.Zero(t, w.sync(pods(2)...).Writes(), "a service that goes gets no new slice")
}

// TestNothingIsChanged proves that Diff leaves the shared objects alone.
func TestNothingIsChanged(t *testing.T) {
	w := newWorld(service(), 2)
	w.sync(pods(5)...)
	before := make([]*discoveryv1.EndpointSlice, len(w.w.Slices))
	for n, s := range w.w.Slices {
		before[n] = s.DeepCopy()
	}
	w.w.Pods = append(pods(9)[3:], pod(11, func(p *backend.Pod) { p.Ports = nil }))
	w.w.Changed = time.Unix(5, 0)
	w.w.Service.Labels["more"] = "x"
	for _, s := range append(Diff(w.w).Update, Diff(w.w).Create...) {
		s.Labels["x"], s.Annotations["y"] = "x", "y"
		for n := range s.Endpoints {
			s.Endpoints[n].Addresses = nil
		}
	}
	require.Equal(t, before, w.w.Slices)
	require.Equal(t, Diff(w.w), Diff(w.w), "the same world gives the same plan")
}

// expected are the endpoints that a service should have, by their ports and address: another way to say it.
func expected(s *corev1.Service, pods []*backend.Pod) map[string]bool {
	out := map[string]bool{}
	for _, p := range pods {
		number, _ := p.Port(&s.Spec.Ports[0])
		if _, known := zone(p.Node); !known {
			continue
		}
		key := fmt.Sprint(number, " ", p.Addrs[0], " ", p.Name)
		out[key] = p.Ready && !p.Terminating
	}
	return out
}

func found(t require.TestingT, slices []*discoveryv1.EndpointSlice) map[string]bool {
	out := map[string]bool{}
	for _, s := range slices {
		var number int32
		if len(s.Ports) > 0 {
			number = *s.Ports[0].Port
		}
		for _, e := range s.Endpoints {
			key := fmt.Sprint(number, " ", e.Addresses[0], " ", e.TargetRef.Name)
			_, twice := out[key]
			require.False(t, twice, key)
			out[key] = *e.Conditions.Ready
		}
	}
	return out
}

// TestConverges lets pods come, go and change, people edit slices and writes get lost: one more look makes it what
// it should be, and another finds nothing to do. A change of one pod is one write.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(service(), rapid.IntRange(1, 5).Draw(t, "max"))
		have := map[int]*backend.Pod{}
		list := func() (out []*backend.Pod) {
			for _, n := range slices.Sorted(maps.Keys(have)) {
				out = append(out, have[n])
			}
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"change a pod": func(t *rapid.T) {
				w.sync(list()...)
				n := rapid.IntRange(0, 12).Draw(t, "pod")
				if have[n] != nil && rapid.Bool().Draw(t, "goes") {
					delete(have, n)
				} else {
					p := pod(n)
					p.Ready, p.Terminating = rapid.Bool().Draw(t, "ready"), rapid.Bool().Draw(t, "terminating")
					p.Node = rapid.SampledFrom([]string{"n0", "bare", "missing"}).Draw(t, "node")
					if had := have[n]; had != nil {
						p.Ports = had.Ports
					} else if rapid.Bool().Draw(t, "other port") {
						p.Ports[0].Number = 9090
					}
					have[n] = p
				}
				require.LessOrEqual(t, w.sync(list()...).Writes(), 1)
			},
			"edit a slice": func(t *rapid.T) {
				if len(w.w.Slices) == 0 {
					return
				}
				s := rapid.SampledFrom(w.w.Slices).Draw(t, "slice")
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					s.Endpoints = nil
				case 1:
					s.Ports = nil
				case 2:
					s.OwnerReferences = nil
				case 3:
					other := rapid.SampledFrom(w.w.Slices).Draw(t, "other")
					s.Endpoints = append(slices.Clone(s.Endpoints), other.Endpoints...)
				}
			},
			"lose writes": func(t *rapid.T) {
				w.w.Pods = list()
				p := Diff(w.w)
				p.Create = p.Create[:rapid.IntRange(0, len(p.Create)).Draw(t, "creates")]
				p.Update = p.Update[:rapid.IntRange(0, len(p.Update)).Draw(t, "updates")]
				p.Delete = p.Delete[:rapid.IntRange(0, len(p.Delete)).Draw(t, "deletes")]
				w.apply(p)
			},
			"": func(t *rapid.T) {
				again := *w
				again.w.Slices = nil
				for _, s := range w.w.Slices {
					again.w.Slices = append(again.w.Slices, s.DeepCopy())
				}
				again.sync(list()...)
				require.Equal(t, expected(w.w.Service, list()), found(t, again.w.Slices))
				for _, s := range again.w.Slices {
					require.LessOrEqual(t, len(s.Endpoints), again.w.Max)
				}
				require.Zero(t, again.sync(list()...).Writes())
			},
		})
	})
}

func ExampleDiff() {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	pods := []*backend.Pod{{Namespace: "default", Name: "web-1", Node: "n0", Ready: true, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.4")}}}
	p := Diff(World{Service: svc, Pods: pods, Max: 100, Zone: func(string) (string, bool) { return "", true }})
	s := p.Create[0]
	fmt.Println(s.GenerateName, s.AddressType, s.Endpoints[0].Addresses, *s.Ports[0].Port)
	// Output: web- IPv4 [10.1.0.4] 8080
}

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("endpoints=", n), func(b *testing.B) {
			w := newWorld(service(), 100)
			w.sync(pods(n)...)
			now := pods(n)
			now[n/2].Ready = false
			w.w.Pods = now
			b.ReportAllocs()
			for b.Loop() {
				if Diff(w.w).Writes() != 1 {
					b.Fatal("one write")
				}
			}
		})
	}
}
