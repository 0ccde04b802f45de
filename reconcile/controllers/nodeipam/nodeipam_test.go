package nodeipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/reconcile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an API server in which nodes come and go.
type cluster struct {
	t     *testing.T
	env   *clienttest.Env
	nodes client.Resource[*corev1.Node]
}

func open(t *testing.T) *cluster {
	env := clienttest.Start(t, clienttest.Config{Resources: core.Resources()})
	c := &cluster{t: t, env: env, nodes: client.For[*corev1.Node](env.Client)}
	_, err := client.For[*corev1.Namespace](env.Client).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	require.NoError(t, err)
	return c
}

// run runs a controller through a client, on the server's tables or on lists and watches.
func (c *cluster) run(view bool, through *client.Client, config Config) (stop func()) {
	mc := reconcile.Config{Client: through, Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1}))}
	if view {
		mc.Tables = c.env.Server
	}
	m, err := reconcile.New(mc)
	require.NoError(c.t, err)
	require.NoError(c.t, Add(m, config))
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

func (c *cluster) create(name string, blocks ...string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: blocks}}
	if len(blocks) > 0 {
		n.Spec.PodCIDR = blocks[0]
	}
	_, err := c.nodes.Create(c.t.Context(), n)
	require.NoError(c.t, err)
}

func (c *cluster) delete(name string) {
	require.NoError(c.t, c.nodes.Delete(c.t.Context(), "", name))
}

// all are the blocks of the nodes. It fails if an address is in two.
func (c *cluster) all() map[string]string {
	l, err := c.nodes.List(c.t.Context())
	require.NoError(c.t, err)
	out := map[string]string{}
	var seen []netip.Prefix
	for _, n := range l.Items {
		out[n.Name] = n.Spec.PodCIDR
		for _, b := range blocks(n) {
			require.False(c.t, slices.ContainsFunc(seen, b.Overlaps), "%s is a second node's: %v", b, l.Items)
			seen = append(seen, b)
		}
	}
	return out
}

func (c *cluster) allHave() bool {
	for _, block := range c.all() {
		if block == "" {
			return false
		}
	}
	return true
}

func (c *cluster) eventually(f func() bool) {
	c.t.Helper()
	require.Eventually(c.t, f, 30*time.Second, 2*time.Millisecond)
}

func (c *cluster) event(reason string) bool {
	l, err := client.For[*corev1.Event](c.env.Client).List(c.t.Context(), client.Fields("involvedObject.kind=Node,reason="+reason))
	require.NoError(c.t, err)
	return len(l.Items) > 0
}

func small() Config { return Config{Ranges: ranges("10.244.0.0/22")} }

func both(t *testing.T, test func(t *testing.T, view bool)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) { test(t, view) })
	}
}

func TestNodes(t *testing.T) {
	both(t, func(t *testing.T, view bool) {
		c := open(t)
		c.create("own", "10.244.1.0/24")
		c.create("a")
		stop := c.run(view, c.env.Client, small())
		c.eventually(c.allHave)
		c.create("b")
		c.eventually(c.allHave)
		n, err := c.nodes.Get(t.Context(), "", "b")
		require.NoError(t, err)
		require.Equal(t, []string{n.Spec.PodCIDR}, n.Spec.PodCIDRs)
		require.Equal(t, "10.244.1.0/24", c.all()["own"])

		stop()
		c.create("c")
		c.create("d")
		c.run(view, c.env.Client, small())
		c.eventually(func() bool { return c.event(NotAvailable) && len(c.without()) == 1 })
		c.delete("own")
		c.eventually(c.allHave)
	})
}

// without are the nodes that have no block.
func (c *cluster) without() (out []string) {
	for name, block := range c.all() {
		if block == "" {
			out = append(out, name)
		}
	}
	return out
}

func TestConflictIsTold(t *testing.T) {
	c := open(t)
	c.create("a", "10.244.0.0/24")
	c.create("b", "10.244.0.0/25")
	c.run(true, c.env.Client, small())
	c.eventually(func() bool { return c.event(InConflict) })
}

func TestBothFamiliesAreWritten(t *testing.T) {
	c := open(t)
	c.create("a")
	c.run(true, c.env.Client, Config{Ranges: ranges("fd00::/56", "10.244.0.0/16")})
	c.eventually(func() bool {
		n, err := c.nodes.Get(t.Context(), "", "a")
		require.NoError(t, err)
		return slices.Equal(n.Spec.PodCIDRs, []string{"fd00::/64", "10.244.0.0/24"}) && n.Spec.PodCIDR == "fd00::/64"
	})
}

