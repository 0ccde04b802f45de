package nodelifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/nodelifecycle"
)

// world is an API with the controllers, in virtual time.
type world struct {
	t      *testing.T
	env    *clienttest.Env
	nodes  client.Resource[*corev1.Node]
	pods   client.Resource[*corev1.Pod]
	leases client.Resource[*coordinationv1.Lease]
	events client.Resource[*corev1.Event]
}

// inWorld runs a test in virtual time, with informers of both kinds.
func inWorld(t *testing.T, config nodelifecycle.Config, test func(w *world)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t)
				stop := w.run(view, config)
				defer stop()
				test(w)
			})
		})
	}
}

func open(t *testing.T) *world {
	env := clienttest.Start(t, clienttest.Config{Resources: append(core.Resources(), coordination.Resources()...)})
	return &world{
		t: t, env: env, nodes: client.For[*corev1.Node](env.Client), pods: client.For[*corev1.Pod](env.Client),
		leases: client.For[*coordinationv1.Lease](env.Client), events: client.For[*corev1.Event](env.Client),
	}
}

func (w *world) run(view bool, config nodelifecycle.Config) (stop func()) {
	c := reconcile.Config{Client: w.env.Client, Log: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if view {
		c.Tables = w.env.Server
	}
	m, err := reconcile.New(c)
	require.NoError(w.t, err)
	require.NoError(w.t, nodelifecycle.Add(m, config))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(w.t, <-done)
	}
}

func (w *world) node(name string, labels ...string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, l := range labels {
		n.Labels[corev1.LabelTopologyZone] = l
	}
	_, err := w.nodes.Create(w.t.Context(), n)
	require.NoError(w.t, err)
	w.status(name, corev1.ConditionTrue)
}

// status is what a node says of itself.
func (w *world) status(name string, ready corev1.ConditionStatus) {
	_, err := w.nodes.ModifyStatus(w.t.Context(), "", name, func(n *corev1.Node) error {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
		return nil
	})
	require.NoError(w.t, err)
}

// renew renews leases of nodes.
func (w *world) renew(names ...string) {
	for _, name := range names {
		now := metav1.NowMicro()
		_, err := w.leases.Modify(w.t.Context(), corev1.NamespaceNodeLease, name, func(l *coordinationv1.Lease) error {
			l.Spec.RenewTime = &now
			return nil
		})
		if apierrors.IsNotFound(err) {
			l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &name, new(int32(40)), &now
			_, err = w.leases.Create(w.t.Context(), l)
		}
		require.NoError(w.t, err)
	}
}

// pass lets time pass, in which some nodes renew their leases.
func (w *world) pass(d time.Duration, alive ...string) {
	const step = 10 * time.Second
	for ; d > 0; d -= step {
		w.renew(alive...)
		time.Sleep(min(d, step))
		synctest.Wait()
	}
}

func (w *world) pod(name, node string, tolerations ...corev1.Toleration) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.NodeName, p.Spec.Tolerations = node, tolerations
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	_, err := w.pods.Create(w.t.Context(), p)
	require.NoError(w.t, err)
	_, err = w.pods.ModifyStatus(w.t.Context(), "default", name, func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
		return nil
	})
	require.NoError(w.t, err)
}

