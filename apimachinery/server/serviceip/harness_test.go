package serviceip_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
)

// api is a server over a store, as its clients see it.
type api struct {
	backend   storage.Backend
	services  client.Resource[*corev1.Service]
	addresses client.Resource[*networkingv1.IPAddress]
	ranges    client.Resource[*networkingv1.ServiceCIDR]
}

func newBackend(t testing.TB) storage.Backend {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	return b
}

// newEtcd is an etcd of its own in a folder of the test.
func newEtcd(t testing.TB) storage.Backend {
	t.Helper()
	e, err := embedded.New(embedded.Config{Dir: t.TempDir(), TickMs: 10, ElectionMs: 100})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	select {
	case <-e.Ready():
	case err := <-ended:
		ended <- err
		require.NoError(t, err)
	}
	return e.Backend()
}

// open makes a server over a store, without a port: its clients are in this process.
func open(t testing.TB, b storage.Backend, c serviceip.Config) *api {
	t.Helper()
	alloc, err := serviceip.New(c)
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	registry, err := apimachinery.NewRegistry(core.Services(), networking.IPAddresses(), networking.ServiceCIDRs())
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: registry, DB: db, Allocator: alloc})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = db.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	<-db.Ready()
	conn := client.New(s.As(apimachinery.User{Name: "tester"}), registry)
	return &api{
		backend: b, services: client.For[*corev1.Service](conn), addresses: client.For[*networkingv1.IPAddress](conn),
		ranges: client.For[*networkingv1.ServiceCIDR](conn),
	}
}

func service(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.Selector = map[string]string{"app": name}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	for _, c := range change {
		c(s)
	}
	return s
}

func typed(t corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = t }
}

func at(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIP = ip }
}

func prefix(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }

// chaos is a store whose transactions may fail, before or after they are applied, as they do when a server loses its
// store, or dies before it hears the answer.
type chaos struct {
	storage.Backend
	next func() fault
	hits atomic.Int64
}

type fault int

const (
	none fault = iota
	before
	after
)

var errChaos = errors.New("the connection to the store broke")

func (c *chaos) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	switch c.next() {
	case before:
		c.hits.Add(1)
		return 0, errChaos
	case after:
		c.hits.Add(1)
		if _, err := c.Backend.Commit(ctx, t); err != nil {
			return 0, err
		}
		return 0, errChaos
	}
	return c.Backend.Commit(ctx, t)
}
