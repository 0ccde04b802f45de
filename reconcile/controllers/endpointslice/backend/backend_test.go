package backend

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

var since = time.Unix(1000, 0)

// pod makes a ready pod; change makes it another.
func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n0", Containers: []corev1.Container{{
			Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {ContainerPort: 1}},
		}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func TestOf(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p, ok := Of(pod("a", func(p *corev1.Pod) {
		p.Spec.Hostname, p.Spec.Subdomain = "h", "s"
		p.Spec.InitContainers = []corev1.Container{
			{Name: "once", Ports: []corev1.ContainerPort{{Name: "never", ContainerPort: 1}}},
			{Name: "beside", RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "mesh", ContainerPort: 2, Protocol: corev1.ProtocolUDP}}},
		}
		p.Status.PodIPs = []corev1.PodIP{{IP: "10.1.0.1"}, {IP: "fd00::1"}, {IP: "10.1.0.2"}, {IP: "rubbish"}}
		p.DeletionTimestamp = &metav1.Time{}
	}))
	require.True(t, ok)
	require.Equal(t, &Pod{
		Namespace: "default", Name: "a", UID: "a", Node: "n0", Hostname: "h", Subdomain: "s", Ready: true, Terminating: true, Since: since,
		Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00::1")},
		Ports: []Port{{"mesh", corev1.ProtocolUDP, 2}, {"http", corev1.ProtocolTCP, 8080}}, labels: map[string]string{"app": "web"},
	}, p)
	require.Equal(t, "h", p.HostnameFor(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}))
	require.Empty(t, p.HostnameFor(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}))

	for name, change := range map[string]func(*corev1.Pod){
		"succeeded":  func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"failed":     func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"no address": func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil },
	} {
		_, ok := Of(pod("a", change))
		require.False(t, ok, name)
	}
	p, ok = Of(pod("a", func(p *corev1.Pod) { p.Status.PodIPs = nil }))
	require.True(t, ok)
	require.Equal(t, "10.1.0.1", p.Addrs[0].String(), "the older field will do")
}

func TestPort(t *testing.T) {
	p, _ := Of(pod("a"))
	for _, c := range []struct {
		port corev1.ServicePort
		want int32
		ok   bool
	}{
		{corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(8080)}, 8080, true},
		{corev1.ServicePort{Port: 80}, 80, true},
		{corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("http")}, 8080, true},
		{corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolUDP}, 0, false},
		{corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("other")}, 0, false},
	} {
		got, ok := p.Port(&c.port)
		require.Equal(t, c.ok, ok, "%+v", c.port)
		require.Equal(t, c.want, got, "%+v", c.port)
	}
}

// index is an Index without a manager, and what it told.
type index struct {
	*Index
	told map[string]int
}

func newIndex(t require.TestingT) *index {
	x := &index{&Index{s: newState(), hearing: map[*func(string)]struct{}{}}, map[string]int{}}
	x.hear(func(key string) { x.told[key]++ })
	return x
}

// tells returns what was told since.
func (x *index) tells() []string {
	keys := slices.Sorted(maps.Keys(x.told))
	clear(x.told)
	return keys
}

func serviceOf(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Selector: selector}}
}

// TestTells goes through the changes of one pod: only what a service sees wakes it.
func TestTells(t *testing.T) {
	x := newIndex(t)
	web := serviceOf("web", map[string]string{"app": "web"})
	x.service("default/web", web)
	x.service("default/all", serviceOf("all", nil))
	x.service("default/other", serviceOf("other", map[string]string{"app": "web", "tier": "front"}))
	x.service("default/outside", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, Selector: map[string]string{"app": "web"}}})
	x.node("n0", &corev1.Node{})
	require.Empty(t, x.tells())

	for _, step := range []struct {
		name string
		pod  *corev1.Pod
		want []string
	}{
		{"no address yet", pod("a", func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }), nil},
		{"address", pod("a", func(p *corev1.Pod) { p.Status.Conditions = nil }), []string{"default/web"}},
		{"ready", pod("a"), []string{"default/web"}},
		{"heartbeat", pod("a", func(p *corev1.Pod) { p.ResourceVersion = "7" }), nil},
		{"annotation", pod("a", func(p *corev1.Pod) { p.Annotations = map[string]string{"x": "y"} }), nil},
		{"label that nobody selects by", pod("a", func(p *corev1.Pod) { p.Labels["x"] = "y" }), nil},
		{"label of another service", pod("a", func(p *corev1.Pod) { p.Labels["tier"] = "front" }), []string{"default/other"}},
		{"label and readiness", pod("a", func(p *corev1.Pod) { p.Status.Conditions = nil }), []string{"default/other", "default/web"}},
		{"another uid", pod("a", func(p *corev1.Pod) { p.UID, p.Status.Conditions = "b", nil }), []string{"default/web"}},
		{"other namespace", nil, []string{"default/web"}},
		{"gone", nil, nil},
	} {
		x.pod("default/a", step.pod)
		require.Equal(t, step.want, x.tells(), step.name)
	}
	x.pod("team/a", pod("a", func(p *corev1.Pod) { p.Namespace = "team" }))
	require.Empty(t, x.tells())
	require.Empty(t, x.Pods(web))

	x.pod("default/a", pod("a"))
	x.tells()
	x.node("n0", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"heartbeat": "1"}}})
	require.Empty(t, x.tells())
	x.node("n0", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: "z"}}})
	require.Equal(t, []string{"default/web"}, x.tells())
	zone, known := x.Zone("n0")
	require.Equal(t, "z", zone)
	require.True(t, known)
	x.node("n0", nil)
	require.Equal(t, []string{"default/web"}, x.tells())
	_, known = x.Zone("n0")
	require.False(t, known)

	x.service("default/web", nil)
	x.pod("default/a", nil)
	require.Empty(t, x.tells())
}

