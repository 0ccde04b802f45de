package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/leader"
	"github.com/bedplate/bedplate/reconcile/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type Widget = clienttest.Widget

func start(t clienttest.TB) *clienttest.Env {
	return clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{
		clienttest.Widgets(), core.ConfigMaps(), core.Events(), coordination.Leases(),
	}})
}

// both runs a test with informers of both kinds.
func both(t *testing.T, test func(t *testing.T, env *clienttest.Env, c reconcile.Config)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) {
			env := start(t)
			c := reconcile.Config{Client: env.Client}
			if view {
				c.Tables = env.Server
			}
			test(t, env, c)
		})
	}
}

func manager(t *testing.T, c reconcile.Config) *reconcile.Manager {
	m, err := reconcile.New(c)
	require.NoError(t, err)
	return m
}

func run(t *testing.T, m *reconcile.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

func widget(name string, size int) *Widget {
	w := &Widget{Spec: clienttest.WidgetSpec{Size: size}}
	w.Namespace, w.Name = "default", name
	return w
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 10*time.Second, 2*time.Millisecond)
}

// TestOperator is a whole operator: each widget has as many ConfigMaps as its size.
func TestOperator(t *testing.T) {
	both(t, func(t *testing.T, env *clienttest.Env, c reconcile.Config) {
		ctx := t.Context()
		widgets, maps := client.For[*Widget](env.Client), client.For[*corev1.ConfigMap](env.Client)
		m := manager(t, c)
		addOperator(t, m)
		run(t, m)
		_, err := widgets.Create(ctx, widget("one", 3))
		require.NoError(t, err)
		count := func() int {
			l, err := maps.List(ctx)
			require.NoError(t, err)
			return len(l.Items)
		}
		eventually(t, func() bool { return count() == 3 })
		require.NoError(t, maps.DeleteCollection(ctx, client.InNamespace("default"), client.Fields("metadata.name!=x")))
		eventually(t, func() bool { return count() == 3 })
		_, err = widgets.Modify(ctx, "default", "one", func(w *Widget) error {
			w.Spec.Size = 1
			return nil
		})
		require.NoError(t, err)
		eventually(t, func() bool { return count() == 1 })
		eventually(t, func() bool {
			w, err := widgets.Get(ctx, "default", "one")
			require.NoError(t, err)
			return w.Status.Ready
		})
	})
}

func addOperator(t *testing.T, m *reconcile.Manager) {
	maps, widgets := client.For[*corev1.ConfigMap](m.Client()), client.For[*Widget](m.Client())
	cache, err := reconcile.Informer[*corev1.ConfigMap](m)
	require.NoError(t, err)
	require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
		Name:    "widget",
		Watches: []reconcile.Watch{reconcile.Owns[*corev1.ConfigMap]()},
		Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
			var have []*corev1.ConfigMap
			for cm := range reconcile.Owned(cache, w) {
				have = append(have, cm)
			}
			for n := len(have); n < w.Spec.Size; n++ {
				cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, GenerateName: w.Name + "-"}}
				if err := reconcile.Own(w, cm); err != nil {
					return reconcile.Result{}, err
				}
				if _, err := maps.Create(ctx, cm); err != nil {
					return reconcile.Result{}, err
				}
			}
			for n := w.Spec.Size; n < len(have); n++ {
				if err := maps.Delete(ctx, have[n].Namespace, have[n].Name, client.IfUID(have[n].UID)); err != nil {
					return reconcile.Result{}, err
				}
			}
			if ready := len(have) == w.Spec.Size; ready != w.Status.Ready {
				w.Status.Ready = ready
				_, err := widgets.UpdateStatus(ctx, w)
				return reconcile.Result{}, err
			}
			return reconcile.Result{}, nil
		},
	}))
}

// lagging is a Doer whose watches are late.
type lagging struct {
	apimachinery.Doer
	late time.Duration
	deaf atomic.Bool // watches say nothing at all
}

func (l *lagging) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	resp, err := l.Doer.Do(ctx, r)
	if err == nil && r.Verb == apimachinery.VerbWatch {
		resp.Stream = &lateStream{resp.Stream, l, ctx}
	}
	return resp, err
}

type lateStream struct {
	io.ReadCloser
	l   *lagging
	ctx context.Context
}

