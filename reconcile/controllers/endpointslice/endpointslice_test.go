package endpointslice_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an API server with services, and pods that only say that they run.
type cluster struct {
	t        testing.TB
	env      *clienttest.Env
	pods     client.Resource[*corev1.Pod]
	nodes    client.Resource[*corev1.Node]
	services client.Resource[*corev1.Service]
	slices   client.Resource[*discoveryv1.EndpointSlice]
}

func open(t testing.TB) *cluster {
	env := clienttest.Start(t, clienttest.Config{Resources: append(core.Resources(), discovery.Resources()...)})
	c := &cluster{
		t: t, env: env,
		pods: client.For[*corev1.Pod](env.Client), nodes: client.For[*corev1.Node](env.Client),
		services: client.For[*corev1.Service](env.Client), slices: client.For[*discoveryv1.EndpointSlice](env.Client),
	}
	_, err := client.For[*corev1.Namespace](env.Client).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	require.NoError(t, err)
	_, err = c.nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n0", Labels: map[string]string{corev1.LabelTopologyZone: "z0"},
	}})
	require.NoError(t, err)
	return c
}

func (c *cluster) run(view bool, through *client.Client, config endpointslice.Config) (stop func()) {
	mc := reconcile.Config{Client: through, Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1}))}
	if view {
		mc.Tables = c.env.Server
	}
	m, err := reconcile.New(mc)
	require.NoError(c.t, err)
	require.NoError(c.t, endpointslice.Add(m, config))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(c.t, <-done)
	})
	c.t.Cleanup(stop)
	return stop
}

func (c *cluster) service(name string) *corev1.Service {
	s, err := c.services.Create(c.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name}, ClusterIP: "None", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("web")}},
		},
	})
	require.NoError(c.t, err)
	return s
}

func (c *cluster) pod(app, name string) {
	_, err := c.pods.Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{NodeName: "n0", Containers: []corev1.Container{{
			Name: "c", Image: "i", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		}}},
	})
	require.NoError(c.t, err)
}

// status gives a pod an address, and makes it ready or not.
func (c *cluster) status(name, ip string, ready bool) {
	state := corev1.ConditionFalse
	if ready {
		state = corev1.ConditionTrue
	}
	patch, err := apimachinery.Encode(corev1.Pod{Status: corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: state, LastTransitionTime: metav1.Now()}},
	}})
	require.NoError(c.t, err)
	_, err = c.pods.PatchStatus(c.t.Context(), "default", name, types.MergePatchType, patch)
	require.NoError(c.t, err)
}

func (c *cluster) delete(pod string) {
	require.NoError(c.t, c.pods.Delete(c.t.Context(), "default", pod, client.Grace(0)))
}

// list are the slices of a service.
func (c *cluster) list(service string) []*discoveryv1.EndpointSlice {
	l, err := c.slices.List(c.t.Context(), client.Labels("kubernetes.io/service-name="+service))
	require.NoError(c.t, err)
	return l.Items
}

// endpoints are the addresses of a service's endpoints, those that are not ready with a minus in front.
func (c *cluster) endpoints(service string) []string {
	out := []string{}
	for _, s := range c.list(service) {
		for _, e := range s.Endpoints {
			text := e.Addresses[0]
			if ready := e.Conditions.Ready; ready == nil || !*ready {
				text = "-" + text
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}

func (c *cluster) eventually(f func() bool) {
	c.t.Helper()
	require.Eventually(c.t, f, 30*time.Second, 2*time.Millisecond)
}

func (c *cluster) become(service string, want ...string) {
	c.t.Helper()
	if want == nil {
		want = []string{}
	}
	c.eventually(func() bool { return len(c.list(service)) > 0 && slices.Equal(c.endpoints(service), want) })
}

func both(t *testing.T, test func(t *testing.T, view bool)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) { test(t, view) })
	}
}