// TestIndexAgrees compares what the index finds with a look at everything, under random changes.
func TestIndexAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex(t)
		pods, services := map[string]*corev1.Pod{}, map[string]*corev1.Service{}
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		set := rapid.MapOfN(rapid.SampledFrom([]string{"app", "tier", "x"}), rapid.SampledFrom([]string{"1", "2"}), 0, 3)
		behind := func(s *corev1.Service) (out []string) {
			for key, p := range pods {
				if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.Labels)) && p.Namespace == s.Namespace {
					out = append(out, key)
				}
			}
			slices.Sort(out)
			return out
		}
		found := func(s *corev1.Service) (out []string) {
			for _, p := range x.Pods(s) {
				out = append(out, p.Key())
			}
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"pod": func(t *rapid.T) {
				p := pod(name.Draw(t, "name"), func(p *corev1.Pod) {
					p.Labels = set.Draw(t, "labels")
					p.Spec.NodeName = rapid.SampledFrom([]string{"n0", "n1"}).Draw(t, "node")
				})
				before := map[string][]string{}
				for key, s := range services {
					before[key] = behind(s)
				}
				key := "default/" + p.Name
				if pods[key] = p; rapid.Bool().Draw(t, "goes") {
					delete(pods, key)
					x.pod(key, nil)
				} else {
					x.pod(key, p)
				}
				told := x.tells()
				for svc, s := range services {
					if !slices.Equal(before[svc], behind(s)) {
						require.Contains(t, told, svc)
					}
					if !slices.Contains(before[svc], key) && !slices.Contains(behind(s), key) {
						require.NotContains(t, told, svc)
					}
				}
			},
			"service": func(t *rapid.T) {
				s := serviceOf(name.Draw(t, "name"), set.Draw(t, "selector"))
				key := "default/" + s.Name
				if services[key] = s; rapid.Bool().Draw(t, "goes") {
					delete(services, key)
					x.service(key, nil)
				} else {
					x.service(key, s)
				}
			},
			"": func(t *rapid.T) {
				for _, s := range services {
					require.Equal(t, behind(s), found(s))
				}
				if len(pods) == 0 && len(services) == 0 {
					require.Empty(t, x.s.labelled)
					require.Empty(t, x.s.on)
					require.Empty(t, x.s.wanting)
				}
			},
		})
	})
}

func TestTimes(t *testing.T) {
	var times Times
	s := serviceOf("web", map[string]string{"app": "web"})
	s.CreationTimestamp = metav1.NewTime(time.Unix(500, 0))
	at := func(uid types.UID, sec int64) *Pod { return &Pod{UID: uid, Since: time.Unix(sec, 0)} }
	changed := func(write bool, pods ...*Pod) time.Time {
		when, done := times.Changed(s, pods)
		if write {
			done()
		}
		return when
	}
	require.Equal(t, time.Unix(500, 0), changed(true, at("a", 600)), "a new service's is its creation")
	require.Zero(t, changed(true, at("a", 600)))
	require.Equal(t, time.Unix(700, 0), changed(false, at("a", 800), at("b", 700)), "the first of the changes")
	require.Equal(t, time.Unix(700, 0), changed(true, at("a", 800), at("b", 700)), "it was not written")
	require.Zero(t, changed(true, at("a", 800)), "nobody knows when a pod went")
	times.Forget("default/web")
	require.Equal(t, time.Unix(500, 0), changed(true))
}

func ExampleOf() {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1"}}
	_, ok := Of(p)
	fmt.Println("before it has an address:", ok)
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.1.0.4"}}
	b, ok := Of(p)
	fmt.Println("then:", ok, b.Addrs, b.Ready)
	// Output:
	// before it has an address: false
	// then: true [10.1.0.4] false
}

// BenchmarkPod is a pod's change of readiness, among 10,000 pods of 1,000 services in one namespace.
func BenchmarkPod(b *testing.B) {
	x := &Index{s: newState(), hearing: map[*func(string)]struct{}{}}
	for n := range 1000 {
		app := fmt.Sprint("app", n)
		x.service("default/"+app, serviceOf(app, map[string]string{"app": app, "part-of": "shop"}))
	}
	var pods []*corev1.Pod
	for n := range 10_000 {
		p := pod(fmt.Sprint("p", n), func(p *corev1.Pod) {
			p.Labels = map[string]string{"app": fmt.Sprint("app", n%1000), "part-of": "shop", "hash": fmt.Sprint(n % 1000)}
		})
		pods = append(pods, p)
		x.pod("default/"+p.Name, p)
	}
	told := 0
	x.hear(func(string) { told++ })
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
	}{
		{"relevant", pod(pods[0].Name, func(p *corev1.Pod) { p.Labels, p.Status.Conditions = pods[0].Labels, nil })},
		{"irrelevant", pod(pods[0].Name, func(p *corev1.Pod) { p.Labels = pods[0].Labels })},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.pod("default/p0", c.pod)
				x.pod("default/p0", pods[0])
			}
		})
	}
	b.Run("pods of a service", func(b *testing.B) {
		s := serviceOf("app1", map[string]string{"app": "app1", "part-of": "shop"})
		for b.Loop() {
			if len(x.Pods(s)) != 10 {
				b.Fatal("ten pods")
			}
		}
	})
}
