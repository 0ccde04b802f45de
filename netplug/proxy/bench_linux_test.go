package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// many are services of so many endpoints each.
func many(services, endpoints int) map[string][]ServicePort {
	all := map[string][]ServicePort{}
	for i := range services {
		p := ServicePort{Service: fmt.Sprint("default/s", i), Internal: Frontend{netip.AddrFrom4([4]byte{10, 96, 128 + byte(i>>8), byte(i)}), TCP, 80}}
		for e := range endpoints {
			p.Cluster = append(p.Cluster, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 4), byte(i<<4 + e)}), 8080))
		}
		all[p.Service] = []ServicePort{p}
	}
	return all
}

// BenchmarkFullLoad brings 1,000 services of 10 endpoints into an empty kernel. The target is 300 ms.
func BenchmarkFullLoad(b *testing.B) {
	l, all := newLab(b), many(1000, 10)
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, l.e.remove())
		l.e.rules = newRuleSet()
		l.e.started = false
		b.StartTimer()
		_, err := l.e.apply(all)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/load")
}

// BenchmarkOneChange takes an endpoint from one of 1,000 services, or gives it back. The target is 20 ms.
func BenchmarkOneChange(b *testing.B) {
	l, all := newLab(b), many(1000, 10)
	_, err := l.e.apply(all)
	require.NoError(b, err)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		p := all[fmt.Sprint("default/s", i%1000)][0]
		if i/1000%2 == 0 {
			p.Cluster = slices.Delete(slices.Clone(p.Cluster), i%10, i%10+1)
		}
		begin := time.Now()
		_, err := l.e.apply(map[string][]ServicePort{p.Service: {p}})
		require.NoError(b, err)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkResync compares 1,000 services of 10 endpoints with the kernel.
func BenchmarkResync(b *testing.B) {
	l := newLab(b)
	_, err := l.e.apply(many(1000, 10))
	require.NoError(b, err)
	for b.Loop() {
		l.e.doubt = true
		n, err := l.e.apply(nil)
		require.NoError(b, err)
		require.Zero(b, n)
	}
}

// BenchmarkPath compares the way through a cluster IP with the direct one between the same two pods, in turns, so
// that both see the same machine.
func BenchmarkPath(b *testing.B) {
	l := newLab(b)
	server, ip := l.pod()
	client, _ := l.pod()
	sink(b, server)
	services := many(1000, 10)
	_, err := l.e.apply(services)
	require.NoError(b, err)
	l.set(service(), at("here", ip)...)
	direct, err := client.dial("tcp", ip.String()+":8080", long)
	require.NoError(b, err)
	through, err := client.dial("tcp", vip+":80", long)
	require.NoError(b, err)
	conns := []net.Conn{direct, through}
	defer func() { _, _ = direct.Close(), through.Close() }()
	var moved, trips [2]time.Duration
	data, answer := make([]byte, 4<<20), make([]byte, 1)
	pass := func(i int, n int) time.Duration {
		begin := time.Now()
		_, err := conns[i].Write(data[:n])
		require.NoError(b, err)
		_, err = io.ReadFull(conns[i], answer)
		require.NoError(b, err)
		return time.Since(begin)
	}
	data[len(data)-1] = 1
	one := []byte{1}
	rounds := 0
	for b.Loop() {
		rounds++
		for k := range 2 {
			i := (rounds + k) % 2
			moved[i] += pass(i, len(data))
			for range 50 {
				begin := time.Now()
				_, err := conns[i].Write(one)
				require.NoError(b, err)
				_, err = io.ReadFull(conns[i], answer)
				require.NoError(b, err)
				trips[i] += time.Since(begin)
			}
		}
	}
	size := float64(rounds) * float64(len(data)) * 8 / 1e9
	b.ReportMetric(size/moved[0].Seconds(), "direct-Gbit/s")
	b.ReportMetric(size/moved[1].Seconds(), "service-Gbit/s")
	b.ReportMetric(float64(trips[0].Microseconds())/float64(50*rounds), "direct-µs")
	b.ReportMetric(float64(trips[1].Microseconds())/float64(50*rounds), "service-µs")
	b.ReportMetric(100*moved[0].Seconds()/moved[1].Seconds(), "throughput-%")
	b.ReportMetric(100*trips[0].Seconds()/trips[1].Seconds(), "latency-%")
}

// sink answers at port 8080 with one byte for each 1 that it reads.
func sink(b *testing.B, s *space) {
	var l net.Listener
	s.do(func() {
		var err error
		l, err = net.Listen("tcp4", ":8080")
		require.NoError(b, err)
	})
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 1<<20)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if buf[n-1] == 1 {
						_, _ = c.Write([]byte{1})
					}
				}
			}()
		}
	}()
}
