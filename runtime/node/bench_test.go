//go:build linux

package node

import (
	"context"
	"fmt"
	"net"
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/netplug"
)

// samples is how often a thing is done of which percentiles are reported. The store lies on disk, each write is synced,
// and etcd, API server, controllers, scheduler and nodes are all in the process that measures.
const samples = 200

func report(b *testing.B, prefix string, all []time.Duration) {
	slices.Sort(all)
	at := func(percent int) float64 {
		return float64(all[min(len(all)*percent/100, len(all)-1)].Microseconds()) / 1000
	}
	b.ReportMetric(at(50), prefix+"p50-ms")
	b.ReportMetric(at(99), prefix+"p99-ms")
	b.ReportMetric(float64(goruntime.GOMAXPROCS(0)), "procs")
	b.ReportMetric(0, "ns/op")
}

// onHost puts a pod on the host's network: what it takes then is the floor.
func onHost(s corev1.PodSpec) corev1.PodSpec {
	s.HostNetwork = true
	return s
}

func quick(script string) corev1.PodSpec {
	s := spec(script)
	s.TerminationGracePeriodSeconds = new(int64)
	return s
}

// BenchmarkPodStart is a pod from its creation to the event that says that it runs: it is scheduled, and attached to the
// network. The floor is the same on the host's network.
func BenchmarkPodStart(b *testing.B) {
	k := newCluster(b, bedplate.Config{Dir: b.TempDir()}, nil, 1)
	var pods, floor []time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range samples {
			pods = append(pods, k.takes(fmt.Sprintf("p%d-%d", i, j), quick(idle)))
			floor = append(floor, k.takes(fmt.Sprintf("f%d-%d", i, j), onHost(quick(idle))))
		}
	}
	report(b, "floor-", floor)
	report(b, "", pods)
}

// takes is how long pods take from their creation until all run. They are gone when it returns.
func (k *cluster) takes(name string, s corev1.PodSpec) time.Duration {
	return k.together([]string{name}, s)
}

func (k *cluster) together(names []string, s corev1.PodSpec) time.Duration {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	w, err := k.pods.Watch(ctx, client.InNamespace("default"))
	require.NoError(k, err)
	defer w.Close()
	until := func(cond func(client.Event[*corev1.Pod]) bool) {
		for seen := map[string]bool{}; len(seen) < len(names); {
			e, err := w.Next(ctx)
			require.NoError(k, err)
			if e.Type != client.Bookmark && slices.Contains(names, e.Object.Name) && cond(e) {
				seen[e.Object.Name] = true
			}
		}
	}
	begin := time.Now()
	for _, name := range names {
		k.run(name, 0, s)
	}
	until(func(e client.Event[*corev1.Pod]) bool { return e.Object.Status.Phase == corev1.PodRunning })
	took := time.Since(begin)
	for _, name := range names {
		require.NoError(k, k.pods.Delete(ctx, "default", name))
	}
	until(func(e client.Event[*corev1.Pod]) bool { return e.Type == client.Deleted })
	return took
}

