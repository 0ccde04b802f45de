package eviction_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/eviction"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// budgets is all that evictions need of the kind.
func budgets() apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}, Namespaced: true,
		New:   func() apimachinery.Object { return &policyv1.PodDisruptionBudget{} },
		Views: []apimachinery.View{{GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), Plural: "poddisruptionbudgets"}},
		Subs: map[string]apimachinery.Subresource{"status": {
			Verbs: []string{"get", "update", "patch"}, Strategy: &apimachinery.Strategy{Owned: []string{"status"}},
		}},
	}
}

// late is the door of a server that is made after what needs it.
type late struct{ s *server.Server }

func (l *late) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	return l.s.As(apimachinery.User{Name: "system:apiserver"}).Do(ctx, r)
}

// serve returns a client of a server that evicts, which ends with the context.
func serve(ctx context.Context, more ...apimachinery.Resource) (*client.Client, error) {
	door, pods := &late{}, core.Pods()
	if err := eviction.Serve(&pods, eviction.Config{Doer: door}); err != nil {
		return nil, err
	}
	kinds, err := apimachinery.NewRegistry(append(more, pods)...)
	if err != nil {
		return nil, err
	}
	backend, err := memory.New(memory.Config{})
	if err != nil {
		return nil, err
	}
	db, err := storage.New(backend, storage.Config{})
	if err != nil {
		return nil, err
	}
	if door.s, err = server.New(server.Config{Registry: kinds, DB: db}); err != nil {
		return nil, err
	}
	go func() { _ = db.Run(ctx) }()
	return client.New(door.s.As(apimachinery.User{Name: "tester"}), kinds), nil
}

type world struct {
	t       *testing.T
	pods    client.Resource[*corev1.Pod]
	budgets client.Resource[*policyv1.PodDisruptionBudget]
}

func start(t *testing.T) *world {
	t.Helper()
	c, err := serve(t.Context(), budgets())
	require.NoError(t, err)
	return &world{t, client.For[*corev1.Pod](c), client.For[*policyv1.PodDisruptionBudget](c)}
}

// pod makes a pod on a node that runs, and is ready or not.
func (w *world) pod(name string, ready corev1.ConditionStatus) *corev1.Pod {
	w.t.Helper()
	var zero int64
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}}
	p.Spec = corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: &zero, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	p, err := w.pods.Create(w.t.Context(), p)
	require.NoError(w.t, err)
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	p, err = w.pods.UpdateStatus(w.t.Context(), p)
	require.NoError(w.t, err)
	return p
}

func (w *world) budget(allowed int32) {
	w.t.Helper()
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	b.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, CurrentHealthy: 2, DesiredHealthy: 2}
	_, err := w.budgets.Create(w.t.Context(), b)
	require.NoError(w.t, err)
}

func (w *world) evict(name string, o *metav1.DeleteOptions, opts ...client.Option) error {
	e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, DeleteOptions: o}
	_, err := client.Sub[policyv1.Eviction](w.pods, "eviction").Create(w.t.Context(), "default", name, e, opts...)
	return err
}

func (w *world) exists(name string) bool {
	w.t.Helper()
	_, err := w.pods.Get(w.t.Context(), "default", name)
	if err != nil {
		require.True(w.t, apierrors.IsNotFound(err), "%v", err)
	}
	return err == nil
}

func TestEvict(t *testing.T) {
	w := start(t)
	w.budget(1)
	w.pod("a", corev1.ConditionTrue)
	w.pod("b", corev1.ConditionTrue)
	w.pod("sick", corev1.ConditionFalse)

	require.NoError(t, w.evict("a", nil, client.DryRun()))
	require.NoError(t, w.evict("a", &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}))
	require.True(t, w.exists("a"), "a dry run")
	require.NoError(t, w.evict("a", nil))
	require.False(t, w.exists("a"))
	b, err := w.budgets.Get(t.Context(), "default", "b")
	require.NoError(t, err)
	require.Zero(t, b.Status.DisruptionsAllowed)
	require.Contains(t, b.Status.DisruptedPods, "a")

	err = w.evict("b", nil)
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	require.True(t, apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause))
	require.True(t, w.exists("b"))
	require.NoError(t, w.evict("sick", nil), "enough others are healthy")
	require.False(t, w.exists("sick"))
	require.True(t, apierrors.IsNotFound(w.evict("nobody", nil)))
}

func TestPreconditions(t *testing.T) {
	w := start(t)
	p := w.pod("a", corev1.ConditionTrue)
	uid, version := p.UID, p.ResourceVersion
	other, old := uid+"x", "1"
	for _, c := range []metav1.Preconditions{{UID: &other}, {ResourceVersion: &old}} {
		require.True(t, apierrors.IsConflict(w.evict("a", &metav1.DeleteOptions{Preconditions: &c})))
		require.True(t, w.exists("a"))
	}
	require.NoError(t, w.evict("a", &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}))
	require.False(t, w.exists("a"))
	yes := true
	w.pod("b", corev1.ConditionTrue)
	require.True(t, apierrors.IsInvalid(w.evict("b", &metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes})))
}

// TestMark: who is evicted is known by a condition as long as it is there.
func TestMark(t *testing.T) {
	w := start(t)
	w.pod("a", corev1.ConditionTrue)
	var grace int64 = 30
	require.NoError(t, w.evict("a", &metav1.DeleteOptions{GracePeriodSeconds: &grace}))
	p, err := w.pods.Get(t.Context(), "default", "a")
	require.NoError(t, err)
	require.NotNil(t, p.DeletionTimestamp)
	require.EqualValues(t, 30, *p.DeletionGracePeriodSeconds)
	require.Equal(t, corev1.DisruptionTarget, p.Status.Conditions[1].Type)
	require.NoError(t, w.evict("a", nil), "again")
}

// TestAtOnce: however many ask at once, no more go than the budget allows.
func TestAtOnce(t *testing.T) {
	w := start(t)
	w.budget(3)
	const all = 8
	for i := range all {
		w.pod(fmt.Sprint("p", i), corev1.ConditionTrue)
	}
	var done atomic.Int32
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() {
			if err := w.evict(fmt.Sprint("p", i), nil); err == nil {
				done.Add(1)
			} else if !apierrors.IsTooManyRequests(err) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 3, done.Load())
}

// An eviction through the API: a server without budgets evicts whatever it is asked to.
func ExampleServe() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := serve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	pods := client.For[*corev1.Pod](c)
	meta := metav1.ObjectMeta{Namespace: "default", Name: "web"}
	if _, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}}); err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Sub[policyv1.Eviction](pods, "eviction").Create(ctx, "default", "web", &policyv1.Eviction{ObjectMeta: meta})
	fmt.Println(err)
	_, err = pods.Get(ctx, "default", "web")
	fmt.Println(apierrors.IsNotFound(err))
	// Output:
	// <nil>
	// true
}