func (s *lateStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	for wait := true; wait && err == nil; wait = s.l.deaf.Load() {
		select {
		case <-time.After(s.l.late):
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	}
	return n, err
}

// TestOwnWritesAreSeen attaches the operator to a server that tells of changes late: it never makes one too many.
func TestOwnWritesAreSeen(t *testing.T) {
	env := start(t)
	l := &lagging{Doer: env.Client.Doer(), late: 30 * time.Millisecond}
	c := client.New(l, env.Client.Registry())
	m := manager(t, reconcile.Config{Client: c})
	addOperator(t, m)
	run(t, m)
	w, err := client.Metadata(env.Client, corev1.SchemeGroupVersion.WithResource("configmaps"), true).Watch(t.Context())
	require.NoError(t, err)
	defer w.Close()
	widgets := client.For[*Widget](env.Client)
	for n := range 5 {
		_, err := widgets.Create(t.Context(), widget(fmt.Sprint("w", n), 4))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		for n := range 5 {
			_, err := widgets.Patch(t.Context(), "default", fmt.Sprint("w", n), types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"at":"%d"}}}`, time.Now().UnixNano()))
			require.NoError(t, err)
		}
		l, err := widgets.List(t.Context())
		require.NoError(t, err)
		for _, w := range l.Items {
			if !w.Status.Ready {
				return false
			}
		}
		return true
	}, 20*time.Second, 200*time.Millisecond)
	created := 0
	_, err = client.For[*corev1.ConfigMap](env.Client).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "end"}})
	require.NoError(t, err)
	for e, err := range w.All(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, client.Added, e.Type, "one was deleted: so there were too many")
		if e.Object.Name == "end" {
			break
		}
		created++
	}
	require.Equal(t, 20, created)
}

// TestSettleIsBounded lets the cache go deaf: work goes on after Settle, and is counted.
func TestSettleIsBounded(t *testing.T) {
	env := start(t)
	l := &lagging{Doer: env.Client.Doer(), late: time.Millisecond}
	registry := prometheus.NewRegistry()
	m := manager(t, reconcile.Config{Client: client.New(l, env.Client.Registry()), Settle: 50 * time.Millisecond, Metrics: registry})
	widgets := client.For[*Widget](m.Client())
	var runs atomic.Int32
	require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
		Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
			runs.Add(1)
			l.deaf.Store(true)
			_, err := widgets.Patch(ctx, w.Namespace, w.Name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, runs.Load()))
			return reconcile.Result{After: time.Millisecond}, err
		},
	}))
	run(t, m)
	_, err := widgets.Create(t.Context(), widget("one", 1))
	require.NoError(t, err)
	eventually(t, func() bool { return runs.Load() >= 3 })
	families, err := registry.Gather()
	require.NoError(t, err)
	found := false
	for _, f := range families {
		if f.GetName() == "controller_unsettled_total" {
			found = f.Metric[0].Counter.GetValue() >= 2
		}
	}
	require.True(t, found)
}

func TestFailuresComeAgainAndPanicsAreFailures(t *testing.T) {
	both(t, func(t *testing.T, env *clienttest.Env, c reconcile.Config) {
		m := manager(t, c)
		var failed, panicked, ended, gone atomic.Int32
		require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
			Queue: queue.Config{Last: 10 * time.Millisecond},
			Reconcile: func(_ context.Context, w *Widget) (reconcile.Result, error) {
				switch w.Name {
				case "fails":
					if failed.Add(1) < 4 {
						return reconcile.Result{}, errors.New("not yet")
					}
				case "panics":
					if panicked.Add(1) < 4 {
						panic("oh")
					}
				case "terminal":
					ended.Add(1)
					return reconcile.Result{}, reconcile.Terminal(errors.New("never"))
				}
				return reconcile.Result{}, nil
			},
			Gone: func(_ context.Context, key string) error {
				require.Equal(t, "default/fails", key)
				gone.Add(1)
				return nil
			},
		}))
		run(t, m)
		widgets := client.For[*Widget](env.Client)
		for _, name := range []string{"fails", "panics", "terminal"} {
			_, err := widgets.Create(t.Context(), widget(name, 1))
			require.NoError(t, err)
		}
		eventually(t, func() bool { return failed.Load() >= 4 && panicked.Load() >= 4 })
		require.EqualValues(t, 1, ended.Load())
		require.NoError(t, widgets.Delete(t.Context(), "default", "fails"))
		eventually(t, func() bool { return gone.Load() > 0 })
	})
}

func TestFinalize(t *testing.T) {
	both(t, func(t *testing.T, env *clienttest.Env, c reconcile.Config) {
		m := manager(t, c)
		widgets := client.For[*Widget](env.Client)
		var cleaned atomic.Int32
		require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
			Queue: queue.Config{Last: 10 * time.Millisecond},
			Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
				_, err := reconcile.Finalize(ctx, widgets, w, "example.org/clean", func(context.Context) error {
					if cleaned.Add(1) == 1 {
						return errors.New("again")
					}
					return nil
				})
				return reconcile.Result{}, err
			},
		}))
		run(t, m)
		_, err := widgets.Create(t.Context(), widget("one", 1))
		require.NoError(t, err)
		eventually(t, func() bool {
			w, err := widgets.Get(t.Context(), "default", "one")
			require.NoError(t, err)
			return len(w.Finalizers) == 1
		})
		require.NoError(t, widgets.Delete(t.Context(), "default", "one"))
		eventually(t, func() bool {
			_, err := widgets.Get(t.Context(), "default", "one")
			return apierrors.IsNotFound(err)
		})
		require.GreaterOrEqual(t, cleaned.Load(), int32(2))
	})
}

// TestOneLeads runs two managers: one works; when it stops, the other does, and what the first wanted to write
// with its fence is refused.
func TestOneLeads(t *testing.T) {
	env := start(t)
	type call struct {
		who   string
		fence string
	}
	calls := make(chan call, 1000)
	member := func(name string) *reconcile.Manager {
		m := manager(t, reconcile.Config{Client: env.Client, Tables: env.Server, Lead: &leader.Config{
			Name: "test", Identity: name, Duration: 3 * time.Second, Deadline: 2 * time.Second, Retry: 50 * time.Millisecond,
		}})
		require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
			Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
				calls <- call{name, client.FenceOf(ctx)}
				return reconcile.Result{}, nil
			},
		}))
		return m
	}
	widgets := client.For[*Widget](env.Client)
	_, err := widgets.Create(t.Context(), widget("one", 1))
	require.NoError(t, err)
	stopFirst := run(t, member("first"))
	first := <-calls
	require.Equal(t, "first", first.who)
	require.Regexp(t, `^kube-system/test=\d+$`, first.fence)
	run(t, member("second"))
	stopFirst()
	second := <-calls
	require.Equal(t, "second", second.who)
	require.NotEqual(t, first.fence, second.fence)

	_, err = widgets.Create(t.Context(), widget("two", 1), client.Fence(second.fence))
	require.NoError(t, err)
	ctx := client.WithScope(t.Context(), client.Scope{Fence: first.fence})
	_, err = widgets.Create(ctx, widget("three", 1))
	require.True(t, apierrors.IsConflict(err), "%v", err)
}

func TestManagerEndsWithTheFirstError(t *testing.T) {
	env := start(t)
	m := manager(t, reconcile.Config{Client: env.Client})
	boom := errors.New("boom")
	m.Go("fails", false, func(context.Context) error { return boom })
	err := m.Run(t.Context())
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "fails: boom")
	require.Error(t, m.Run(t.Context()))
}

func TestConfigIsJudged(t *testing.T) {
	env := start(t)
	_, err := reconcile.New(reconcile.Config{})
	require.ErrorContains(t, err, "Client must be set")
	_, err = reconcile.New(reconcile.Config{Client: env.Client, Tables: env.Server, Namespace: "x"})
	require.Error(t, err)
	_, err = reconcile.New(reconcile.Config{Client: env.Client, Name: strings.Repeat("x", 129)})
	require.ErrorContains(t, err, "configure the manager: Name: Too long")
	m := manager(t, reconcile.Config{Client: env.Client})
	require.ErrorContains(t, reconcile.Add(m, reconcile.Controller[*Widget]{}), "Reconcile must be set")
	err = reconcile.Add(m, reconcile.Controller[*corev1.Node]{
		Reconcile: func(context.Context, *corev1.Node) (reconcile.Result, error) { return reconcile.Result{}, nil },
	})
	require.ErrorContains(t, err, "*v1.Node is not a kind of this client")
	nothing := func(context.Context, *Widget) (reconcile.Result, error) { return reconcile.Result{}, nil }
	err = reconcile.Add(m, reconcile.Controller[*Widget]{Reconcile: nothing, Watches: []reconcile.Watch{reconcile.Owns[*corev1.Node]()}})
	require.ErrorContains(t, err, "*v1.Node is not a kind of this client")
	require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{Reconcile: nothing}))
	require.ErrorContains(t, reconcile.Add(m, reconcile.Controller[*Widget]{Reconcile: nothing}), "the name is taken")
}

func TestOwn(t *testing.T) {
	owner := widget("owner", 1)
	child := widget("child", 1)
	require.ErrorContains(t, reconcile.Own(owner, child), "no kind or uid")
	owner.APIVersion, owner.Kind, owner.UID = "test.example.org/v1", "Widget", "u1"
	require.NoError(t, reconcile.Own(owner, child))
	require.NoError(t, reconcile.Own(owner, child))
	require.Len(t, child.OwnerReferences, 1)
	other := owner.DeepCopy()
	other.UID = "u2"
	require.ErrorContains(t, reconcile.Own(other, child), "controls it already")
	child.Namespace = "elsewhere"
	require.ErrorContains(t, reconcile.Own(owner, child), "another namespace")
}

func TestTriggered(t *testing.T) {
	env := start(t)
	m := manager(t, reconcile.Config{Client: env.Client})
	got := make(chan string, 10)
	require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
		Reconcile: func(context.Context, *Widget) (reconcile.Result, error) { return reconcile.Result{}, nil },
		Gone: func(_ context.Context, key string) error {
			got <- key
			return nil
		},
		Watches: []reconcile.Watch{reconcile.Triggered(func(ctx context.Context, add func(string)) {
			add("x/y")
			<-ctx.Done()
		})},
	}))
	run(t, m)
	require.Equal(t, "x/y", <-got)
}

// TestDynamicInformer asks a running manager for an informer.
func TestDynamicInformer(t *testing.T) {
	both(t, func(t *testing.T, env *clienttest.Env, c reconcile.Config) {
		m := manager(t, c)
		run(t, m)
		i, err := reconcile.Informer[*Widget](m)
		require.NoError(t, err)
		w, err := client.For[*Widget](env.Client).Create(t.Context(), widget("one", 1))
		require.NoError(t, err)
		require.NoError(t, i.WaitFor(t.Context(), informer.RevOf(w.ResourceVersion)))
		again, err := reconcile.Informer[*Widget](m)
		require.NoError(t, err)
		require.Same(t, i, again)
	})
}

// TestOneNamespace works on one namespace alone, and does not wait to see what it wrote elsewhere.
func TestOneNamespace(t *testing.T) {
	env := start(t)
	m := manager(t, reconcile.Config{Client: env.Client, Namespace: "default", Settle: time.Hour})
	widgets := client.For[*Widget](m.Client())
	var runs atomic.Int32
	require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
		Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
			require.Equal(t, "default", w.Namespace)
			far := widget("far", 1)
			far.Namespace = "elsewhere"
			_, err := widgets.Apply(ctx, far, "test", client.Force())
			runs.Add(1)
			return reconcile.Result{After: time.Millisecond}, err
		},
	}))
	run(t, m)
	_, err := widgets.Create(t.Context(), widget("one", 1))
	require.NoError(t, err)
	eventually(t, func() bool { return runs.Load() > 3 })
}

// TestName: what a manager writes tells its name in managedFields.
func TestName(t *testing.T) {
	env := start(t)
	m := manager(t, reconcile.Config{Client: env.Client, Name: "painter"})
	made, err := client.For[*Widget](m.Client()).Create(t.Context(), widget("one", 1))
	require.NoError(t, err)
	require.Equal(t, "painter", made.ManagedFields[0].Manager)
	require.Empty(t, env.Client.FieldManager(), "the caller's client is left as it was")
}

// TestAs writes with other clients, and shares informers.
func TestAs(t *testing.T) {
	env := start(t)
	m := manager(t, reconcile.Config{Client: env.Client, Tables: env.Server})
	jane := client.New(env.Server.As(apimachinery.User{Name: "jane"}), env.Client.Registry())
	other := m.As(jane, "painter")
	require.Equal(t, jane.Doer(), other.Client().Doer())
	require.Equal(t, "painter", other.Client().FieldManager())
	require.Equal(t, "brush", m.As(jane.WithFieldManager("brush"), "painter").Client().FieldManager())
	require.Empty(t, m.Client().FieldManager(), "the manager has no name")
	a, err := reconcile.Informer[*Widget](m)
	require.NoError(t, err)
	b, err := reconcile.Informer[*Widget](other)
	require.NoError(t, err)
	require.Same(t, a, b)
	recorder, err := other.Events()
	require.NoError(t, err)
	again, err := other.Events()
	require.NoError(t, err)
	require.Same(t, recorder, again)
	stop := run(t, m)
	w, err := client.For[*Widget](env.Client).Create(t.Context(), widget("one", 1))
	require.NoError(t, err)
	recorder.Normal(w, "Painted", "blue")
	stop()
	l, err := client.For[*corev1.Event](env.Client).List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "painter", l.Items[0].Source.Component)
	require.Equal(t, "painter", l.Items[0].ManagedFields[0].Manager)
}

// TestWants: what isn't wanted is not worked on, whatever brings it; what is gone is told all the same.
func TestWants(t *testing.T) {
	both(t, func(t *testing.T, env *clienttest.Env, c reconcile.Config) {
		ctx := t.Context()
		widgets, maps := client.For[*Widget](env.Client), client.For[*corev1.ConfigMap](env.Client)
		change := func(name string, size int) {
			_, err := widgets.Modify(ctx, "default", name, func(w *Widget) error {
				w.Spec.Size = size
				return nil
			})
			require.NoError(t, err)
		}
		_, err := widgets.Create(ctx, widget("before", 0))
		require.NoError(t, err)
		m := manager(t, c)
		cache, err := reconcile.Informer[*Widget](m)
		require.NoError(t, err)
		worked, gone, again := make(chan string, 100), make(chan string, 100), make(chan string, 100)
		var asked atomic.Int32
		require.NoError(t, reconcile.Add(m, reconcile.Controller[*Widget]{
			Wants: func(w *Widget) bool {
				asked.Add(1)
				shared, ok := cache.View("default/" + w.Name)
				if ok && shared.ResourceVersion == w.ResourceVersion && shared != w {
					t.Error("Wants was given a copy")
				}
				return w.Spec.Size > 0
			},
			Reconcile: func(_ context.Context, w *Widget) (reconcile.Result, error) {
				worked <- fmt.Sprint(w.Name, w.Spec.Size)
				if w.Spec.Size == 7 {
					return reconcile.Result{After: time.Millisecond}, nil
				}
				return reconcile.Result{}, nil
			},
			Gone: func(_ context.Context, key string) error { gone <- key; return nil },
			Watches: []reconcile.Watch{
				reconcile.Watches(func(cm *corev1.ConfigMap) []string { return []string{"default/" + cm.Name} }),
				reconcile.Triggered(func(ctx context.Context, add func(string)) {
					for {
						select {
						case key := <-again:
							add(key)
						case <-ctx.Done():
							return
						}
					}
				}),
			},
		}))
		run(t, m)
		_, err = widgets.Create(ctx, widget("idle", 0))
		require.NoError(t, err)
		_, err = widgets.Create(ctx, widget("busy", 1))
		require.NoError(t, err)
		require.Equal(t, "busy1", <-worked, "neither what was there before, nor what is new")

		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "idle"}}
		_, err = maps.Create(ctx, cm)
		require.NoError(t, err)
		before := asked.Load()
		again <- "default/before"
		eventually(t, func() bool { return asked.Load() > before })
		change("idle", 0)
		change("busy", 0) // ceases to be wanted
		change("busy", 7)
		require.Equal(t, "busy7", <-worked)
		require.Equal(t, "busy7", <-worked, "it comes back by itself while it is wanted")
		change("busy", 0)
		eventually(t, func() bool { // and then no more
			o, ok := cache.View("default/busy")
			return ok && o.Spec.Size == 0
		})
		for len(worked) > 0 {
			require.Equal(t, "busy7", <-worked)
		}
		change("idle", 2)
		for got := range worked { // one that was under way may come first
			if got != "busy7" {
				require.Equal(t, "idle2", got)
				break
			}
		}
		require.NoError(t, widgets.Delete(ctx, "default", "before"))
		require.Equal(t, "default/before", <-gone, "wanted or not")
	})
}
