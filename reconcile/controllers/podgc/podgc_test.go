package podgc_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/podgc"
)

func TestJudge(t *testing.T) {
	pod := func(node string, ending bool) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}
		if ending {
			p.DeletionTimestamp = new(metav1.Now())
		}
		return p
	}
	node := func(ready corev1.ConditionStatus, taint string) *corev1.Node {
		n := &corev1.Node{}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if taint != "" {
			n.Spec.Taints = []corev1.Taint{{Key: taint, Effect: corev1.TaintEffectNoExecute}}
		}
		return n
	}
	tests := map[string]struct {
		p    *corev1.Pod
		n    *corev1.Node
		want podgc.Verdict
	}{
		"waits for a node":             {pod("", false), nil, podgc.Keep},
		"never had a node":             {pod("", true), nil, podgc.Delete},
		"runs":                         {pod("n", false), node("True", ""), podgc.Keep},
		"ends":                         {pod("n", true), node("True", ""), podgc.Keep},
		"ends on a silent node":        {pod("n", true), node("Unknown", ""), podgc.Keep},
		"ends on one out of service":   {pod("n", true), node("Unknown", corev1.TaintNodeOutOfService), podgc.Delete},
		"out of service, but ready":    {pod("n", true), node("True", corev1.TaintNodeOutOfService), podgc.Keep},
		"not ending, out of service":   {pod("n", false), node("False", corev1.TaintNodeOutOfService), podgc.Keep},
		"its node is gone":             {pod("n", false), nil, podgc.Orphan},
		"its node is gone, and it too": {pod("n", true), nil, podgc.Orphan},
	}
	for name, test := range tests {
		require.Equal(t, test.want, podgc.Judge(test.p, test.n), name)
	}
}

func TestSurplus(t *testing.T) {
	pod := func(name string, phase corev1.PodPhase, reason string, created int64) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(created, 0)}}
		p.Status.Phase, p.Status.Reason = phase, reason
		return p
	}
	pods := []*corev1.Pod{
		pod("runs", corev1.PodRunning, "", 1), pod("new", corev1.PodFailed, "", 9), pod("old", corev1.PodSucceeded, "", 2),
		pod("evicted", corev1.PodFailed, "Evicted", 8), pod("b", corev1.PodFailed, "", 5), pod("a", corev1.PodFailed, "", 5),
	}
	var names []string
	for _, p := range podgc.Surplus(pods, 1) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"evicted", "old", "a", "b"}, names)
	require.Empty(t, podgc.Surplus(pods, 5))
}

type world struct {
	t     *testing.T
	pods  client.Resource[*corev1.Pod]
	nodes client.Resource[*corev1.Node]
}

func inWorld(t *testing.T, config podgc.Config, test func(w *world)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env := clienttest.Start(t, clienttest.Config{Resources: core.Resources()})
				c := reconcile.Config{Client: env.Client, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
				if view {
					c.Tables = env.Server
				}
				m, err := reconcile.New(c)
				require.NoError(t, err)
				require.NoError(t, podgc.Add(m, config))
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- m.Run(ctx) }()
				defer func() {
					cancel()
					require.NoError(t, <-done)
				}()
				test(&world{t, client.For[*corev1.Pod](env.Client), client.For[*corev1.Node](env.Client)})
			})
		})
	}
}

func (w *world) pod(name, node string) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.NodeName, p.Spec.Containers = node, []corev1.Container{{Name: "c", Image: "i"}}
	_, err := w.pods.Create(w.t.Context(), p)
	require.NoError(w.t, err)
}

func (w *world) node(name string) {
	_, err := w.nodes.Create(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	require.NoError(w.t, err)
}

func (w *world) names() (out []string) {
	l, err := w.pods.List(w.t.Context())
	require.NoError(w.t, err)
	for _, p := range l.Items {
		out = append(out, p.Name)
	}
	return out
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOrphans(t *testing.T) {
	inWorld(t, podgc.Config{}, func(w *world) {
		t := w.t
		w.node("stays")
		w.node("goes")
		w.pod("kept", "stays")
		w.pod("orphan", "goes")
		w.pod("early", "comes")
		pass(30 * time.Second)
		w.node("comes")
		require.NoError(t, w.nodes.Delete(t.Context(), "", "goes"))
		var seen *corev1.Pod
		watch, err := w.pods.Watch(t.Context())
		require.NoError(t, err)
		defer watch.Close()
		pass(39 * time.Second)
		require.Equal(t, []string{"early", "kept", "orphan"}, w.names())
		pass(2 * time.Second)
		require.Equal(t, []string{"early", "kept"}, w.names())
		for seen == nil {
			e, err := watch.Next(t.Context())
			require.NoError(t, err)
			if e.Type == client.Deleted {
				seen = e.Object
			}
		}
		require.Equal(t, corev1.PodFailed, seen.Status.Phase)
		require.True(t, slices.ContainsFunc(seen.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Reason == "DeletionByPodGC"
		}))
	})
}

// TestNodeComesBack: a node that was there meanwhile has its whole quarantine anew.
func TestNodeComesBack(t *testing.T) {
	inWorld(t, podgc.Config{}, func(w *world) {
		w.node("n")
		w.pod("p", "n")
		require.NoError(w.t, w.nodes.Delete(w.t.Context(), "", "n"))
		pass(30 * time.Second)
		w.node("n")
		pass(5 * time.Second)
		require.NoError(w.t, w.nodes.Delete(w.t.Context(), "", "n"))
		pass(39 * time.Second)
		require.Equal(w.t, []string{"p"}, w.names())
		pass(2 * time.Second)
		require.Empty(w.t, w.names())
	})
}

func TestOutOfServiceAndUnscheduled(t *testing.T) {
	inWorld(t, podgc.Config{}, func(w *world) {
		t := w.t
		w.node("n")
		w.pod("p", "n")
		w.pod("q", "n")
		require.NoError(t, w.pods.Delete(t.Context(), "default", "p"))
		pass(time.Minute)
		require.Equal(t, []string{"p", "q"}, w.names())
		_, err := w.nodes.Modify(t.Context(), "", "n", func(n *corev1.Node) error {
			n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
			return nil
		})
		require.NoError(t, err)
		pass(time.Second)
		require.Equal(t, []string{"q"}, w.names())
		w.pod("nowhere", "")
		_, err = w.pods.Modify(t.Context(), "default", "nowhere", func(p *corev1.Pod) error {
			p.Finalizers = []string{"example.org/hold"}
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, w.pods.Delete(t.Context(), "default", "nowhere"))
		pass(time.Second)
		p, err := w.pods.Get(t.Context(), "default", "nowhere")
		require.NoError(t, err)
		require.Equal(t, corev1.PodFailed, p.Status.Phase)
	})
}

func TestTooManyEnded(t *testing.T) {
	inWorld(t, podgc.Config{Terminated: 2}, func(w *world) {
		t := w.t
		w.node("n")
		for i := range 5 {
			name := fmt.Sprint("p", i)
			w.pod(name, "n")
			_, err := w.pods.ModifyStatus(t.Context(), "default", name, func(p *corev1.Pod) error {
				p.Status.Phase = corev1.PodSucceeded
				return nil
			})
			require.NoError(t, err)
			pass(time.Second)
		}
		pass(20 * time.Second)
		require.Equal(t, []string{"p3", "p4"}, w.names())
	})
}

func TestConfig(t *testing.T) {
	require.ErrorContains(t, podgc.Add(nil, podgc.Config{Period: -1}), "must not be negative")
}
