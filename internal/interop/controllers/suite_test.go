package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

const finalizer, colours = "interop.example.com/cleanup", "spec.colour"

// operator makes a ConfigMap for each part of a widget, by server-side apply, and takes them away.
type operator struct{ client.Client }

func (o *operator) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	w := &Widget{}
	if err := o.Get(ctx, r.NamespacedName, w); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !w.DeletionTimestamp.IsZero() {
		if err := o.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(w.Namespace), client.MatchingLabels{"widget": w.Name}); err != nil {
			return ctrl.Result{}, err
		}
		controllerutil.RemoveFinalizer(w, finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(o.Update(ctx, w))
	}
	if controllerutil.AddFinalizer(w, finalizer) {
		return ctrl.Result{}, o.Update(ctx, w)
	}
	for i := range *w.Spec.Parts {
		part := corev1apply.ConfigMap(fmt.Sprintf("%s-%d", w.Name, i), w.Namespace).WithLabels(map[string]string{"widget": w.Name}).WithData(map[string]string{"colour": w.Spec.Colour})
		if err := o.Apply(ctx, part, client.FieldOwner("operator"), client.ForceOwnership); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := w.DeepCopyObject().(*Widget)
	w.Status.Made = *w.Spec.Parts
	meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Made", ObservedGeneration: w.Generation})
	return ctrl.Result{}, o.Status().Patch(ctx, w, client.MergeFrom(before))
}

// suite is what an operator's authors set up once for their tests.
type suite struct {
	*testing.T
	env     *envtest.Environment
	manager ctrl.Manager
	client  client.Client // without a cache
	config  *rest.Config
}

// newSuite starts an environment on a control plane of ours, and a manager with the operator. more is called before that
// runs.
func newSuite(t *testing.T, hooks envtest.WebhookInstallOptions, more func(ctrl.Manager)) *suite {
	t.Helper()
	_, c := plane.Start(t, bedplate.Config{})
	scheme := runtime.NewScheme()
	require.NoError(t, clientscheme.AddToScheme(scheme))
	addTo(scheme)
	ctrl.SetLogger(logr.Discard())
	existing := true
	env := &envtest.Environment{
		UseExistingCluster: &existing, Config: c, Scheme: scheme,
		CRDInstallOptions:     envtest.CRDInstallOptions{Paths: []string{"testdata"}, Scheme: scheme, ErrorIfPathMissing: true, CleanUpAfterUse: true},
		WebhookInstallOptions: hooks,
	}
	started, err := env.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Stop()) })
	s := &suite{T: t, env: env, config: started}
	s.client, err = client.New(started, client.Options{Scheme: scheme})
	require.NoError(t, err)
	yes := true
	o := &env.WebhookInstallOptions
	s.manager, err = ctrl.NewManager(started, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "operator", LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		Controller:    config.Controller{SkipNameValidation: &yes},
		WebhookServer: webhook.NewServer(webhook.Options{Host: o.LocalServingHost, Port: o.LocalServingPort, CertDir: o.LocalServingCertDir}),
	})
	require.NoError(t, err)
	require.NoError(t, s.manager.GetFieldIndexer().IndexField(t.Context(), &Widget{}, colours, func(o client.Object) []string { return []string{o.(*Widget).Spec.Colour} }))
	require.NoError(t, ctrl.NewControllerManagedBy(s.manager).For(&Widget{}).Owns(&corev1.ConfigMap{}).Complete(&operator{s.manager.GetClient()}))
	more(s.manager)
	s.run()
	return s
}

func (s *suite) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.manager.Start(ctx) }()
	s.Cleanup(func() {
		cancel()
		require.NoError(s, <-ended)
	})
	select {
	case <-s.manager.Elected():
	case err := <-ended:
		require.NoError(s, err)
	case <-time.After(time.Minute):
		require.Fail(s, "the manager was not elected")
	}
	require.True(s, s.manager.GetCache().WaitForCacheSync(s.Context()))
	s.until(func() bool { return s.manager.GetWebhookServer().StartedChecker()(nil) == nil })
}

func (s *suite) until(done func() bool) {
	s.Helper()
	require.Eventually(s, done, 30*time.Second, 5*time.Millisecond)
}