func TestEndpointSlices(t *testing.T) {
	both(t, func(t *testing.T, view bool) {
		c := open(t)
		ctx := t.Context()
		c.pod("web", "early")
		c.status("early", "10.1.0.9", true)
		c.run(view, c.env.Client, endpointslice.Config{})
		c.service("web")
		c.become("web", "10.1.0.9")

		c.pod("web", "a")
		c.status("a", "10.1.0.1", false)
		c.become("web", "-10.1.0.1", "10.1.0.9")
		c.status("a", "10.1.0.1", true)
		c.become("web", "10.1.0.1", "10.1.0.9")
		s := c.list("web")
		require.Len(t, s, 1)
		require.True(t, strings.HasPrefix(s[0].Name, "web-"))
		require.Equal(t, int32(8080), *s[0].Ports[0].Port)
		require.Equal(t, "z0", *s[0].Endpoints[0].Zone)
		require.NotEmpty(t, s[0].Annotations[corev1.EndpointsLastChangeTriggerTime])

		c.delete("early")
		c.become("web", "10.1.0.1")
		_, err := c.pods.Patch(ctx, "default", "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"other"}}}`))
		require.NoError(t, err)
		c.become("web")
		_, err = c.services.Patch(ctx, "default", "web", types.MergePatchType, []byte(`{"spec":{"selector":{"app":"other"}},"metadata":{"labels":{"x":"y"}}}`))
		require.NoError(t, err)
		c.become("web", "10.1.0.1")
		require.Equal(t, s[0].UID, c.list("web")[0].UID, "it is one slice throughout")

		_, err = c.nodes.Patch(ctx, "", "n0", types.MergePatchType, []byte(`{"metadata":{"labels":{"topology.kubernetes.io/zone":"z1"}}}`))
		require.NoError(t, err)
		c.eventually(func() bool { return *c.list("web")[0].Endpoints[0].Zone == "z1" })

		_, err = c.slices.Patch(ctx, "default", s[0].Name, types.MergePatchType, []byte(`{"endpoints":[{"addresses":["10.9.9.9"]}]}`))
		require.NoError(t, err)
		c.become("web", "10.1.0.1")
		require.NoError(t, c.slices.Delete(ctx, "default", s[0].Name))
		c.become("web", "10.1.0.1")

		require.NoError(t, c.services.Delete(ctx, "default", "web"))
		c.eventually(func() bool { return len(c.list("web")) == 0 })
	})
}

// TestLeftovers has slices of a service that went while no controller ran, of one that took its name, and another
// controller's.
func TestLeftovers(t *testing.T) {
	both(t, func(t *testing.T, view bool) {
		c := open(t)
		ctx := t.Context()
		stop := c.run(view, c.env.Client, endpointslice.Config{})
		old := c.service("old")
		c.service("gone")
		c.become("old")
		c.become("gone")
		stop()
		_, err := c.slices.Create(ctx, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine", Labels: map[string]string{
				discoveryv1.LabelServiceName: "gone", discoveryv1.LabelManagedBy: "me",
			}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{},
		})
		require.NoError(t, err)
		require.NoError(t, c.services.Delete(ctx, "default", "gone"))
		require.NoError(t, c.services.Delete(ctx, "default", "old"))
		now := c.service("old")
		require.NotEqual(t, old.UID, now.UID)
		c.run(view, c.env.Client, endpointslice.Config{})
		c.eventually(func() bool {
			s := c.list("old")
			return len(s) == 1 && metav1.IsControlledBy(s[0], now)
		})
		c.eventually(func() bool {
			s := c.list("gone")
			return len(s) == 1 && s[0].Name == "mine"
		})
	})
}

func TestConfigIsJudged(t *testing.T) {
	c := open(t)
	m, err := reconcile.New(reconcile.Config{Client: c.env.Client})
	require.NoError(t, err)
	require.ErrorContains(t, endpointslice.Add(m, endpointslice.Config{Max: 1001}), "add controller endpointslice: Max must be from 1 to 1,000")
	require.ErrorContains(t, endpointslice.Add(m, endpointslice.Config{Workers: -1}), "Workers must not be negative")
}

// counted is a Doer that counts writes of slices, and loses some: before they are made, or after, without telling.
type counted struct {
	apimachinery.Doer
	mu     sync.Mutex
	writes int
	fate   func() int
}

func (d *counted) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return d.Doer.Do(ctx, r)
	}
	if r.Resource.Resource != "endpointslices" {
		return d.Doer.Do(ctx, r)
	}
	d.mu.Lock()
	d.writes++
	fate := 0
	if d.fate != nil {
		fate = d.fate()
	}
	d.mu.Unlock()
	if fate == 1 {
		return nil, errors.New("the request was lost")
	}
	resp, err := d.Doer.Do(ctx, r)
	if fate == 2 && err == nil {
		return nil, errors.New("the answer was lost")
	}
	return resp, err
}

