package endpoints_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/endpoints"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice"
	"github.com/bedplate/bedplate/reconcile/controllers/endpointslice/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs the controller, and that of slices on the same index.
func run(t *testing.T, env *clienttest.Env, view bool) (stop func()) {
	config := reconcile.Config{Client: env.Client, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if view {
		config.Tables = env.Server
	}
	m, err := reconcile.New(config)
	require.NoError(t, err)
	shared, err := backend.Open(m)
	require.NoError(t, err)
	require.NoError(t, endpointslice.Add(m, endpointslice.Config{Backends: shared}))
	require.NoError(t, endpoints.Add(m, endpoints.Config{Backends: shared}))
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

func TestEndpoints(t *testing.T) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) { testEndpoints(t, view) })
	}
}

func testEndpoints(t *testing.T, view bool) {
	env := clienttest.Start(t, clienttest.Config{Resources: append(core.Resources(), discovery.Resources()...)})
	ctx := t.Context()
	services, pods := client.For[*corev1.Service](env.Client), client.For[*corev1.Pod](env.Client)
	eps, slices := client.For[*corev1.Endpoints](env.Client), client.For[*discoveryv1.EndpointSlice](env.Client)
	_, err := client.For[*corev1.Namespace](env.Client).Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	require.NoError(t, err)
	_, err = client.For[*corev1.Node](env.Client).Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n0"}})
	require.NoError(t, err)
	stop := run(t, env, view)

	service := func(name string, selector map[string]string) {
		_, err := services.Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.ServiceSpec{
				Selector: selector, ClusterIP: "None", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
				Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			},
		})
		require.NoError(t, err)
	}
	own := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "own"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.9.9.9"}}, Ports: []corev1.EndpointPort{{Port: 1, Protocol: "TCP"}}}},
	}
	_, err = eps.Create(ctx, own)
	require.NoError(t, err)
	service("own", nil)
	service("web", map[string]string{"app": "web"})
	_, err = pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n0", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	})
	require.NoError(t, err)
	ready := func(state corev1.ConditionStatus) {
		patch, err := apimachinery.Encode(corev1.Pod{Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: state, LastTransitionTime: metav1.Now()}},
		}})
		require.NoError(t, err)
		_, err = pods.PatchStatus(ctx, "default", "p", types.MergePatchType, patch)
		require.NoError(t, err)
	}
	become := func(ready, not int) {
		t.Helper()
		require.Eventually(t, func() bool {
			e, err := eps.Get(ctx, "default", "web")
			gotReady, gotNot := 0, 0
			if err == nil {
				for _, s := range e.Subsets {
					gotReady, gotNot = gotReady+len(s.Addresses), gotNot+len(s.NotReadyAddresses)
				}
			}
			return err == nil && gotReady == ready && gotNot == not
		}, 30*time.Second, 2*time.Millisecond)
	}
	become(0, 0)
	ready(corev1.ConditionFalse)
	become(0, 1)
	ready(corev1.ConditionTrue)
	become(1, 0)
	require.Eventually(t, func() bool {
		l, err := slices.List(ctx, client.Labels("kubernetes.io/service-name=web"))
		return err == nil && len(l.Items) == 1 && len(l.Items[0].Endpoints) == 1
	}, 30*time.Second, 2*time.Millisecond)
	_, err = eps.Patch(ctx, "default", "web", types.MergePatchType, []byte(`{"subsets":null}`))
	require.NoError(t, err)
	become(1, 0)
	require.NoError(t, eps.Delete(ctx, "default", "web"))
	become(1, 0)

	stop()
	require.NoError(t, services.Delete(ctx, "default", "web"))
	require.NoError(t, services.Delete(ctx, "default", "own"))
	run(t, env, view)
	require.Eventually(t, func() bool {
		_, err := eps.Get(ctx, "default", "web")
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 2*time.Millisecond)
	got, err := eps.Get(ctx, "default", "own")
	require.NoError(t, err)
	require.Equal(t, own.Subsets, got.Subsets, "another's are left alone")
}
