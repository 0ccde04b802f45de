package pods_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/scheduling/pods"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// meddler binds another pod to the same node just before the first binding of a
// scheduler goes out: what a second scheduler does at the worst moment.
type meddler struct {
	apimachinery.Doer
	other  func(node string)
	unseen bool // strips what the binding says it has seen
	done   bool
}

func (m *meddler) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	if r.Sub == "binding" {
		if !m.done {
			m.done = true
			var b corev1.Binding
			if err := apimachinery.DecodeLoose(r.Body, &b); err != nil {
				return nil, err
			}
			m.other(b.Target.Name)
		}
		if m.unseen {
			changed := *r
			changed.Seen = ""
			r = &changed
		}
	}
	return m.Doer.Do(ctx, r)
}

// A binding that was decided on without knowing of another to the same node is
// refused, and the pod goes elsewhere. Without what the binding says it has seen,
// the node would be overcommitted: the test can fail.
func TestBindingIsGuarded(t *testing.T) {
	for _, unseen := range []bool{false, true} {
		t.Run(fmt.Sprintf("unseen=%v", unseen), func(t *testing.T) {
			c := newCluster(t)
			c.addNodes(node("n1", offers("cpu", "4", "memory", "9Gi", "pods", "9")), node("n2", offers("cpu", "3", "memory", "9Gi", "pods", "9")))
			c.addPods(pod("meddler", requests("cpu", "3"), func(p *corev1.Pod) { p.Spec.SchedulerName = "other" }), pod("ours", requests("cpu", "3")))
			m := &meddler{Doer: c.c.Doer(), unseen: unseen, other: func(node string) {
				b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "meddler"}, Target: corev1.ObjectReference{Name: node}}
				_, err := client.Sub[corev1.Binding](client.For[*corev1.Pod](c.c), "binding").Create(c.ctx, "default", "meddler", b)
				require.NoError(t, err)
			}}
			c.viewing(pods.DriverConfig{Client: client.New(m, c.r)})
			all := c.until(bound(2))
			overcommitted := all["meddler"].Spec.NodeName == all["ours"].Spec.NodeName
			require.Equal(t, unseen, overcommitted, "%v", states(all))
		})
	}
}

// Many pods go to one node one after another without waiting for the cache.
func TestManyBindingsToOneNode(t *testing.T) {
	c := newCluster(t)
	c.addNodes(node("n1", offers("cpu", "99", "memory", "99Gi", "pods", "110")))
	for i := range 110 {
		c.addPods(pod(fmt.Sprint("p", i), requests("cpu", "100m")))
	}
	s := c.viewing(pods.DriverConfig{Client: c.c})
	c.until(bound(110))
	require.Zero(t, s.Len().BackingOff)
}