func (w *world) ready(name string) string {
	n, err := w.nodes.Get(w.t.Context(), "", name)
	require.NoError(w.t, err)
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func (w *world) taints(name string) string {
	n, err := w.nodes.Get(w.t.Context(), "", name)
	require.NoError(w.t, err)
	var out []string
	for _, t := range n.Spec.Taints {
		require.NotNil(w.t, t.TimeAdded)
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// isGone says whether a pod is deleted, or about to be.
func (w *world) isGone(name string) bool {
	p, err := w.pods.Get(w.t.Context(), "default", name)
	if apierrors.IsNotFound(err) {
		return true
	}
	require.NoError(w.t, err)
	return p.DeletionTimestamp != nil
}

func (w *world) podReady(name string) corev1.ConditionStatus {
	p, err := w.pods.Get(w.t.Context(), "default", name)
	require.NoError(w.t, err)
	require.Equal(w.t, corev1.PodReady, p.Status.Conditions[0].Type)
	return p.Status.Conditions[0].Status
}

func (w *world) told(reason string) (out []string) {
	l, err := w.events.List(w.t.Context())
	require.NoError(w.t, err)
	for _, e := range l.Items {
		if e.Reason == reason {
			out = append(out, e.InvolvedObject.Name+": "+e.Message)
		}
	}
	slices.Sort(out)
	return out
}

func seconds(key string, n int64) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &n}
}

const unreachable = "unreachable:NoExecute unreachable:NoSchedule"

func TestSilentNode(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		w.node("dies")
		w.node("lives")
		w.pod("p", "dies", seconds(corev1.TaintNodeUnreachable, 300), seconds(corev1.TaintNodeNotReady, 300))
		w.pod("set", "dies", corev1.Toleration{Operator: corev1.TolerationOpExists})
		w.pod("other", "lives")
		w.pass(2*time.Minute, "dies", "lives")
		require.Equal(t, "True ", w.ready("dies"), "its lease is renewed, and that is enough")

		w.pass(30*time.Second, "lives")
		require.Equal(t, "True ", w.ready("dies"))
		w.pass(20*time.Second, "lives")
		require.Equal(t, "Unknown NodeStatusUnknown", w.ready("dies"))
		require.Equal(t, unreachable, w.taints("dies"))
		require.Empty(t, w.taints("lives"))
		require.Equal(t, corev1.ConditionFalse, w.podReady("p"))
		require.Equal(t, corev1.ConditionTrue, w.podReady("other"))
		require.Len(t, w.told("NodeNotReady"), 3, "of the node and its two pods")

		w.pod("late", "dies", seconds("", 1000))
		w.pass(10*time.Second, "lives")
		require.Equal(t, corev1.ConditionFalse, w.podReady("late"))
		require.False(t, w.isGone("p"))
		w.pass(5*time.Minute, "lives")
		require.True(t, w.isGone("p"))
		require.False(t, w.isGone("set"))
		require.False(t, w.isGone("late"))
		require.False(t, w.isGone("other"))
		require.Equal(t, []string{"p: Marking for deletion Pod default/p"}, w.told("TaintManagerEviction"))
		p, err := w.pods.Get(t.Context(), "default", "p")
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "DeletionByTaintManager"
		}))

		w.status("dies", corev1.ConditionTrue)
		w.pass(10*time.Second, "dies", "lives")
		require.Empty(t, w.taints("dies"))
		require.Contains(t, w.told("TaintManagerEviction"), "late: Cancelling deletion of Pod default/late")
		w.pass(20*time.Minute, "dies", "lives")
		require.False(t, w.isGone("late"))
		require.NoError(t, w.nodes.Delete(t.Context(), "", "dies"))
		w.pass(10*time.Second, "lives")
		require.Len(t, w.told("RemovingNode"), 1)
		require.Len(t, w.told("RegisteredNode"), 2)
	})
}

func TestNodeThatIsNotReady(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		w.node("sick")
		w.node("lives")
		w.pod("p", "sick", seconds(corev1.TaintNodeNotReady, 60), seconds(corev1.TaintNodeUnreachable, 60))
		w.status("sick", corev1.ConditionFalse)
		w.pass(10*time.Second, "sick", "lives")
		require.Equal(t, "not-ready:NoExecute not-ready:NoSchedule", w.taints("sick"))
		require.False(t, w.isGone("p"))
		w.pass(50*time.Second, "lives")
		require.Equal(t, unreachable, w.taints("sick"))
		w.pass(20*time.Second, "lives")
		require.True(t, w.isGone("p"), "its patience began anew when the taint changed")

		_, err := w.nodes.Modify(t.Context(), "", "lives", func(n *corev1.Node) error {
			n.Spec.Unschedulable = true
			return nil
		})
		require.NoError(t, err)
		w.pass(10*time.Second, "lives")
		require.Equal(t, "unschedulable:NoSchedule", w.taints("lives"))
	})
}

func TestNodeThatNeverSpoke(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		w.node("lives")
		_, err := w.nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mute"}})
		require.NoError(t, err)
		w.pass(50*time.Second, "lives")
		require.Empty(t, w.ready("mute"))
		w.pass(20*time.Second, "lives")
		require.Equal(t, "Unknown NodeStatusNeverUpdated", w.ready("mute"))
		require.Equal(t, unreachable, w.taints("mute"))
	})
}

// TestOwnTaint is one that somebody put there, without a time.
func TestOwnTaint(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		w.node("n")
		w.pod("p", "n", seconds("own", 30))
		w.pod("q", "n")
		w.pass(10*time.Second, "n")
		_, err := w.nodes.Modify(t.Context(), "", "n", func(n *corev1.Node) error {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "own", Effect: corev1.TaintEffectNoExecute})
			return nil
		})
		require.NoError(t, err)
		w.pass(20*time.Second, "n")
		require.True(t, w.isGone("q"))
		require.False(t, w.isGone("p"))
		w.pod("new", "n", seconds("own", 0))
		w.pass(20*time.Second, "n")
		require.True(t, w.isGone("p"))
		require.True(t, w.isGone("new"))
	})
}

