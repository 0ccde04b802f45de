package dns_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/netplug/dns"
	"github.com/bedplate/bedplate/reconcile/informer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resources are the kinds that the server reads; services and slices as plain objects, whatever is in them.
func resources() (out []apimachinery.Resource) {
	for _, r := range core.Resources() {
		if r.Name.Resource == "namespaces" || r.Name.Resource == "pods" {
			out = append(out, r)
		}
	}
	return append(out,
		plain(corev1.SchemeGroupVersion.WithKind("Service"), "services", func() apimachinery.Object { return &corev1.Service{} }),
		plain(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), "endpointslices", func() apimachinery.Object { return &discoveryv1.EndpointSlice{} }))
}

func plain(kind schema.GroupVersionKind, plural string, make func() apimachinery.Object) apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Group: kind.Group, Resource: plural}, Namespaced: true, New: make,
		Views: []apimachinery.View{{GroupVersionKind: kind, Plural: plural}},
	}
}

// cluster is an API and a DNS server of it on a port of the loopback device.
type cluster struct {
	t    testing.TB
	env  *clienttest.Env
	dns  *dns.Server
	addr string
	stop func()
}

type options func(*dns.Config)

func upstreams(addrs ...string) options {
	return func(c *dns.Config) {
		c.Upstreams = []netip.AddrPort{}
		for _, a := range addrs {
			c.Upstreams = append(c.Upstreams, netip.MustParseAddrPort(a))
		}
	}
}

func start(t testing.TB, opts ...options) *cluster {
	return startOn(t, clienttest.Start(t, clienttest.Config{Resources: resources()}), opts...)
}

func startOn(t testing.TB, env *clienttest.Env, opts ...options) *cluster {
	t.Helper()
	packets, listener := sockets(t)
	config := dns.Config{
		IndexConfig: dns.IndexConfig{Ranges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")}},
		Packets:     []net.PacketConn{packets}, Listeners: []net.Listener{listener}, Client: env.Client, Upstreams: []netip.AddrPort{},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, o := range opts {
		o(&config)
	}
	s, err := dns.New(config)
	require.NoError(t, err)
	c := &cluster{t: t, env: env, dns: s, addr: packets.LocalAddr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(c.stop)
	<-s.Ready()
	return c
}

// sockets opens one of each kind on the same port.
func sockets(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return p, l
		}
		require.NoError(t, l.Close())
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (c *cluster) namespace(name string) {
	_, err := client.For[*corev1.Namespace](c.env.Client).Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	require.NoError(c.t, err)
}

func (c *cluster) create(objects ...apimachinery.Object) {
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *corev1.Service:
			_, err = client.For[*corev1.Service](c.env.Client).Create(c.t.Context(), o)
		case *discoveryv1.EndpointSlice:
			_, err = client.For[*discoveryv1.EndpointSlice](c.env.Client).Create(c.t.Context(), o)
		}
		require.NoError(c.t, err)
	}
}

func query(name string, typ uint16) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(miekg.Fqdn(name), typ)
	return m
}

func (c *cluster) send(network string, m *miekg.Msg) *miekg.Msg {
	c.t.Helper()
	r, _, err := (&miekg.Client{Net: network, Timeout: 30 * time.Second}).Exchange(m, c.addr)
	require.NoError(c.t, err)
	return r
}

func (c *cluster) ask(name string, typ uint16) *miekg.Msg {
	c.t.Helper()
	return c.send("udp", query(name, typ))
}

// until asks until there is what was wished: events take a moment.
func (c *cluster) until(name string, typ uint16, wish func(*miekg.Msg) bool) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return wish(c.ask(name, typ)) }, 30*time.Second, 2*time.Millisecond)
}

func answered(n int) func(*miekg.Msg) bool {
	return func(m *miekg.Msg) bool { return m.Rcode == miekg.RcodeSuccess && len(m.Answer) == n }
}

