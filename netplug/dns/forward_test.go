package dns_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/netplug/dns"
)

// resolver is an upstream on a port of the loopback device.
type resolver struct {
	addr     string
	udp, tcp atomic.Int64
}

// serve starts a resolver that answers by f.
func serve(t testing.TB, f func(q *miekg.Msg, udp bool) *miekg.Msg) *resolver {
	packets, listener := sockets(t)
	r := &resolver{addr: packets.LocalAddr().String()}
	h := miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		if strings.Contains(q.Question[0].Name, "loop-probe") {
			m := new(miekg.Msg)
			_ = w.WriteMsg(m.SetRcode(q, miekg.RcodeNameError))
			return
		}
		if udp {
			r.udp.Add(1)
		} else {
			r.tcp.Add(1)
		}
		if m := f(q, udp); m != nil {
			_ = w.WriteMsg(m)
		}
	})
	for _, s := range []*miekg.Server{{PacketConn: packets, Handler: h}, {Listener: listener, Handler: h}} {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			require.NoError(t, s.Shutdown())
			<-ended
		})
	}
	return r
}

func record(t testing.TB, s string) miekg.RR {
	rr, err := miekg.NewRR(s)
	require.NoError(t, err)
	return rr
}

// world answers as the world would.
func ofTheWorld(t testing.TB) func(q *miekg.Msg, udp bool) *miekg.Msg {
	return func(q *miekg.Msg, udp bool) *miekg.Msg {
		m := new(miekg.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		switch strings.ToLower(name) {
		case "example.com.":
			m.Answer = append(m.Answer, record(t, "example.com. 20 IN A 192.0.2.1"))
		case "big.example.com.":
			if m.Truncated = udp; !udp {
				m.Answer = append(m.Answer, record(t, "big.example.com. 20 IN A 192.0.2.2"))
			}
		case "short.example.com.":
			m.Answer = append(m.Answer, record(t, "short.example.com. 0 IN A 192.0.2.3"))
		default:
			m.Rcode = miekg.RcodeNameError
			m.Ns = append(m.Ns, record(t, "example.com. 600 IN SOA ns.example.com. x.example.com. 1 2 3 4 10"))
		}
		return m
	}
}

func TestForward(t *testing.T) {
	r := serve(t, ofTheWorld(t))
	c := start(t, upstreams(r.addr))
	m := c.ask("Example.COM", miekg.TypeA)
	require.Equal(t, "Example.COM.\t20\tIN\tA\t192.0.2.1", m.Answer[0].String())
	require.True(t, m.RecursionAvailable)
	require.False(t, m.Authoritative)
	require.EqualValues(t, 1, r.udp.Load())
	m = c.ask("example.com", miekg.TypeA)
	require.Equal(t, "example.com.", m.Answer[0].Header().Name)
	require.EqualValues(t, 1, r.udp.Load(), "it was not remembered")

	require.True(t, nameError(c.ask("none.example.com", miekg.TypeA)))
	m = c.ask("none.example.com", miekg.TypeA)
	require.True(t, nameError(m))
	require.IsType(t, &miekg.SOA{}, m.Ns[0])
	require.EqualValues(t, 2, r.udp.Load(), "a negative answer was not remembered")
	for range 2 {
		require.Len(t, c.ask("short.example.com", miekg.TypeA).Answer, 1)
	}
	require.EqualValues(t, 4, r.udp.Load(), "a TTL of zero was remembered")

	require.Len(t, c.ask("big.example.com", miekg.TypeA).Answer, 1)
	require.EqualValues(t, 1, r.tcp.Load())
	require.True(t, nameError(c.ask("1.1.1.1.in-addr.arpa", miekg.TypePTR)))
	require.EqualValues(t, 6, r.udp.Load())

	c.create(external("default", "far", "example.com"), external("default", "gone", "none.example.com"), external("default", "near", "web.default.svc.cluster.local"),
		external("default", "ring", "ring.default.svc.cluster.local"), clusterService("default", "web", []string{"10.96.0.20"}))
	c.until("far.default.svc.cluster.local", miekg.TypeA, answered(2))
	c.until("near.default.svc.cluster.local", miekg.TypeA, answered(2))
	m = c.ask("gone.default.svc.cluster.local", miekg.TypeA)
	require.True(t, nameError(m))
	require.Len(t, m.Answer, 1)
	c.until("ring.default.svc.cluster.local", miekg.TypeA, func(m *miekg.Msg) bool { return m.Rcode == miekg.RcodeServerFailure })
}

func TestFailover(t *testing.T) {
	dead, listener := sockets(t) // nobody reads from it
	defer dead.Close()
	defer listener.Close()
	refusing := serve(t, func(q *miekg.Msg, _ bool) *miekg.Msg { return new(miekg.Msg).SetRcode(q, miekg.RcodeRefused) })
	good := serve(t, ofTheWorld(t))
	c := start(t, upstreams(dead.LocalAddr().String(), refusing.addr, good.addr), func(c *dns.Config) {
		c.Timeout, c.CacheEntries = 2*time.Second, -1
	})
	require.Len(t, c.ask("example.com", miekg.TypeA).Answer, 1)
	begun := time.Now()
	for range 20 {
		require.Len(t, c.ask("example.com", miekg.TypeA).Answer, 1)
	}
	require.Less(t, time.Since(begun), 20*time.Second, "the dead upstream is asked every time")
	require.EqualValues(t, 21, good.udp.Load())
}

func TestAllUpstreamsFail(t *testing.T) {
	dead, listener := sockets(t)
	addr := dead.LocalAddr().String()
	require.NoError(t, dead.Close())
	require.NoError(t, listener.Close())
	c := start(t, upstreams(addr))
	require.Equal(t, miekg.RcodeServerFailure, c.ask("example.com", miekg.TypeA).Rcode)
	refusing := serve(t, func(q *miekg.Msg, _ bool) *miekg.Msg { return new(miekg.Msg).SetRcode(q, miekg.RcodeRefused) })
	c = start(t, upstreams(refusing.addr))
	require.Equal(t, miekg.RcodeRefused, c.ask("example.com", miekg.TypeA).Rcode)
}

// TestForgedAnswers sends answers to other questions first.
func TestForgedAnswers(t *testing.T) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer packets.Close()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(miekg.Msg)
			if q.Unpack(buf[:n]) != nil {
				return
			}
			forged := new(miekg.Msg)
			forged.SetReply(q)
			forged.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 9}, A: net.IPv4(6, 6, 6, 6)}}
			otherID, otherName, request := forged.Copy(), forged.Copy(), forged.Copy()
			otherID.Id++
			otherName.Question[0].Name = "other.example.com."
			request.Response = false
			right := forged.Copy()
			right.Answer[0].(*miekg.A).A = net.IPv4(192, 0, 2, 1)
			_, _ = packets.WriteTo([]byte("rubbish"), from)
			for _, m := range []*miekg.Msg{otherID, otherName, request, right} {
				raw, _ := m.Pack()
				_, _ = packets.WriteTo(raw, from)
			}
		}
	}()
	c := start(t, upstreams(packets.LocalAddr().String()))
	require.Contains(t, c.ask("example.com", miekg.TypeA).Answer[0].String(), "192.0.2.1")
}

