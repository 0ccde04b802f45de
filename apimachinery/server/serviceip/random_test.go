package serviceip_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/storage"
)

// rangeKeys are the keys under a prefix, without it, as the store has them.
func rangeKeys(a *api, prefix string) ([]string, error) { return keysOf(a.backend, prefix) }

func keysOf(b storage.Backend, prefix string) ([]string, error) {
	page, err := b.Range(context.Background(), storage.Range{Prefix: prefix})
	out := []string{}
	for _, kv := range page.KVs {
		out = append(out, strings.TrimPrefix(kv.Key, prefix))
	}
	return out, err
}

// step is one thing that a writer does.
type step struct {
	server, name int
	what         string
	typ          corev1.ServiceType
	ip           string
	port         int32
}

var types4 = []corev1.ServiceType{
	corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName,
}

// drawStep draws a step among few names, addresses and ports, so that they meet.
func drawStep(n func(below int) int) step {
	s := step{server: n(2), name: n(24), typ: types4[n(4)], what: []string{"create", "create", "delete", "update", "update"}[n(5)]}
	switch n(6) {
	case 0:
		s.ip = fmt.Sprintf("10.0.0.%d", n(64))
	case 1:
		s.ip = "None"
	case 2:
		s.port = int32(30000 + n(40))
	}
	return s
}

func (s step) apply(o *corev1.Service) {
	o.Spec.Type = s.typ
	if s.typ == corev1.ServiceTypeExternalName {
		o.Spec.ExternalName = "example.com"
	}
	if s.ip != "" && o.Spec.ClusterIP == "" {
		o.Spec.ClusterIP = s.ip
	}
	if s.typ == corev1.ServiceTypeLoadBalancer && s.name%2 == 0 {
		o.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.port != 0 && (s.typ == corev1.ServiceTypeNodePort || s.typ == corev1.ServiceTypeLoadBalancer) {
		o.Spec.Ports[0].NodePort = s.port
	}
}

// do does the step. What comes of it shows in the store: here only that no error is unexpected.
func (s step) do(a *api) error {
	ctx, name := context.Background(), fmt.Sprint("s", s.name)
	var err error
	switch s.what {
	case "create":
		o := service(name)
		s.apply(o)
		_, err = a.services.Create(ctx, o)
	case "delete":
		err = a.services.Delete(ctx, "default", name)
	case "update":
		var o *corev1.Service
		if o, err = a.services.Get(ctx, "default", name); err == nil {
			s.apply(o)
			_, err = a.services.Update(ctx, o)
		}
	}
	expected := err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) ||
		apierrors.IsInvalid(err) || strings.Contains(err.Error(), errChaos.Error()) || strings.Contains(err.Error(), "range is full") ||
		strings.Contains(err.Error(), "HealthCheck NodePort")
	if !expected {
		return fmt.Errorf("%+v: %w", s, err)
	}
	return nil
}

// check compares what Services have with what is claimed, in the store itself.
func check(t require.TestingT, a *api) {
	l, err := a.services.List(context.Background())
	require.NoError(t, err)
	owner := map[string]string{}
	claim := func(what, name string) {
		require.Empty(t, owner[what], "%s has %s as well", name, what)
		owner[what] = name
	}
	for i := range l.Items {
		s := l.Items[i]
		for _, ip := range s.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				claim(ip, s.Name)
			}
		}
		mine := map[string]bool{fmt.Sprint(s.Spec.HealthCheckNodePort): s.Spec.HealthCheckNodePort != 0}
		if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			require.NotEmpty(t, s.Spec.ClusterIP)
			for _, p := range s.Spec.Ports {
				require.NotZero(t, p.NodePort)
				mine[fmt.Sprint(p.NodePort)] = true
			}
		}
		for port, has := range mine {
			if has {
				claim(port, s.Name)
			}
		}
	}
	var want []string
	for what := range owner {
		want = append(want, what)
	}
	ips, err := keysOf(a.backend, "/registry/ipaddresses/")
	require.NoError(t, err)
	ports, err := keysOf(a.backend, "/registry/bedplate.io/nodeports/")
	require.NoError(t, err)
	have := append(ips, ports...)
	sort.Strings(want)
	sort.Strings(have)
	require.Equal(t, append([]string{}, want...), append([]string{}, have...), "claims are what services have, no more and no less")
}

var small = serviceip.Config{Ranges: prefix("10.0.0.0/26"), FirstPort: 30000, LastPort: 30039}

// twoServers are two servers over one store that fails now and then.
func twoServers(t testing.TB, next func() fault) ([]*api, *chaos) {
	c := &chaos{Backend: newBackend(t), next: next}
	return []*api{open(t, c, small), open(t, c, small)}, c
}

// TestRandom: after any sequence of creations, deletions and changes of type over two servers, of which some fail
// before or after the store has done its part, what is claimed is what services have.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		faults := rapid.SliceOfN(rapid.SampledFrom([]fault{none, none, none, before, after}), 1, 50).Draw(rt, "faults")
		i := 0
		apis, _ := twoServers(t, func() fault {
			i++
			return faults[i%len(faults)]
		})
		n := func(below int) int { return rapid.IntRange(0, below-1).Draw(rt, "n") }
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			require.NoError(rt, drawStep(n).do(apis[n(2)]))
		}
		check(rt, apis[0])
	})
}

// TestManyAtOnce: 10,000 creations, deletions and changes of type by eight writers at once, through two servers and
// a failing store; nothing is handed out twice, at any time, and nothing is left over.
func TestManyAtOnce(t *testing.T) {
	const writers, steps = 8, 10_000
	seed := uint64(1)
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0))
	apis, c := twoServers(t, func() fault {
		mu.Lock()
		defer mu.Unlock()
		return []fault{before, after, none, none, none, none, none, none, none, none}[dice.IntN(10)]
	})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w+1)))
			for i := range steps / writers {
				s := drawStep(r.IntN)
				if !assertNoError(t, s.do(apis[s.server])) {
					return
				}
				if i%250 == 0 {
					check1(t, apis[s.server])
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, c.hits.Load(), int64(100))
	check(t, apis[0])
	check(t, apis[1])
}

// check1 looks at the services at one moment: none has what another has.
func check1(t *testing.T, a *api) {
	l, err := a.services.List(context.Background())
	if !assertNoError(t, err) {
		return
	}
	owner := map[string]string{}
	for _, s := range l.Items {
		for _, ip := range s.Spec.ClusterIPs {
			if other := owner[ip]; ip != corev1.ClusterIPNone && other != "" {
				t.Errorf("%s and %s both have %s", s.Name, other, ip)
			}
			owner[ip] = s.Name
		}
	}
}

func BenchmarkCreateService(b *testing.B) {
	a := open(b, newBackend(b), serviceip.Config{Ranges: prefix("10.0.0.0/8")})
	i := 0
	for b.Loop() {
		i++
		if _, err := a.services.Create(context.Background(), service(fmt.Sprint("s", i))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/service")
}
