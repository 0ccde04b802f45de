package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// trio is a lab with a service of three pods on this node.
func trio(t testing.TB) (*lab, []*space, []netip.Addr) {
	l := newLab(t)
	var pods []*space
	var ips []netip.Addr
	for i := range 3 {
		p, ip := l.pod()
		p.serve(fmt.Sprint("pod", i))
		pods, ips = append(pods, p), append(ips, ip)
	}
	return l, pods, ips
}

func TestClusterIP(t *testing.T) {
	l, _, ips := trio(t)
	client, clientIP := l.pod()
	l.set(service(), at("here", ips...)...)
	for name, from := range map[string]struct {
		*space
		source string
	}{"pod": {client, clientIP.String()}, "host": {l.host, hostIP}} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				got := map[string]int{}
				for range 300 {
					who, source := from.ask(network, vip+":80")
					require.Equal(t, from.source, source)
					got[who]++
				}
				require.Len(t, got, 3)
				for _, n := range got {
					require.Greater(t, n, 50, "%v", got) // a hundred, give or take six standard deviations
				}
			})
		}
	}
}

func TestOffClusterClient(t *testing.T) {
	l, _, ips := trio(t)
	l.outside.route("eth0", "10.96.0.0/16", hostIP)
	l.set(service(), at("here", ips...)...)
	_, source := l.outside.ask("tcp", vip+":80")
	require.Equal(t, hostIP, source, "answers must come back through this node")
}

func TestHairpin(t *testing.T) {
	l := newLab(t)
	p, ip := l.pod()
	p.serve("self")
	l.set(service(), at("here", ip)...)
	for _, network := range []string{"tcp", "udp"} {
		who, source := p.ask(network, vip+":80")
		require.Equal(t, "self", who)
		require.Equal(t, hostIP, source)
	}
}

func TestNodePort(t *testing.T) {
	l, pods, ips := trio(t)
	remote := netip.MustParseAddr("10.244.1.1") // nobody is there
	for _, network := range []string{"tcp", "udp"} {
		l.set(service(), at("here", ips...)...)
		_, source := l.outside.ask(network, hostIP+":30080")
		require.Equal(t, hostIP, source, "policy Cluster")

		local := service(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
		l.set(local, append(at("here", ips[0]), at("there", remote)...)...)
		for range 10 {
			who, source := l.outside.ask(network, hostIP+":30080")
			require.Equal(t, outsideIP, source, "policy Local")
			require.Equal(t, "pod0", who, "policy Local")
		}

		l.set(local, at("there", ips[0])...)
		_, _, err := l.outside.try(network, hostIP+":30080", 200*time.Millisecond)
		var slow net.Error
		require.ErrorAs(t, err, &slow, "no endpoint here: dropped")
		require.True(t, slow.Timeout(), "%v", err)
		for _, inside := range []*space{pods[1], l.host} {
			who, _ := inside.ask(network, hostIP+":30080")
			require.Equal(t, "pod0", who, "the cluster itself gets all endpoints")
		}
	}
}

func TestNodePortIsNotOnLoopback(t *testing.T) {
	l, _, ips := trio(t)
	l.set(service(), at("here", ips...)...)
	_, err := l.host.dial("tcp", "127.0.0.1:30080", long)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	who, _ := l.host.ask("tcp", hostIP+":30080")
	require.NotEmpty(t, who)
}

func TestAffinity(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	sticky := service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	l.set(sticky, at("here", ips...)...)
	for _, from := range []*space{client, l.host} {
		first, _ := from.ask("tcp", vip+":80")
		for range 30 {
			who, _ := from.ask("tcp", vip+":80")
			require.Equal(t, first, who)
		}
	}
	first, _ := client.ask("tcp", vip+":80")
	var left []netip.Addr
	for i, ip := range ips {
		if fmt.Sprint("pod", i) != first {
			left = append(left, ip)
		}
	}
	l.set(sticky, at("here", left...)...)
	second, _ := client.ask("tcp", vip+":80")
	require.NotEqual(t, first, second)
	l.set(sticky, at("here", ips...)...)
	for range 30 {
		who, _ := client.ask("tcp", vip+":80")
		require.Equal(t, second, who, "it stays with the new one, even where the old is back")
	}
}

func TestAffinityEnds(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	l.set(service(func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(1))}}
	}), at("here", ips...)...)
	first, _ := client.ask("tcp", vip+":80")
	tick := time.NewTicker(1100 * time.Millisecond) // the kernel's clock is the one that counts
	defer tick.Stop()
	for range 20 {
		<-tick.C
		if who, _ := client.ask("tcp", vip+":80"); who != first {
			return
		}
	}
	t.Fatal("a client stays for good")
}