// BenchmarkThirtyPods is thirty pods at once, on two nodes, from the first creation until the last runs. The floor is the
// same on the hosts' network.
func BenchmarkThirtyPods(b *testing.B) {
	k := newCluster(b, bedplate.Config{Dir: b.TempDir()}, nil, 1, 2)
	var pods, floor time.Duration
	n := 0
	for ; b.Loop(); n++ {
		var names []string
		for i := range 30 {
			names = append(names, fmt.Sprintf("p%d-%d", n, i))
		}
		pods += k.together(names, quick(idle))
		floor += k.together(names, onHost(quick(idle)))
	}
	b.ReportMetric(pods.Seconds()*1000/float64(n), "ms/30-pods")
	b.ReportMetric(floor.Seconds()*1000/float64(n), "floor-ms/30-pods")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEndpoint is an endpoint from the pod status that makes it ready, or takes that back, until it is in the rules
// of both nodes, or out of them. The pods are of a node that isn't there, so that nobody else writes their status. The
// floor is the time until the status itself is seen by who watches pods.
func BenchmarkEndpoint(b *testing.B) {
	k := newCluster(b, bedplate.Config{Dir: b.TempDir(), NodeGrace: time.Hour}, nil, 1, 2)
	ctx := b.Context()
	_, err := client.For[*corev1.Node](k.c).Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "ghost"}})
	require.NoError(b, err)
	s := spec(idle)
	s.NodeName = "ghost"
	k.run("ghost", 0, s)
	k.expose("ghost")
	slicesOf, err := client.For[*discoveryv1.EndpointSlice](k.c).Watch(ctx, client.InNamespace("default"), client.Labels(discoveryv1.LabelServiceName+"=ghost"), client.InitialEvents())
	require.NoError(b, err)
	defer slicesOf.Close()
	pods, err := k.pods.Watch(ctx, client.InNamespace("default"))
	require.NoError(b, err)
	defer pods.Close()
	var rules, floor []time.Duration
	for b.Loop() {
		for i := range 2 * samples {
			on := i%2 == 0
			begin := time.Now()
			k.setReady("ghost", on)
			for {
				e, err := pods.Next(ctx)
				require.NoError(b, err)
				if e.Object.Name == "ghost" && ready(e.Object) == on {
					floor = append(floor, time.Since(begin))
					break
				}
			}
			for {
				e, err := slicesOf.Next(ctx)
				require.NoError(b, err)
				if e.Type != client.Bookmark && (len(serving(e.Object)) == 1) == on {
					k.programmed(e.Object.ResourceVersion)
					rules = append(rules, time.Since(begin))
					break
				}
			}
		}
	}
	report(b, "floor-", floor)
	report(b, "", rules)
}

func (k *cluster) setReady(pod string, on bool) {
	k.Helper()
	is := corev1.ConditionFalse
	if on {
		is = corev1.ConditionTrue
	}
	_, err := k.pods.ModifyStatus(k.Context(), "default", pod, func(p *corev1.Pod) error {
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, "10.244.77.7", []corev1.PodIP{{IP: "10.244.77.7"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: is}}
		return nil
	})
	require.NoError(k, err)
}

// BenchmarkService is a service from its creation until a pod on the other node has found its name and got an answer. The
// floor is name and answer of a service that is there.
func BenchmarkService(b *testing.B) {
	k := newCluster(b, bedplate.Config{Dir: b.TempDir()}, nil, 1, 2)
	k.run("web", 1, served(spec(web)))
	k.run("client", 2, spec(idle))
	k.up("web")
	space := k.spaceOf(k.up("client"))
	var services, floor []time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range samples {
			name := fmt.Sprintf("s%d-%d", i, j)
			begin := time.Now()
			_, err := client.For[*corev1.Service](k.c).Create(b.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
				Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
			})
			require.NoError(b, err)
			k.visit(space, name)
			services = append(services, time.Since(begin))
			begin = time.Now()
			k.visit(space, name)
			floor = append(floor, time.Since(begin))
			require.NoError(b, client.For[*corev1.Service](k.c).Delete(b.Context(), "default", name))
		}
	}
	report(b, "floor-", floor)
	report(b, "", services)
}

// visit finds a service by its name and asks it, from a pod, until it answers.
func (k *cluster) visit(space, name string) {
	k.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		err = netplug.Inside(space, func() error {
			var d net.Dialer
			c, err = d.DialContext(ctx, network, dnsAddress.String()+":53")
			return err
		})
		return c, err
	}}
	const pause = 500 * time.Microsecond
	for begin := time.Now(); ; time.Sleep(pause) {
		addrs, err := r.LookupHost(k.Context(), name+".default.svc.cluster.local.")
		if err == nil {
			_, err = fetch(space, "http://"+addrs[0])
		}
		if err == nil {
			return
		}
		require.Less(k, time.Since(begin), patience, "%v", err)
	}
}
