package bedplate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/storage"
)

// balancer hands TCP connections to servers in turn. It knows nothing of what goes over them.
type balancer struct {
	net.Listener
	mu      sync.Mutex
	servers []string
	next    int
	conns   sync.WaitGroup
}

func balance(t *testing.T) *balancer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &balancer{Listener: l}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() { require.NoError(t, l.Close()); accepting.Wait(); b.conns.Wait() })
	return b
}

func (b *balancer) serve(c net.Conn) {
	defer c.Close()
	for range 4 {
		s, err := net.Dial("tcp", b.pick())
		if err != nil {
			continue // that one is down
		}
		defer s.Close()
		done := make(chan struct{}, 2)
		pipe := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			_, _ = to.Close(), from.Close()
			done <- struct{}{}
		}
		go pipe(c, s)
		go pipe(s, c)
		<-done
		<-done
		return
	}
}

func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.servers[b.next%len(b.servers)]
}

func (b *balancer) set(i int, server string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers[i] = server
}

// fleet is API servers over one store, with one certificate authority.
type fleet struct {
	*testing.T
	backend storage.Backend
	dirs    []string
	up      []*bedplate.ControlPlane
	lb      *balancer
}

func newFleet(t *testing.T, n int) *fleet {
	f := &fleet{T: t, backend: shared(t), lb: balance(t), up: make([]*bedplate.ControlPlane, n)}
	f.lb.servers = make([]string, n)
	for i := range n {
		f.dirs = append(f.dirs, t.TempDir())
		if i > 0 {
			f.share(i)
		}
		f.start(i)
	}
	t.Cleanup(func() {
		for i := range f.up {
			require.NoError(t, f.up[i].Stop())
		}
	})
	return f
}

// share gives a server what all must have in common: who signs certificates and tokens.
func (f *fleet) share(i int) {
	require.NoError(f, os.Mkdir(filepath.Join(f.dirs[i], "pki"), 0o700))
	for _, name := range []string{"ca.crt", "ca.key", "sa.key"} {
		raw, err := os.ReadFile(filepath.Join(f.dirs[0], "pki", name))
		require.NoError(f, err)
		require.NoError(f, os.WriteFile(filepath.Join(f.dirs[i], "pki", name), raw, 0o600))
	}
}

func (f *fleet) start(i int) {
	p, err := bedplate.Start(f.Context(), bedplate.Config{Dir: f.dirs[i], Backend: f.backend})
	require.NoError(f, err)
	f.up[i] = p
	f.lb.set(i, strings.TrimPrefix(p.URL(), "https://"))
}

func (f *fleet) client() (*client.Client, *client.Conn) {
	k, err := f.up[0].Kubeconfig("admin", "system:masters")
	require.NoError(f, err)
	k = []byte(strings.ReplaceAll(string(k), f.up[0].URL(), "https://"+f.lb.Addr().String()))
	conn, err := kubeconfig.Parse(k)
	require.NoError(f, err)
	r, err := apimachinery.NewRegistry(kinds.All()...)
	require.NoError(f, err)
	return client.New(conn, r), conn
}

// TestServersBehindABalancer: any TCP balancer will do, as API servers keep nothing to themselves. They are restarted
// one after the other under writers and an informer: no acknowledged write is lost, the informer misses nothing, pages
// of one list come from different servers and agree, and a token of one is good for all.
func TestServersBehindABalancer(t *testing.T) {
	const servers, writers, each = 3, 4, 60
	f := newFleet(t, servers)
	c, conn := f.client()
	defer conn.Close()
	seen, err := informer.New(client.For[*corev1.ConfigMap](c), informer.Config[*corev1.ConfigMap]{Namespace: "default", Labels: "by"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- seen.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()

	var written atomic.Int64
	reached := make([]chan struct{}, servers)
	for i := range reached {
		reached[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			own, conn := f.client()
			defer conn.Close()
			for i := range each {
				f.write(own, fmt.Sprintf("w%d-%d", w, i))
				if n := int(written.Add(1)); n%50 == 0 && n/50 <= servers {
					close(reached[n/50-1])
				}
			}
		})
	}
	for i := range servers {
		<-reached[i]
		require.NoError(t, f.up[i].Stop())
		f.start(i)
	}
	wg.Wait()

	maps := client.For[*corev1.ConfigMap](c)
	whole, err := maps.List(t.Context(), client.InNamespace("default"), client.Labels("by"))
	require.NoError(t, err)
	require.Len(t, whole.Items, writers*each)
	f.pages(whole)
	require.NoError(t, seen.WaitFor(t.Context(), informer.RevOf(whole.ResourceVersion)))
	require.Len(t, slices.Collect(seen.List("")), writers*each)
	f.token()
}

// write creates an object, and again as long as nobody says that it is there.
func (f *fleet) write(c *client.Client, name string) {
	m := configMap(name, name)
	m.Labels = map[string]string{"by": "writer"}
	for {
		_, err := client.For[*corev1.ConfigMap](c).Create(f.Context(), m)
		if err == nil || apierrors.IsAlreadyExists(err) { // by an earlier try, whose answer was lost
			return
		}
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Code < 500 || f.Context().Err() != nil {
			f.Error(err)
			return
		}
	}
}

// pages requires that the pages of a list, each over a connection of its own, are the list.
func (f *fleet) pages(whole *client.List[*corev1.ConfigMap]) {
	var names []string
	for token := ""; ; {
		c, conn := f.client()
		page, err := client.For[*corev1.ConfigMap](c).List(f.Context(), client.InNamespace("default"), client.Labels("by"), client.Limit(37), client.Continue(token))
		require.NoError(f, err)
		require.NoError(f, conn.Close())
		require.GreaterOrEqual(f, informer.RevOf(page.ResourceVersion), informer.RevOf(whole.ResourceVersion))
		for _, m := range page.Items {
			names = append(names, m.Name)
		}
		if token = page.Continue; token == "" {
			break
		}
	}
	require.Len(f, names, len(whole.Items))
	for i, m := range whole.Items {
		require.Equal(f, m.Name, names[i])
	}
}

// token requires that each server knows the tokens of the others.
func (f *fleet) token() {
	requests := client.Sub[authenticationv1.TokenRequest](client.For[*corev1.ServiceAccount](f.up[0].Client()), "token")
	got, err := requests.Create(f.Context(), "default", "default", &authenticationv1.TokenRequest{})
	require.NoError(f, err)
	for _, p := range f.up {
		review, err := client.For[*authenticationv1.TokenReview](p.Client()).Create(f.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: got.Status.Token}})
		require.NoError(f, err)
		require.True(f, review.Status.Authenticated, review.Status.Error)
	}
}
