package dns_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/netplug/dns"
)

// FuzzReply answers whatever can be taken for a query, and looks at the answer as a client would.
func FuzzReply(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.web.default.svc.cluster.local.", "1.0.96.10.in-addr.arpa.", "1.0.0.0.ip6.arpa.", "--.n.pod.cluster.local.", ".", `a\.b\000.svc.cluster.local.`, "x.bedplate-loop-probe."} {
		for _, typ := range []uint16{miekg.TypeA, miekg.TypeSRV, miekg.TypePTR, miekg.TypeANY, miekg.TypeOPT} {
			m := query(name, typ)
			m.SetEdns0(600, true)
			raw, err := m.Pack()
			require.NoError(f, err)
			f.Add(raw, 512)
		}
	}
	s := offline(f)
	<-s.Ready()
	world := s.Index()
	world.SetNamespace("default")
	world.SetService(clusterService("default", "web", []string{"10.96.0.1", "fd00::1"}, servicePort("http", 80, corev1.ProtocolTCP)))
	world.SetService(clusterService("default", "db", []string{"None"}))
	world.SetSlice(endpointSlice("default", "db", "db", at("db-0", true, "10.244.0.1"), at("", true, "10.244.0.2")))
	world.SetService(external("default", "bad", `not\a..name`))
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		q := new(miekg.Msg)
		if q.Unpack(raw) != nil {
			return
		}
		m := dns.Reply(s, t.Context(), q)
		size = min(max(size, miekg.MinMsgSize), miekg.MaxMsgSize)
		out, err := dns.Fit(m, size)
		if len(q.Question) != 1 || err != nil {
			return // a name that can be read but not written: the query is not answered
		}
		if len(out) > size && len(m.Question[0].Name) < 200 {
			t.Fatalf("%d bytes do not fit %d", len(out), size)
		}
		back := new(miekg.Msg)
		require.NoError(t, back.Unpack(out))
		require.Equal(t, q.Id, back.Id)
		require.True(t, back.Response)
	})
}

// offline is a server of an API without objects, without upstreams.
func offline(t testing.TB) *dns.Server {
	c := start(t, func(c *dns.Config) { c.IndexConfig.Ranges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")} })
	return c.dns
}

// FuzzSocket throws packets at a socket; the server goes on.
func FuzzSocket(f *testing.F) {
	f.Add([]byte("rubbish"))
	f.Add(make([]byte, 12))
	c := start(f)
	conn, err := net.Dial("udp", c.addr)
	require.NoError(f, err)
	f.Cleanup(func() { _ = conn.Close() })
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = conn.Write(raw[:min(len(raw), 60_000)])
		r, _, err := (&miekg.Client{Timeout: 30 * time.Second}).Exchange(query("cluster.local", miekg.TypeSOA), c.addr)
		require.NoError(t, err)
		require.Len(t, r.Answer, 1)
	})
}