// TestTaintComesBack: a taint without a time that was gone meanwhile counts from when it is seen again.
func TestTaintComesBack(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		taint := func(taints ...corev1.Taint) {
			_, err := w.nodes.Modify(t.Context(), "", "n", func(n *corev1.Node) error {
				n.Spec.Taints = taints
				return nil
			})
			require.NoError(t, err)
		}
		own := corev1.Taint{Key: "own", Effect: corev1.TaintEffectNoExecute}
		w.node("n")
		w.pod("p", "n", seconds("own", 30))
		w.pod("stays", "n", corev1.Toleration{Operator: corev1.TolerationOpExists})
		taint(own)
		w.pass(20*time.Second, "n")
		taint()
		w.pass(20*time.Second, "n")
		require.Equal(t, []string{"p: Cancelling deletion of Pod default/p"}, w.told("TaintManagerEviction"))
		taint(own)
		w.pass(20*time.Second, "n")
		require.False(t, w.isGone("p"))
		w.pass(20*time.Second, "n")
		require.True(t, w.isGone("p"))
		require.False(t, w.isGone("stays"))

		taint()
		w.pass(20*time.Second, "n")
		w.pod("q", "n", seconds("own", 30))
		taint(own)
		w.pass(20*time.Second, "n")
		require.False(t, w.isGone("q"), "though a pod that stays was there all the time")
		w.pass(20*time.Second, "n")
		require.True(t, w.isGone("q"))
	})
}

// TestAllDown stops evictions while no node is ready: most likely it is the control plane that is cut off.
func TestAllDown(t *testing.T) {
	inWorld(t, nodelifecycle.Config{Rate: 100}, func(w *world) {
		t := w.t
		names := []string{"a", "b", "c"}
		for _, n := range names {
			w.node(n, "zone-"+n)
			w.pod("on-"+n, n)
		}
		w.pass(time.Minute, "b", "c")
		require.Equal(t, unreachable, w.taints("a"))
		require.True(t, w.isGone("on-a"))
		w.pass(10*time.Second, "b", "c")
		w.pass(2 * time.Minute)
		for _, n := range names {
			require.Equal(t, "unreachable:NoSchedule", w.taints(n), n)
		}
		gone := 0
		for _, n := range names {
			if w.isGone("on-" + n) {
				gone++
			}
		}
		require.Less(t, gone, 3, "the last node's pods were evicted")
		w.status("c", corev1.ConditionTrue)
		w.pass(30*time.Second, "c")
		require.Empty(t, w.taints("c"))
		require.Equal(t, unreachable, w.taints("a"))
		require.Equal(t, "True ", w.ready("c"))
	})
}

// TestPace has ten of thirty nodes die at once: they are tainted one after the other.
func TestPace(t *testing.T) {
	inWorld(t, nodelifecycle.Config{}, func(w *world) {
		t := w.t
		var alive []string
		for i := range 30 {
			w.node(fmt.Sprint("n", i))
			if i >= 10 {
				alive = append(alive, fmt.Sprint("n", i))
			}
		}
		w.pass(55*time.Second, alive...)
		tainted := func() (count int) {
			for i := range 10 {
				require.Contains(t, w.taints(fmt.Sprint("n", i)), "unreachable:NoSchedule")
				if w.taints(fmt.Sprint("n", i)) == unreachable {
					count++
				}
			}
			return count
		}
		require.Equal(t, 1, tainted())
		w.pass(30*time.Second, alive...)
		require.InDelta(t, 4, tainted(), 1)
		w.pass(2*time.Minute, alive...)
		require.Equal(t, 10, tainted())
	})
}

// TestRestart has another controller take over: patience goes on, and nodes have their grace anew.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		stop := w.run(true, nodelifecycle.Config{})
		w.node("dies")
		w.node("lives")
		w.pod("p", "dies", seconds(corev1.TaintNodeUnreachable, 300))
		w.pass(time.Minute, "lives")
		require.Equal(t, unreachable, w.taints("dies"))
		stop()
		w.pass(200 * time.Second)
		stop = w.run(true, nodelifecycle.Config{})
		defer stop()
		w.pass(40*time.Second, "lives")
		require.Equal(t, "True ", w.ready("lives"), "the node was silent only while nobody listened")
		require.False(t, w.isGone("p"))
		w.pass(70*time.Second, "lives")
		require.True(t, w.isGone("p"))
	})
}
