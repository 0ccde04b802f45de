package pods_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/scheduling/pods"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an API server without nodes, and doors to it.
type cluster struct {
	t      testing.TB
	ctx    context.Context
	server *server.Server
	c      *client.Client // in this process
	r      *apimachinery.Registry
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(core.Resources()...)
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: r, DB: db})
	require.NoError(t, err)
	c := &cluster{t: t, server: s, r: r}
	c.run(db.Run)
	c.run(s.Run)
	<-s.Ready()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c.ctx = ctx
	c.c = client.New(s.As(apimachinery.User{Name: "tester", Groups: []string{"system:masters"}}), r)
	return c
}

// run runs something until the test ends, before what it stands on.
func (c *cluster) run(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	var once atomic.Bool
	stop = func() {
		if !once.Swap(true) {
			cancel()
			require.NoError(c.t, <-ended)
		}
	}
	c.t.Cleanup(stop)
	return stop
}

// viewing is a scheduler in the server's process, on its tables.
func (c *cluster) viewing(d pods.DriverConfig) *pods.Scheduler {
	c.t.Helper()
	return c.started(c.views(d))
}

// views gives a scheduler informers over the server's tables.
func (c *cluster) views(d pods.DriverConfig) pods.DriverConfig {
	c.t.Helper()
	var err error
	d.Pods, err = informer.Of(c.server, client.For[*corev1.Pod](d.Client), nil)
	require.NoError(c.t, err)
	d.Nodes, err = informer.Of(c.server, client.For[*corev1.Node](d.Client), nil)
	require.NoError(c.t, err)
	c.run(d.Pods.Run)
	c.run(d.Nodes.Run)
	return d
}

func (c *cluster) started(d pods.DriverConfig) *pods.Scheduler {
	c.t.Helper()
	d.Log = slog.New(slog.NewTextHandler(c.t.Output(), nil))
	s, err := pods.New(d)
	require.NoError(c.t, err)
	c.run(s.Run)
	return s
}

// remote is a client over HTTP.
func (c *cluster) remote() *client.Client {
	conn, err := client.HTTPS(client.Config{Server: "http://" + c.server.Addr().String()})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	return client.New(conn, c.r)
}

func (c *cluster) addNodes(nodes ...*corev1.Node) {
	c.t.Helper()
	for _, n := range nodes {
		_, err := client.For[*corev1.Node](c.c).Create(c.ctx, n)
		require.NoError(c.t, err)
	}
}

func (c *cluster) addPods(ps ...*corev1.Pod) {
	c.t.Helper()
	for _, p := range ps {
		if len(p.Spec.Containers) == 0 {
			requests()(p)
		}
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].Image = "example.com/nothing"
		}
		_, err := client.For[*corev1.Pod](c.c).Create(c.ctx, p)
		require.NoError(c.t, err)
	}
}

// until watches all pods until they are as wished.
func (c *cluster) until(wish func(map[string]*corev1.Pod) bool) map[string]*corev1.Pod {
	c.t.Helper()
	all := map[string]*corev1.Pod{}
	w, err := client.For[*corev1.Pod](c.c).Watch(c.ctx)
	require.NoError(c.t, err)
	defer w.Close()
	for !wish(all) {
		e, err := w.Next(c.ctx)
		if err != nil {
			require.NoError(c.t, err, "it never came to what was wished; now: %v", states(all))
		}
		switch e.Type {
		case client.Added, client.Modified:
			all[e.Object.Name] = e.Object
		case client.Deleted:
			delete(all, e.Object.Name)
		}
	}
	return all
}

func states(all map[string]*corev1.Pod) (s []string) {
	for name, p := range all {
		s = append(s, fmt.Sprint(name, " on ", p.Spec.NodeName, " ", p.Status.Conditions))
	}
	return s
}

func bound(n int) func(map[string]*corev1.Pod) bool {
	return func(all map[string]*corev1.Pod) bool {
		count := 0
		for _, p := range all {
			if p.Spec.NodeName != "" {
				count++
			}
		}
		return count >= n
	}
}

// condition returns a pod's PodScheduled condition, without its times.
func condition(p *corev1.Pod) corev1.PodCondition {
	if p == nil {
		return corev1.PodCondition{}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			c.LastTransitionTime, c.LastProbeTime = metav1.Time{}, metav1.Time{}
			return c
		}
	}
	return corev1.PodCondition{}
}

// untilEvent watches events until one is as wished.
func (c *cluster) untilEvent(reason, about, message string) *corev1.Event {
	c.t.Helper()
	w, err := client.For[*corev1.Event](c.c).Watch(c.ctx)
	require.NoError(c.t, err)
	defer w.Close()
	for {
		e, err := w.Next(c.ctx)
		require.NoError(c.t, err, "no event %s of %s", reason, about)
		if o := e.Object; e.Type != client.Bookmark && o.Reason == reason && o.InvolvedObject.Name == about && o.Message == message {
			return o
		}
	}
}

