package dns_test

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/netplug/dns"
)

// fill tells an index of so many services, a tenth of them headless, with ten endpoints each.
func fill(x *dns.Index, services int) {
	x.SetNamespace("default")
	for n := range services {
		name := fmt.Sprint("service-", n)
		ip := fmt.Sprintf("10.%d.%d.%d", 96+n>>16, n>>8&255, n&255)
		if n%10 == 0 {
			ip = corev1.ClusterIPNone
		}
		x.SetService(clusterService("default", name, []string{ip}, servicePort("web", 80, corev1.ProtocolTCP)))
		s := endpointSlice("default", name+"-1", name)
		for e := range 10 {
			s.Endpoints = append(s.Endpoints, at("", true, fmt.Sprintf("10.244.%d.%d", (n*10+e)>>8&255, (n*10+e)&255)))
		}
		x.SetSlice(s)
	}
}

// BenchmarkMemory reports what the index holds for 5,000 services with ten endpoints each.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := newIndex(b, dns.IndexConfig{})
		fill(x, 5000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/5000, "B/service")
		runtime.KeepAlive(x)
	}
}

// BenchmarkIndex answers without a socket.
func BenchmarkIndex(b *testing.B) {
	x := newIndex(b, dns.IndexConfig{})
	fill(x, 5000)
	for name, q := range map[string]miekg.Question{
		"service":  {Name: "service-77.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET},
		"headless": {Name: "service-70.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET},
		"none":     {Name: "example.com.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET},
		"reverse":  {Name: "77.0.96.10.in-addr.arpa.", Qtype: miekg.TypePTR, Qclass: miekg.ClassINET},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Answer(q)
			}
		})
	}
}

// BenchmarkServer has eight clients ask over UDP on the loopback device, each with one query under way; "floor" is
// a server of the same library that sends a fixed answer.
func BenchmarkServer(b *testing.B) {
	c := start(b)
	fill(c.dns.Index(), 5000)
	floor := serve(b, func(q *miekg.Msg, _ bool) *miekg.Msg {
		m := new(miekg.Msg)
		m.SetReply(q)
		m.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 5}, A: net.IPv4(10, 0, 0, 1).To4()}}
		return m
	})
	for _, bench := range []struct{ name, addr, query string }{
		{"floor", floor.addr, "service-77.default.svc.cluster.local"},
		{"service", c.addr, "service-77.default.svc.cluster.local"},
		{"headless", c.addr, "service-70.default.svc.cluster.local"},
		{"none", c.addr, "example.com.default.svc.cluster.local"},
	} {
		b.Run(bench.name, func(b *testing.B) { load(b, bench.addr, bench.query) })
	}
}

func load(b *testing.B, addr, name string) {
	const clients, each = 8, 500
	var (
		mu    sync.Mutex
		times []time.Duration
	)
	ask := func() {
		conn, err := miekg.Dial("udp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		cl := &miekg.Client{Timeout: 10 * time.Second}
		mine := make([]time.Duration, 0, each)
		for range each {
			_, took, err := cl.ExchangeWithConn(query(name, miekg.TypeA), conn)
			if err != nil {
				b.Error(err)
				return
			}
			mine = append(mine, took)
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, mine...)
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for range clients {
			wg.Go(ask)
		}
		wg.Wait()
	}
	require.NotEmpty(b, times)
	took := b.Elapsed()
	slices.Sort(times)
	b.ReportMetric(float64(len(times))/took.Seconds(), "queries/s")
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}