func TestAddIsJudged(t *testing.T) {
	c := open(t)
	m, err := reconcile.New(reconcile.Config{Client: c.env.Client})
	require.NoError(t, err)
	require.ErrorContains(t, Add(m, Config{}), "add controller nodeipam: open the ledger of node ranges: Ranges must be set")
}

// lossy is a Doer whose writes fail now and then: before they are made, or after, without telling.
type lossy struct {
	apimachinery.Doer
	mu   sync.Mutex
	fate func() int
}

func (l *lossy) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	if r.Verb != apimachinery.VerbPatch || r.Resource.Resource != "nodes" {
		return l.Doer.Do(ctx, r)
	}
	l.mu.Lock()
	fate := l.fate()
	l.mu.Unlock()
	if fate == 1 {
		return nil, errors.New("the request was lost")
	}
	resp, err := l.Doer.Do(ctx, r)
	if fate == 2 && err == nil {
		return nil, errors.New("the answer was lost")
	}
	return resp, err
}

// TestCrashes lets nodes come and go while controllers are killed and started, requests and answers get lost, and
// two of them may be at work one after the other: no address is ever two nodes', and all nodes get one.
func TestCrashes(t *testing.T) {
	c := open(t)
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		if round++; round > 12 {
			return // each takes some 50 ms
		}
		fates := rapid.SliceOfN(rapid.IntRange(0, 2), 20, 20).Draw(r, "fates")
		through := &lossy{Doer: c.env.Client.Doer(), fate: func() (f int) {
			if len(fates) > 0 {
				f, fates = fates[0], fates[1:]
			}
			return f
		}}
		lossyClient := client.New(through, c.env.Client.Registry())
		stop := func() {}
		for step := range rapid.IntRange(3, 12).Draw(r, "steps") {
			name := fmt.Sprint("r", round, "n", rapid.IntRange(0, 5).Draw(r, "node"))
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				stop()
				stop = c.run(rapid.Bool().Draw(r, "view"), lossyClient, Config{Ranges: ranges("10.244.0.0/21")})
			case 1:
				if _, ok := c.all()[name]; ok {
					c.delete(name)
				}
			default:
				if _, ok := c.all()[name]; !ok {
					c.create(name)
				}
			}
			_ = step
		}
		stop()
		stop = c.run(true, lossyClient, Config{Ranges: ranges("10.244.0.0/21")})
		c.eventually(c.allHave)
		stop()
		for name := range c.all() {
			c.delete(name)
		}
	})
}

// TestStaleNode has a controller whose view of a node is from before the node got its range, and whose ledger is
// opened after: it must give neither the node another range, nor the node's range to others.
func TestStaleNode(t *testing.T) {
	c := open(t)
	c.create("a")
	stale, err := c.nodes.Get(t.Context(), "", "a")
	require.NoError(t, err)
	_, err = c.nodes.Patch(t.Context(), "", "a", types.MergePatchType, []byte(`{"spec":{"podCIDR":"10.244.0.0/24"}}`))
	require.NoError(t, err)
	c.create("b")
	b, err := c.nodes.Get(t.Context(), "", "b")
	require.NoError(t, err)

	one := controllerOf(t, c, small())
	_, err = one.reconcile(t.Context(), stale)
	require.ErrorContains(t, err, "has been modified")
	_, err = one.reconcile(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "10.244.0.0/24", "b": "10.244.1.0/24"}, c.all())

	// A node that went and came again, with another range, before the ledger was opened: the old range is not its.
	c.delete("a")
	c.create("a", "10.244.3.0/24")
	stale.Spec.PodCIDR = "10.244.0.0/24"
	two := controllerOf(t, c, small())
	_, err = two.reconcile(t.Context(), stale)
	require.NoError(t, err)
	require.Equal(t, ranges("10.244.3.0/24"), two.ledger.Has("a"))

	// The cache says that a node is gone which the API has still.
	require.NoError(t, two.gone(t.Context(), "a"))
	require.Equal(t, ranges("10.244.3.0/24"), two.ledger.Has("a"))
	c.delete("a")
	require.NoError(t, two.gone(t.Context(), "a"))
	require.Empty(t, two.ledger.Has("a"))
}

func controllerOf(t *testing.T, c *cluster, config Config) *controller {
	m, err := reconcile.New(reconcile.Config{Client: c.env.Client})
	require.NoError(t, err)
	one, err := newController(m, config)
	require.NoError(t, err)
	return one
}