func converting(t *testing.T) func(ctrl.Manager) {
	return func(m ctrl.Manager) { require.NoError(t, ctrl.NewWebhookManagedBy(m, &Widget{}).Complete()) }
}

// TestOperator is the suite of an operator's authors: a widget becomes ConfigMaps, says so in its status, is scaled,
// found by an index, seen in another version, and goes with what belongs to it.
func TestOperator(t *testing.T) {
	s := newSuite(t, envtest.WebhookInstallOptions{}, converting(t))
	ctx := t.Context()
	two := int32(2)
	w := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: WidgetSpec{Parts: &two, Colour: "red"}}
	require.NoError(t, s.client.Create(ctx, w))
	s.made(w, 2)
	require.True(t, controllerutil.ContainsFinalizer(w, finalizer))
	require.True(t, meta.IsStatusConditionTrue(w.Status.Conditions, "Ready"))

	plain := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "plain"}}
	require.NoError(t, s.client.Create(ctx, plain))
	require.EqualValues(t, 1, *plain.Spec.Parts, "a default of the schema")
	s.made(plain, 1)

	s.versions(w)
	s.scaled(w)
	s.indexed()

	require.NoError(t, s.client.Delete(ctx, w))
	s.until(func() bool {
		return client.IgnoreNotFound(s.client.Get(ctx, client.ObjectKeyFromObject(w), w)) == nil && len(s.parts("a")) == 0
	})
}

func (s *suite) made(w *Widget, n int32) {
	s.Helper()
	s.until(func() bool {
		require.NoError(s, s.client.Get(s.Context(), client.ObjectKeyFromObject(w), w))
		return w.Status.Made == n
	})
	require.Len(s, s.parts(w.Name), int(n))
}

func (s *suite) parts(name string) []corev1.ConfigMap {
	var l corev1.ConfigMapList
	require.NoError(s, s.client.List(s.Context(), &l, client.InNamespace("default"), client.MatchingLabels{"widget": name}))
	return l.Items
}

// versions reads and writes a widget in the version that is not stored.
func (s *suite) versions(w *Widget) {
	ctx := s.Context()
	var other Widget2
	require.NoError(s, s.client.Get(ctx, client.ObjectKeyFromObject(w), &other))
	require.Equal(s, "2 parts", other.Spec.Amount)
	other.Spec.Amount = "3 parts"
	require.NoError(s, s.client.Update(ctx, &other))
	s.made(w, 3)
	require.NoError(s, s.client.Get(ctx, client.ObjectKeyFromObject(w), &other))
	other.Spec.Amount = "some"
	require.ErrorContains(s, s.client.Update(ctx, &other), `amount "some"`)
}

// scaled goes through the subresources scale and status.
func (s *suite) scaled(w *Widget) {
	ctx := s.Context()
	scale := &autoscalingv1.Scale{}
	require.NoError(s, s.client.SubResource("scale").Get(ctx, w, scale))
	require.EqualValues(s, 3, scale.Spec.Replicas)
	require.EqualValues(s, 3, scale.Status.Replicas)
	scale.Spec.Replicas = 4
	require.NoError(s, s.client.SubResource("scale").Update(ctx, w, client.WithSubResourceBody(scale)))
	s.made(w, 4)
	generation := w.Generation
	s.until(func() bool {
		require.NoError(s, s.client.Get(ctx, client.ObjectKeyFromObject(w), w))
		w.Spec.Colour, w.Status.Conditions[0].Message = "not through this door", "seen"
		return s.client.Status().Update(ctx, w) == nil
	})
	require.NoError(s, s.client.Get(ctx, client.ObjectKeyFromObject(w), w))
	require.Equal(s, "red", w.Spec.Colour)
	require.Equal(s, "seen", w.Status.Conditions[0].Message)
	require.Equal(s, generation, w.Generation)
}

// indexed asks the manager's cache by a field.
func (s *suite) indexed() {
	s.until(func() bool {
		var l WidgetList
		require.NoError(s, s.manager.GetClient().List(s.Context(), &l, client.MatchingFields{colours: "red"}))
		return len(l.Items) == 1 && l.Items[0].Name == "a"
	})
}