// A pod is bound, on the node that the plugins choose, with its condition and an
// event; in process and over HTTP.
func TestDriverBinds(t *testing.T) {
	for name, start := range map[string]func(*cluster) *pods.Scheduler{
		"in process": func(c *cluster) *pods.Scheduler { return c.viewing(pods.DriverConfig{Client: c.c}) },
		"over HTTP":  func(c *cluster) *pods.Scheduler { return c.started(pods.DriverConfig{Client: c.remote()}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.addNodes(node("n1", offers("cpu", "2", "memory", "2Gi", "pods", "110")), node("n2"), node("n3", tainted("a", "b", corev1.TaintEffectNoSchedule)))
			c.addPods(pod("early", requests("cpu", "3")))
			s := start(c)
			c.addPods(pod("late", requests("cpu", "2")), pod("other's", func(p *corev1.Pod) { p.Name = "others"; p.Spec.SchedulerName = "other" }))
			all := c.until(bound(2))
			require.Equal(t, "n2", all["early"].Spec.NodeName)
			require.Equal(t, "n1", all["late"].Spec.NodeName)
			require.Equal(t, corev1.ConditionTrue, condition(all["late"]).Status)
			c.untilEvent("Scheduled", "early", "Successfully assigned default/early to n2")
			e := c.untilEvent("Scheduled", "late", "Successfully assigned default/late to n1")
			require.Equal(t, corev1.EventTypeNormal, e.Type)
			require.Equal(t, "default-scheduler", e.Source.Component)
			require.Zero(t, s.Len())
		})
	}
}

// What can't be placed says so, once and in kube-scheduler's words, and is placed
// when there is room.
func TestDriverReports(t *testing.T) {
	c := newCluster(t)
	s := c.viewing(pods.DriverConfig{Client: c.c})
	c.addNodes(node("n1"))
	big := pod("big", requests("cpu", "5"))
	c.addPods(big)
	const says = "0/1 nodes are available: 1 Insufficient cpu."
	all := c.until(func(all map[string]*corev1.Pod) bool { return condition(all["big"]).Message == says })
	require.Equal(t, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: says, ObservedGeneration: all["big"].Generation,
	}, condition(all["big"]))
	require.Equal(t, corev1.EventTypeWarning, c.untilEvent("FailedScheduling", "big", says).Type)
	why, err := s.Explain(t.Context(), all["big"])
	require.NoError(t, err)
	require.Len(t, why, 1)

	c.addNodes(node("n2", offers("cpu", "8", "memory", "8Gi", "pods", "1")))
	require.Equal(t, "n2", c.until(bound(1))["big"].Spec.NodeName)

	// A pod that ended gives its room back; one that is gone is no longer tried.
	c.addPods(pod("next", requests("cpu", "5")), pod("gone", requests("cpu", "50")))
	c.until(func(all map[string]*corev1.Pod) bool {
		return condition(all["next"]).Message != "" && condition(all["gone"]).Message != ""
	})
	require.NoError(t, client.For[*corev1.Pod](c.c).Delete(c.ctx, "default", "gone"))
	_, err = client.For[*corev1.Pod](c.c).ModifyStatus(c.ctx, "default", "big", func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodSucceeded
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "n2", c.until(bound(2))["next"].Spec.NodeName)
	c.untilEvent("Scheduled", "next", "Successfully assigned default/next to n2")
	require.Zero(t, s.Len())
}

// conflicts counts how many bindings the server refused.
type conflicts struct {
	apimachinery.Doer
	n *atomic.Int64
}

func (d conflicts) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	answer, err := d.Doer.Do(ctx, r)
	if r.Sub == "binding" && apierrors.IsConflict(err) {
		d.n.Add(1)
	}
	return answer, err
}

// Two schedulers of one name work on one API: no node is overcommitted, every pod
// that there is room for is bound, and the end of one changes nothing of that.
func TestTwoSchedulers(t *testing.T) {
	c := newCluster(t)
	var refused atomic.Int64
	doer := conflicts{c.c.Doer(), &refused}
	var stop func()
	for i := range 2 {
		s, err := pods.New(c.views(pods.DriverConfig{Client: client.New(doer, c.r)}))
		require.NoError(t, err)
		if stopOne := c.run(s.Run); i == 0 {
			stop = stopOne
		}
	}
	for i := range 4 {
		c.addNodes(node(fmt.Sprint("n", i), offers("cpu", "5", "memory", "50Gi", "pods", "110")))
	}
	for i := range 30 {
		c.addPods(pod(fmt.Sprint("p", i), requests("cpu", "1")))
		if i == 12 {
			c.until(bound(5))
			stop() // in mid-cycle
		}
	}
	all := c.until(bound(20))
	on := map[string]int{}
	for _, p := range all {
		if p.Spec.NodeName != "" {
			on[p.Spec.NodeName]++
		}
	}
	require.Equal(t, map[string]int{"n0": 5, "n1": 5, "n2": 5, "n3": 5}, on)
	t.Logf("%d bindings were refused", refused.Load())
}

func TestDriverConfig(t *testing.T) {
	_, err := pods.New(pods.DriverConfig{})
	require.EqualError(t, err, "scheduling pods: DriverConfig.Client is nil")
	c := newCluster(t)
	_, err = pods.New(pods.DriverConfig{Client: c.c, Reports: -1})
	require.EqualError(t, err, "scheduling pods: DriverConfig.Reports is negative")
	s, err := pods.New(pods.DriverConfig{Client: c.c})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.EqualError(t, s.Run(t.Context()), "scheduling pods: Run was called before")
	empty, err := apimachinery.NewRegistry()
	require.NoError(t, err)
	_, err = pods.New(pods.DriverConfig{Client: client.New(c.c.Doer(), empty)})
	require.Error(t, err)
	require.False(t, errors.Is(err, context.Canceled))
}