func (d *counted) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// TestOneChangeIsOneWrite counts what the API hears: one write for a change that matters, none for another.
func TestOneChangeIsOneWrite(t *testing.T) {
	c := open(t)
	through := &counted{Doer: c.env.Client.Doer()}
	c.run(true, client.New(through, c.env.Client.Registry()), endpointslice.Config{Max: 3})
	c.service("web")
	c.become("web")
	require.Equal(t, 1, through.count())
	var want []string
	for n := range 7 {
		name, ip := fmt.Sprint("p", n), fmt.Sprint("10.1.0.", n)
		before := through.count()
		c.pod("web", name)
		c.status(name, ip, true)
		want = append(want, ip)
		c.become("web", want...)
		_, err := c.pods.Patch(t.Context(), "default", name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`))
		require.NoError(t, err)
		require.Equal(t, before+1, through.count())
	}
	require.Len(t, c.list("web"), 3)
	before := through.count()
	c.status("p3", "10.1.0.3", false)
	c.eventually(func() bool { return slices.Contains(c.endpoints("web"), "-10.1.0.3") })
	require.Equal(t, before+1, through.count())
}

// TestCrashes lets pods and services change at random while the controller is killed and started, and its requests
// and answers get lost: the end is what the pods say.
func TestCrashes(t *testing.T) {
	c := open(t)
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		if round++; round > 10 {
			return // each takes some 50 ms
		}
		fates := rapid.SliceOfN(rapid.IntRange(0, 2), 15, 15).Draw(r, "fates")
		through := &counted{Doer: c.env.Client.Doer(), fate: func() (f int) {
			if len(fates) > 0 {
				f, fates = fates[0], fates[1:]
			}
			return f
		}}
		lossy := client.New(through, c.env.Client.Registry())
		config := endpointslice.Config{Max: rapid.IntRange(1, 4).Draw(r, "max")}
		pods := map[string]string{} // what a service is to say of each
		services := map[string]bool{}
		stop := func() {}
		for range rapid.IntRange(5, 25).Draw(r, "steps") {
			svc := rapid.SampledFrom([]string{"web", "db"}).Draw(r, "service")
			n := rapid.IntRange(1, 6).Draw(r, "pod")
			name, ip := fmt.Sprint(svc, n), fmt.Sprint("10.1.0.", n)
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				stop()
				stop = c.run(rapid.Bool().Draw(r, "view"), lossy, config)
			case 1:
				if services[svc] {
					require.NoError(t, c.services.Delete(t.Context(), "default", svc))
				} else {
					c.service(svc)
				}
				services[svc] = !services[svc]
			case 2:
				if pods[name] != "" {
					c.delete(name)
					delete(pods, name)
				}
			default:
				if pods[name] == "" {
					c.pod(svc, name)
				}
				ready := rapid.Bool().Draw(r, "ready")
				c.status(name, ip, ready)
				if pods[name] = ip; !ready {
					pods[name] = "-" + ip
				}
			}
		}
		stop()
		stop = c.run(true, lossy, config)
		for _, svc := range []string{"web", "db"} {
			want := []string{}
			for name, text := range pods {
				if strings.HasPrefix(name, svc) {
					want = append(want, text)
				}
			}
			slices.Sort(want)
			if services[svc] {
				c.become(svc, want...)
				require.NoError(t, c.services.Delete(t.Context(), "default", svc))
			}
			c.eventually(func() bool { return len(c.list(svc)) == 0 })
		}
		for name := range pods {
			c.delete(name)
		}
		stop()
	})
}

// BenchmarkReady measures from the write that makes a pod ready to the event of the slice that says so, with ten
// endpoints in the service.
func BenchmarkReady(b *testing.B) {
	c := open(b)
	c.run(true, c.env.Client, endpointslice.Config{})
	c.service("web")
	for n := range 10 {
		c.pod("web", fmt.Sprint("p", n))
		c.status(fmt.Sprint("p", n), fmt.Sprint("10.1.0.", n), true)
	}
	c.eventually(func() bool { return len(c.endpoints("web")) == 10 })
	w, err := c.slices.Watch(b.Context())
	require.NoError(b, err)
	defer w.Close()
	events := make(chan bool, 1000)
	go func() {
		for e, err := range w.All(b.Context()) {
			if err != nil {
				return
			}
			for _, at := range e.Object.Endpoints {
				if at.Addresses[0] == "10.1.0.3" {
					events <- *at.Conditions.Ready
				}
			}
		}
	}()
	var took []time.Duration
	ready := true
	for b.Loop() {
		ready = !ready
		begun := time.Now()
		c.status("p3", "10.1.0.3", ready)
		for ready != <-events {
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkStart measures how long a controller takes to write the slices of 1,000 services of ten endpoints each.
func BenchmarkStart(b *testing.B) {
	c := open(b)
	const services = 1000
	for n := range services {
		app := fmt.Sprint("s", n)
		c.service(app)
		for i := range 10 {
			name := fmt.Sprint(app, "-", i)
			c.pod(app, name)
			c.status(name, fmt.Sprintf("10.%d.%d.%d", 1+n/250, n%250, i), true)
		}
	}
	written := func(want int) bool {
		l, err := c.slices.List(b.Context())
		require.NoError(b, err)
		full := 0
		for _, s := range l.Items {
			if len(s.Endpoints) == 10 {
				full++
			}
		}
		return full == want
	}
	var cold time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, c.slices.DeleteCollection(b.Context(), client.InNamespace("default")))
		b.StartTimer()
		begun := time.Now()
		stop := c.run(true, c.env.Client, endpointslice.Config{})
		require.Eventually(b, func() bool { return written(services) }, 5*time.Minute, 20*time.Millisecond)
		cold += time.Since(begun)
		rounds++
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(cold.Milliseconds())/float64(rounds), "ms-cold")
}