func nameError(m *miekg.Msg) bool { return m.Rcode == miekg.RcodeNameError }

func TestFollowsTheAPI(t *testing.T) {
	both := map[string]options{
		"list and watch": func(*dns.Config) {},
		"views":          nil,
	}
	for name, option := range both {
		t.Run(name, func(t *testing.T) {
			env := clienttest.Start(t, clienttest.Config{Resources: resources()})
			if option == nil {
				option = views(t, env)
			}
			c := startOn(t, env, option)
			c.namespace("default")
			require.True(t, nameError(c.ask("web.default.svc.cluster.local", miekg.TypeA)))
			c.create(clusterService("default", "web", []string{"10.96.0.20"}, servicePort("http", 80, corev1.ProtocolTCP)))
			c.until("web.default.svc.cluster.local", miekg.TypeA, answered(1))
			m := c.ask("wEb.DEFAULT.svc.Cluster.local", miekg.TypeA)
			require.Equal(t, "wEb.DEFAULT.svc.Cluster.local.", m.Question[0].Name)
			require.Equal(t, "wEb.DEFAULT.svc.Cluster.local.", m.Answer[0].Header().Name)
			require.True(t, m.Authoritative)
			require.False(t, m.RecursionAvailable)
			m = c.ask("web.default.svc.cluster.local", miekg.TypeAAAA)
			require.Equal(t, miekg.RcodeSuccess, m.Rcode)
			require.Empty(t, m.Answer)
			require.IsType(t, &miekg.SOA{}, m.Ns[0])

			c.create(clusterService("default", "db", []string{"None"}), endpointSlice("default", "db-1", "db", at("db-0", true, "10.244.0.1"), at("", true, "10.244.0.2")))
			c.until("db.default.svc.cluster.local", miekg.TypeA, answered(2))
			c.until("1.0.244.10.in-addr.arpa", miekg.TypePTR, answered(1))
			pods := client.For[*corev1.Pod](c.env.Client)
			p := podAt("default", "p", "")
			p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
			_, err := pods.Create(t.Context(), p)
			require.NoError(t, err)
			_, err = pods.ModifyStatus(t.Context(), "default", "p", func(p *corev1.Pod) error {
				p.Status.PodIPs, p.Status.PodIP = []corev1.PodIP{{IP: "10.244.0.1"}}, "10.244.0.1"
				return nil
			})
			require.NoError(t, err)
			c.until("10-244-0-1.default.pod.cluster.local", miekg.TypeA, answered(1))

			require.NoError(t, client.For[*corev1.Service](c.env.Client).Delete(t.Context(), "default", "web"))
			c.until("web.default.svc.cluster.local", miekg.TypeA, nameError)
			require.NoError(t, client.For[*discoveryv1.EndpointSlice](c.env.Client).Delete(t.Context(), "default", "db-1"))
			c.until("db.default.svc.cluster.local", miekg.TypeA, nameError)
			require.ErrorContains(t, c.dns.Run(t.Context()), "runs already")
		})
	}
}