// TestLoop has a stub that sends all queries back to the server.
func TestLoop(t *testing.T) {
	var back atomic.Pointer[string]
	var passed atomic.Int64
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	stub := &miekg.Server{PacketConn: packets, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		if !strings.Contains(q.Question[0].Name, "probe") {
			passed.Add(1)
		}
		if r, err := miekg.Exchange(q, *back.Load()); err == nil {
			_ = w.WriteMsg(r)
		}
	})}
	good := serve(t, ofTheWorld(t))
	self := ""
	c := start(t, func(config *dns.Config) {
		self = config.Packets[0].LocalAddr().String()
		back.Store(&self)
		upstreams(self, packets.LocalAddr().String(), good.addr)(config)
		config.CacheEntries = -1
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = stub.ActivateAndServe()
		}()
		t.Cleanup(func() {
			require.NoError(t, packets.Close())
			<-ended
		})
	})
	for range 5 {
		require.Len(t, c.ask("example.com", miekg.TypeA).Answer, 1)
	}
	require.Zero(t, passed.Load(), "queries went to an upstream that leads back")
	require.EqualValues(t, 5, good.udp.Load())

	alone := start(t, upstreams(packets.LocalAddr().String()), func(config *dns.Config) {
		self := config.Packets[0].LocalAddr().String()
		back.Store(&self)
	})
	require.Equal(t, miekg.RcodeServerFailure, alone.ask("example.com", miekg.TypeA).Rcode)
	require.Zero(t, passed.Load())
}

// TestForwardsAreBounded fills all places with queries that wait.
func TestForwardsAreBounded(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	r := serve(t, func(q *miekg.Msg, udp bool) *miekg.Msg {
		arrived <- struct{}{}
		<-release
		return ofTheWorld(t)(q, udp)
	})
	c := start(t, upstreams(r.addr), func(c *dns.Config) { c.Forwards, c.Timeout = 2, 30*time.Second })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { require.Len(t, c.ask("example.com", miekg.TypeA).Answer, 1) })
	}
	<-arrived
	<-arrived
	require.Equal(t, miekg.RcodeServerFailure, c.ask("example.com", miekg.TypeA).Rcode)
	require.True(t, nameError(c.ask("none.cluster.local", miekg.TypeA)), "the cluster's own names have to wait")
	close(release)
	wg.Wait()
}

// TestEndWhileForwarding ends a server whose upstream doesn't answer.
func TestEndWhileForwarding(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	r := serve(t, func(*miekg.Msg, bool) *miekg.Msg {
		arrived <- struct{}{}
		<-release
		return nil
	})
	defer close(release)
	c := start(t, upstreams(r.addr), func(c *dns.Config) { c.Timeout = time.Minute })
	conn, err := miekg.Dial("udp", c.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.WriteMsg(query("example.com", miekg.TypeA)))
	<-arrived
	begun := time.Now()
	c.stop()
	require.Less(t, time.Since(begun), 20*time.Second)
}

func TestResolvConf(t *testing.T) {
	got, err := dns.ParseResolvConf(strings.NewReader("# nameserver 9.9.9.9\nnameserver 192.0.2.1\n nameserver fe80::1%eth0 \nnameserver nonsense\noptions ndots:5\nnameserver\nnameserver ::ffff:192.0.2.2\n"))
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("192.0.2.2:53")}, got)

	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	stub, real, none := write("stub", "nameserver 127.0.0.53\n"), write("real", "nameserver 192.0.2.9\n"), filepath.Join(t.TempDir(), "none")
	for _, test := range []struct{ conf, behind, want string }{
		{real, none, "192.0.2.9:53"}, {stub, real, "192.0.2.9:53"}, {stub, none, "127.0.0.53:53"}, {none, none, ""}, {none, real, "192.0.2.9:53"},
	} {
		got, err := dns.UpstreamsOf(test.conf, test.behind)
		require.NoError(t, err)
		var texts []string
		for _, a := range got {
			texts = append(texts, a.String())
		}
		require.Equal(t, test.want, strings.Join(texts, " "))
	}
}
