package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// withInformers fills in informers that never run, for a proxy that doesn't either.
func withInformers(t testing.TB, c Config) Config {
	r, err := apimachinery.NewRegistry(append(core.Resources(), discovery.Resources()...)...)
	require.NoError(t, err)
	c.Client = client.New(nil, r)
	return c
}

// api starts an API server in memory and returns a client of it over HTTP, as of any Kubernetes.
func api(t testing.TB) *client.Client {
	t.Helper()
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(append(core.Resources(), discovery.Resources()...)...)
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: r, DB: db})
	require.NoError(t, err)
	start(t, db.Run)
	start(t, s.Run)
	<-s.Ready()
	conn, err := client.HTTPS(client.Config{Server: "http://" + s.Addr().String()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return client.New(conn, r)
}

// start runs something until stop or the end of the test.
func start(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestDriver(t *testing.T) {
	c := api(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, _, ips := trio(t)
	pod, _ := l.pod()
	_, err := client.For[*corev1.Namespace](c).Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	require.NoError(t, err)
	services, slices := client.For[*corev1.Service](c), client.For[*discoveryv1.EndpointSlice](c)

	config := l.config()
	config.Client = c
	config.Programmed = nil
	programmed := make(chan Programming, 100)
	config.Programmed = func(p Programming) { programmed <- p }
	p, err := New(config)
	require.NoError(t, err)
	stop := start(t, p.Run)
	require.NoError(t, p.Wait(ctx), "the table is there before any service is")
	require.Error(t, p.Run(ctx), "a second time")

	s := service(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeClusterIP
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 0, 0
	})
	_, err = services.Create(ctx, s)
	require.NoError(t, err)
	slice, err := slices.Create(ctx, sliceOf(s, at("here", ips[0])...)[0])
	require.NoError(t, err)
	until(t, ctx, programmed, func() bool { who, _, err := pod.try("tcp", vip+":80", long); return err == nil && who == "pod0" })

	slice.Endpoints = at("here", ips[1])
	slice, err = slices.Update(ctx, slice)
	require.NoError(t, err)
	until(t, ctx, programmed, func() bool { who, _, err := pod.try("tcp", vip+":80", long); return err == nil && who == "pod1" })

	stop()
	who, _ := pod.ask("tcp", vip+":80")
	require.Equal(t, "pod1", who, "rules stay when the proxy stops")
	slice.Endpoints = at("here", ips[2])
	_, err = slices.Update(ctx, slice)
	require.NoError(t, err)

	config.RemoveOnStop, config.Programmed = true, nil
	config.Services, err = informer.New(services, informer.Config[*corev1.Service]{})
	require.NoError(t, err)
	config.Slices, err = informer.New(slices, informer.Config[*discoveryv1.EndpointSlice]{})
	require.NoError(t, err)
	start(t, config.Services.Run)
	start(t, config.Slices.Run)
	p, err = New(config)
	require.NoError(t, err)
	stop = start(t, p.Run)
	<-p.Synced()
	who, _ = pod.ask("tcp", vip+":80")
	require.Equal(t, "pod2", who, "what changed meanwhile is made up for at once")
	stop()
	require.Empty(t, l.tables())
}

// until waits for a transaction after which something is so.
func until(t testing.TB, ctx context.Context, programmed <-chan Programming, so func() bool) {
	t.Helper()
	for {
		select {
		case p := <-programmed:
			require.Positive(t, p.Services)
			require.GreaterOrEqual(t, p.Waited, p.Took/2)
			if so() {
				return
			}
		case <-ctx.Done():
			t.Fatal("it never comes to be")
		}
	}
}