// views hands in informers over the API server's own tables.
func views(t *testing.T, env *clienttest.Env) options {
	run := func(run func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	return func(c *dns.Config) {
		var errs [4]error
		c.Services, errs[0] = informer.Of(env.Server, client.For[*corev1.Service](env.Client), nil)
		c.Slices, errs[1] = informer.Of(env.Server, client.For[*discoveryv1.EndpointSlice](env.Client), nil)
		c.Pods, errs[2] = informer.Of(env.Server, client.For[*corev1.Pod](env.Client), nil)
		c.Namespaces, errs[3] = informer.Of(env.Server, client.Metadata(env.Client, corev1.SchemeGroupVersion.WithResource("namespaces"), false), nil)
		require.NoError(t, errors.Join(errs[:]...))
		run(c.Services.Run)
		run(c.Slices.Run)
		run(c.Pods.Run)
		run(c.Namespaces.Run)
		c.Client = nil
	}
}

func TestTransports(t *testing.T) {
	c := start(t)
	var many []discoveryv1.Endpoint
	for i := range 200 {
		many = append(many, at("", true, fmt.Sprint("10.244.1.", i)))
	}
	c.create(clusterService("default", "big", []string{"None"}), endpointSlice("default", "big", "big", many...))
	c.until("big.default.svc.cluster.local", miekg.TypeA, func(m *miekg.Msg) bool { return m.Truncated })
	sizes := map[int]int{0: 512, 100: 512, 800: 800, 4096: 1232}
	for asked, most := range sizes {
		q := query("big.default.svc.cluster.local", miekg.TypeA)
		if asked > 0 {
			q.SetEdns0(uint16(asked), true)
		}
		m := c.send("udp", q)
		require.True(t, m.Truncated, asked)
		m.Compress = true
		require.LessOrEqual(t, m.Len(), most)
		require.NotEmpty(t, m.Answer)
		if opt := m.IsEdns0(); asked > 0 {
			require.EqualValues(t, 1232, opt.UDPSize())
			require.True(t, opt.Do())
		}
	}
	whole := c.send("tcp", query("big.default.svc.cluster.local", miekg.TypeA))
	require.False(t, whole.Truncated)
	require.Len(t, whole.Answer, 200)
	again := c.send("tcp", query("big.default.svc.cluster.local", miekg.TypeA))
	require.NotEqual(t, whole.Answer, again.Answer, "not shuffled")
	require.ElementsMatch(t, texts(whole), texts(again))

	for n := range 25 { // more than any message holds
		var more []discoveryv1.Endpoint
		for i := range 200 {
			more = append(more, at("", true, fmt.Sprintf("10.245.%d.%d", n, i)))
		}
		c.create(endpointSlice("default", fmt.Sprint("huge-", n), "huge", more...))
	}
	c.create(clusterService("default", "huge", []string{"None"}))
	c.until("huge.default.svc.cluster.local", miekg.TypeA, func(m *miekg.Msg) bool { return m.Truncated })
	require.Eventually(t, func() bool { return c.send("tcp", query("huge.default.svc.cluster.local", miekg.TypeA)).Truncated }, 30*time.Second, time.Millisecond)

	q := query("big.default.svc.cluster.local", miekg.TypeA)
	q.SetEdns0(1232, false)
	q.IsEdns0().SetVersion(1)
	require.Equal(t, miekg.RcodeBadVers, c.send("udp", q).Rcode)
	q = query("version.bind", miekg.TypeTXT)
	q.Question[0].Qclass = miekg.ClassCHAOS
	require.Equal(t, miekg.RcodeRefused, c.send("udp", q).Rcode)
	require.Equal(t, miekg.RcodeRefused, c.ask("cluster.local", miekg.TypeAXFR).Rcode)
	require.Equal(t, miekg.RcodeRefused, c.ask("example.com", miekg.TypeA).Rcode, "there is no upstream")
}

func texts(m *miekg.Msg) (out []string) {
	for _, rr := range m.Answer {
		out = append(out, rr.String())
	}
	return out
}

// TestBeforeSync keeps the API from answering: until it does, nothing is known not to exist.
func TestBeforeSync(t *testing.T) {
	env := clienttest.Start(t, clienttest.Config{Resources: resources()})
	held := &holding{Doer: env.Client.Doer(), open: make(chan struct{})}
	packets, listener := sockets(t)
	s, err := dns.New(dns.Config{Client: client.New(held, env.Client.Registry()), Packets: []net.PacketConn{packets}, Listeners: []net.Listener{listener}, Upstreams: []netip.AddrPort{}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := &cluster{t: t, env: env, dns: s, addr: packets.LocalAddr().String()}
	for _, name := range []string{"web.default.svc.cluster.local", "example.com"} {
		require.Equal(t, miekg.RcodeServerFailure, c.ask(name, miekg.TypeA).Rcode)
	}
	close(held.open)
	<-s.Ready()
	require.True(t, nameError(c.ask("web.default.svc.cluster.local", miekg.TypeA)))
	cancel()
	require.NoError(t, <-done)
	_, err = packets.WriteTo(nil, packets.LocalAddr())
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// holding is a Doer that waits.
type holding struct {
	apimachinery.Doer
	open chan struct{}
}

func (h *holding) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	select {
	case <-h.open:
		return h.Doer.Do(ctx, r)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestConfig(t *testing.T) {
	packets, listener := sockets(t)
	defer packets.Close()
	defer listener.Close()
	good := []net.PacketConn{packets}
	registry, err := apimachinery.NewRegistry()
	require.NoError(t, err)
	for want, c := range map[string]dns.Config{
		"nothing to serve on":   {},
		"Client must be set":    {Packets: good},
		"must not be negative":  {Packets: good, Client: &client.Client{}, Conns: -1},
		"between 512 and":       {Packets: good, Client: &client.Client{}, UDPSize: 100},
		"has no address":        {Packets: good, Client: &client.Client{}, Upstreams: make([]netip.AddrPort, 1)},
		"is no domain name":     {Packets: good, Client: &client.Client{}, IndexConfig: dns.IndexConfig{Domain: "a..b"}},
		"configure the DNS ser": {Packets: good, Client: client.New(nil, registry), Upstreams: []netip.AddrPort{}},
	} {
		_, err := dns.New(c)
		require.ErrorContains(t, err, want)
	}
}

// TestConcurrent asks thousands of questions while the cluster changes.
func TestConcurrent(t *testing.T) {
	c := start(t)
	for n := range 20 {
		c.create(clusterService("default", fmt.Sprint("s", n), []string{fmt.Sprint("10.96.1.", n)}))
	}
	c.until("s19.default.svc.cluster.local", miekg.TypeA, answered(1))
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for w := range 16 {
		wg.Go(func() {
			network := "udp"
			if w%4 == 0 {
				network = "tcp"
			}
			conn, err := miekg.Dial(network, c.addr)
			if err != nil {
				wrong.Add(1)
				return
			}
			defer conn.Close()
			cl := &miekg.Client{Net: network, Timeout: 30 * time.Second}
			for range 250 {
				n := rand.IntN(20)
				m, _, err := cl.ExchangeWithConn(query(fmt.Sprintf("s%d.default.svc.cluster.local", n), miekg.TypeA), conn)
				if err != nil || len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), fmt.Sprint("10.96.1.", n)) {
					wrong.Add(1)
				}
			}
		})
	}
	for n := range 100 {
		c.create(clusterService("other", fmt.Sprint("x", n), []string{fmt.Sprint("10.96.2.", n)}))
	}
	wg.Wait()
	require.Zero(t, wrong.Load())
}

func TestConnectionsAreBounded(t *testing.T) {
	c := start(t, func(c *dns.Config) { c.Conns = 2 })
	var conns []*miekg.Conn
	cl := &miekg.Client{Net: "tcp", Timeout: 30 * time.Second}
	for range 2 {
		conn, err := miekg.Dial("tcp", c.addr)
		require.NoError(t, err)
		defer conn.Close()
		_, _, err = cl.ExchangeWithConn(query("cluster.local", miekg.TypeSOA), conn)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	third, err := miekg.Dial("tcp", c.addr)
	require.NoError(t, err)
	defer third.Close()
	_, _, err = cl.ExchangeWithConn(query("cluster.local", miekg.TypeSOA), third)
	require.Error(t, err)
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool {
		_, _, err := cl.Exchange(query("cluster.local", miekg.TypeSOA), c.addr)
		return err == nil
	}, 30*time.Second, 5*time.Millisecond)
}
