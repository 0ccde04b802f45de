package bedplate_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/reconcile/controllers/rootca"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

func start(t *testing.T, c bedplate.Config) *bedplate.ControlPlane {
	t.Helper()
	p, err := bedplate.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"k": value}}
}

// TestTwoControlPlanes: two of anything run in one process, and know nothing of each other.
func TestTwoControlPlanes(t *testing.T) {
	a, b := start(t, bedplate.Config{Dir: t.TempDir()}), start(t, bedplate.Config{})
	_, err := client.For[*corev1.ConfigMap](a.Client()).Create(t.Context(), configMap("m", "a"))
	require.NoError(t, err)
	_, err = client.For[*corev1.ConfigMap](b.Client()).Get(t.Context(), "default", "m")
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	config, err := a.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	conn, err := kubeconfig.Parse(config)
	require.NoError(t, err)
	defer conn.Close()
	got, err := client.For[*corev1.ConfigMap](client.New(conn, a.Registry())).Get(t.Context(), "default", "m")
	require.NoError(t, err)
	require.Equal(t, "a", got.Data["k"])
}

// TestMetrics: the store tells of itself, under Kubernetes' and etcd's names.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := start(t, bedplate.Config{Dir: t.TempDir(), Registerer: registry, Gatherer: registry})
	_, err := client.For[*corev1.ConfigMap](p.Client()).Create(t.Context(), configMap("m", "a"))
	require.NoError(t, err)
	_, err = client.For[*corev1.ConfigMap](p.Client()).List(t.Context())
	require.NoError(t, err)
	families, err := prometheus.Gatherers{registry, care.EtcdMetrics()}.Gather()
	require.NoError(t, err)
	values := map[string]float64{} // the largest of each name
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] = max(values[f.GetName()], m.GetGauge().GetValue()+m.GetCounter().GetValue())
		}
	}
	for _, name := range []string{
		"apiserver_storage_objects", "apiserver_resource_objects", "apiserver_watch_cache_resource_version", "etcd_requests_total",
		"apiserver_storage_events_received_total", "etcd_server_has_leader",
	} {
		require.Positive(t, values[name], name)
	}
	require.Contains(t, values, "apiserver_storage_size_bytes")
}

// shared is one etcd for several control planes.
func shared(t *testing.T) storage.Backend {
	t.Helper()
	etcd, err := embedded.New(embedded.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- etcd.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	<-etcd.Ready()
	return etcd.Backend()
}

// TestTwoServersOverOneStore: API servers have no state of their own. What one has written the other reads at once;
// a watch on one tells of writes through the other; writers through both lose no update; and their controllers,
// which only one of them runs at a time, make a Deployment into pods.
func TestTwoServersOverOneStore(t *testing.T) {
	backend := shared(t)
	a, b := start(t, bedplate.Config{Backend: backend}), start(t, bedplate.Config{Backend: backend})
	mapsA, mapsB := client.For[*corev1.ConfigMap](a.Client()), client.For[*corev1.ConfigMap](b.Client())
	made, err := mapsA.Create(t.Context(), configMap("m", "0"))
	require.NoError(t, err)
	got, err := mapsB.Get(t.Context(), "default", "m")
	require.NoError(t, err)
	require.Equal(t, made, got)

	w, err := mapsB.Watch(t.Context(), client.InNamespace("default"), client.Since(made.ResourceVersion))
	require.NoError(t, err)
	defer w.Close()
	const writers, each = 4, 25
	errs := make(chan error, 2*writers)
	for _, maps := range []client.Resource[*corev1.ConfigMap]{mapsA, mapsB} {
		for range writers {
			go func() {
				var err error
				for range each {
					for {
						_, err = maps.Modify(t.Context(), "default", "m", func(m *corev1.ConfigMap) error {
							m.Data["k"] += "x"
							return nil
						})
						if !apierrors.IsConflict(err) {
							break
						}
					}
				}
				errs <- err
			}()
		}
	}
	for range 2 * writers {
		require.NoError(t, <-errs)
	}
	last, err := mapsA.Get(t.Context(), "default", "m")
	require.NoError(t, err)
	require.Len(t, last.Data["k"], 1+2*writers*each, "no update is lost")
	for seen := 0; seen < 2*writers*each; seen++ {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, e.Object.Data["k"], seen+2, "in order, none twice, none missing")
	}
	deploy(t, a.Client(), b.Client())
}