func TestInternalTrafficPolicyLocal(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	local := service(func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	})
	l.set(local, append(at("here", ips[1]), at("there", ips[0], ips[2])...)...)
	for range 20 {
		who, _ := client.ask("tcp", vip+":80")
		require.Equal(t, "pod1", who)
	}
	l.set(local, at("there", ips...)...)
	_, err := client.dial("tcp", vip+":80", 200*time.Millisecond)
	var slow net.Error
	require.ErrorAs(t, err, &slow)
	require.True(t, slow.Timeout(), "%v", err)
}

func TestNoEndpointsIsRefused(t *testing.T) {
	l := newLab(t)
	client, _ := l.pod()
	check := func(port string) {
		t.Helper()
		for _, from := range []*space{client, l.host} {
			_, err := from.dial("tcp", vip+port, long)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			_, _, err = from.try("udp", vip+port, long)
			if from == l.host { // what the output hook rejects is also an error of the write itself
				require.ErrorContains(t, err, "udp "+hostIP)
				continue
			}
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		}
	}
	l.set(service())
	check(":80")
	_, err := l.outside.dial("tcp", hostIP+":30080", long)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	check(":81") // no such port
	_, err = l.e.apply(map[string][]ServicePort{"default/web": nil})
	require.NoError(t, err)
	check(":80") // no such service
}

func TestRemovedEndpoint(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	l.set(service(), at("here", ips[0])...)
	old, err := client.dial("tcp", vip+":80", long)
	require.NoError(t, err)
	defer func() { _ = old.Close() }()
	who, _, err := greet(old, long)
	require.NoError(t, err)
	require.Equal(t, "pod0", who)
	datagrams, err := client.dial("udp", vip+":80", long)
	require.NoError(t, err)
	defer func() { _ = datagrams.Close() }()
	who, _, err = greet(datagrams, long)
	require.NoError(t, err)
	require.Equal(t, "pod0", who)

	l.set(service(), at("here", ips[1:]...)...)
	for range 50 {
		who, _ := client.ask("tcp", vip+":80")
		require.NotEqual(t, "pod0", who)
	}
	who, _, err = greet(datagrams, long)
	require.NoError(t, err)
	require.NotEqual(t, "pod0", who, "the same socket, another endpoint")
	_, err = old.Write([]byte("still here"))
	require.NoError(t, err)
	b := make([]byte, 10)
	_, err = io.ReadFull(old, b)
	require.NoError(t, err)
	require.Equal(t, "still here", string(b))

	l.set(service()) // and none at all: the connection still lives
	_, err = old.Write([]byte("still here"))
	require.NoError(t, err)
	_, err = io.ReadFull(old, b)
	require.NoError(t, err)
}

// TestRolling changes endpoints under clients that connect all the time, each for a short exchange.
func TestRolling(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	tcp := service(func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] })
	l.set(tcp, at("here", ips...)...)
	stop, errs := make(chan struct{}), make(chan error, 4)
	var wg sync.WaitGroup
	var made atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := exchange(client); err != nil {
					errs <- err
					return
				}
				made.Add(1)
			}
		})
	}
	changes := 0
	for i := 0; made.Load() < 2000 && len(errs) == 0; i++ {
		changes++
		l.set(tcp, at("here", ips[i%3], ips[(i+1)%3])...)
		if i%10 == 0 {
			l.e.doubt = true // with a look at the kernel in between
			_, err := l.e.apply(nil)
			require.NoError(t, err)
		}
	}
	close(stop)
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	t.Logf("%d connections over %d changes", made.Load(), changes)
}

func exchange(from *space) error {
	c, err := from.dial("tcp", vip+":80", long)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, _, err := greet(c, long); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}