// deploy makes a Deployment through one client and waits through another for its pods.
func deploy(t *testing.T, by, seen *client.Client) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	_, err := client.For[*appsv1.Deployment](by).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:v1"}}},
			},
		},
	})
	require.NoError(t, err)
	w, err := client.For[*appsv1.Deployment](seen).Watch(t.Context(), client.InNamespace("default"))
	require.NoError(t, err)
	defer w.Close()
	for {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		if e.Object.Status.UpdatedReplicas == 2 {
			return
		}
	}
}

// TestRestart: what a control plane has stored in its folder is there after a restart, with the same authority.
func TestRestart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	p, err := bedplate.Start(t.Context(), bedplate.Config{Dir: dir})
	require.NoError(t, err)
	made, err := client.For[*corev1.ConfigMap](p.Client()).Create(t.Context(), configMap("m", "kept"))
	require.NoError(t, err)
	ca := p.CA()
	require.NoError(t, p.Stop())
	<-p.Done()
	p, err = bedplate.Start(t.Context(), bedplate.Config{Dir: dir})
	require.NoError(t, err)
	got, err := client.For[*corev1.ConfigMap](p.Client()).Get(t.Context(), "default", "m")
	require.NoError(t, err)
	require.Equal(t, made, got)
	require.Equal(t, ca, p.CA())
	require.NoError(t, p.Stop())
}

// TestLeastPrivilege: parts of the control plane are who they are, and no more.
func TestLeastPrivilege(t *testing.T) {
	p := start(t, bedplate.Config{})
	as := func(user string) client.Resource[*corev1.Secret] {
		u := apimachinery.User{Name: user, Groups: []string{"system:authenticated"}}
		return client.For[*corev1.Secret](client.New(p.As(u), p.Registry()))
	}
	for _, user := range []string{"nobody", "system:kube-scheduler", "system:serviceaccount:kube-system:deployment-controller", "system:node:n1"} {
		_, err := as(user).List(t.Context())
		require.True(t, apierrors.IsForbidden(err), "%s: %v", user, err)
	}
}

// TestRefused: what can't be started says why, and leaves nothing running or stored.
func TestRefused(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		config bedplate.Config
		want   string
	}{
		"port in use":  {bedplate.Config{Listen: l.Addr().String()}, "address already in use"},
		"no address":   {bedplate.Config{Listen: "6443"}, "host:port"},
		"no folder":    {bedplate.Config{Dir: file}, "data folder"},
		"kind twice":   {bedplate.Config{Resources: []apimachinery.Resource{{}}}, "no name"},
		"unfit plugin": {bedplate.Config{Admission: []apimachinery.Plugin{{}}}, "needs a name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bedplate.Start(t.Context(), c.config)
			require.ErrorContains(t, err, c.want)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = bedplate.Start(ctx, bedplate.Config{Dir: t.TempDir()})
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}

// TestRootCertificate: every namespace has the certificate by which pods know the API server, also after somebody took
// it away or changed it.
func TestRootCertificate(t *testing.T) {
	p := start(t, bedplate.Config{})
	maps := client.For[*corev1.ConfigMap](p.Client())
	w, err := maps.Watch(t.Context(), client.InNamespace("default"), client.Fields("metadata.name="+rootca.Name), client.InitialEvents())
	require.NoError(t, err)
	defer w.Close()
	await := func() {
		for {
			e, err := w.Next(t.Context())
			require.NoError(t, err)
			if e.Type != client.Deleted && e.Type != client.Bookmark && e.Object.Data[rootca.Key] == string(p.CA()) {
				return
			}
		}
	}
	await()
	require.NoError(t, maps.Delete(t.Context(), "default", rootca.Name))
	await()
	_, err = maps.Patch(t.Context(), "default", rootca.Name, types.MergePatchType, []byte(`{"data":{"ca.crt":"another"}}`))
	require.NoError(t, err)
	await()
}
