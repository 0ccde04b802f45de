//go:build linux

package netplug

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// What a node agent needs of a network.
var _ interface {
	Attach(ctx context.Context, pod *corev1.Pod, sandboxID, netnsPath string) ([]netip.Addr, error)
	Detach(ctx context.Context, sandboxID string) error
	Keep(ctx context.Context, sandboxIDs []string) error
} = (*Network)(nil)

var modes = []Mode{Routed, Bridge}

func inModes(t *testing.T, test func(t *testing.T, mode Mode)) {
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) { test(t, m) })
	}
}

func TestPodsReachEachOtherAndTheWorld(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		n := start(t, configOf(host, mode))
		a, addrA := attach(t, n, "a")
		b, addrB := attach(t, n, "b")
		serve(t, b, 80)
		serve(t, outside, 80)
		serve(t, host, 81)
		serve(t, a, 80)
		sees(t, a, addrB.String()+":80", addrA.String())
		sees(t, b, addrA.String()+":80", addrB.String())
		sees(t, a, outsideAddr+":80", hostAddr) // masqueraded
		sees(t, a, hostAddr+":81", addrA.String())
		_, err := ask(host, addrA.String()+":80", 30*time.Second)
		require.NoError(t, err)
	})
}

func TestNoMasquerade(t *testing.T) {
	host, outside := newHost(t)
	require.NoError(t, outside.h.RouteAdd(&netlink.Route{Dst: netOf(podRange), Gw: net.ParseIP(hostAddr)}))
	serve(t, outside, 80)
	for name, c := range map[string]Config{
		"off":   {NoMasquerade: true},
		"range": {NonMasquerade: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Host, c.Ranges = host.path(), []netip.Prefix{podRange}
			n := start(t, c)
			a, addr := attach(t, n, name)
			sees(t, a, outsideAddr+":80", addr.String())
			require.NoError(t, n.Remove(t.Context()))
		})
	}
}

func TestHostPorts(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		n := start(t, configOf(host, mode))
		on := tcp(8081, 80)
		on.HostIP = hostAddr
		a, addrA := attach(t, n, "a", tcp(8080, 80), on)
		serve(t, a, 80)
		b, addrB := attach(t, n, "b")
		sees(t, outside, hostAddr+":8080", outsideAddr)
		sees(t, outside, hostAddr+":8081", outsideAddr)
		sees(t, host, hostAddr+":8080", hostAddr)
		_, err := ask(a, hostAddr+":8080", 30*time.Second) // to itself
		require.NoError(t, err)
		seen, err := ask(b, hostAddr+":8080", 30*time.Second)
		require.NoError(t, err)
		if mode == Routed {
			require.Equal(t, addrB.String(), seen)
		}

		_, err = n.Attach(t.Context(), podWith(tcp(8081, 90)), "c", newSpace(t).path())
		require.ErrorContains(t, err, "host port *:8081/TCP is in use by sandbox a")
		udp := tcp(8081, 90)
		udp.Protocol = corev1.ProtocolUDP
		attach(t, n, "d", udp)

		require.NoError(t, n.Detach(t.Context(), "a"))
		e, _ := attach(t, n, "c", tcp(8080, 90))
		serve(t, e, 90)
		sees(t, outside, hostAddr+":8080", outsideAddr)
		require.NotEqual(t, addrA, netip.Addr{})
	})
}

func TestHostPortIsRefused(t *testing.T) {
	loop, six := tcp(80, 80), tcp(80, 80)
	loop.HostIP, six.HostIP = "127.0.0.1", "fd00::1"
	bad, twice := tcp(80, 80), []corev1.ContainerPort{tcp(80, 80), tcp(80, 81)}
	bad.Protocol = "ICMP"
	for want, ports := range map[string][]corev1.ContainerPort{
		"route_localnet": {loop}, "only IPv4": {six}, "TCP, UDP or SCTP": {bad}, "two ports": twice, "1 to 65535": {tcp(70000, 80)},
	} {
		_, err := portsOf(podWith(ports...))
		require.ErrorContains(t, err, want)
	}
}

// A neighbour of the host, or a pod, gets nothing of what listens on 127.0.0.1 (CVE-2020-8558). The last packet of
// each, to an address of the host, shows that the way is open.
func TestLoopbackStaysPrivate(t *testing.T) {
	host, outside := newHost(t)
	n := start(t, configOf(host, Routed))
	a, addr := attach(t, n, "a", tcp(8080, 80))
	for _, line := range state(t, host) {
		require.NotContains(t, line, "route_localnet 1")
	}
	for _, from := range []struct {
		space *space
		src   net.IP
		to    net.HardwareAddr
		link  string
	}{{outside, net.ParseIP(outsideAddr), linkMAC(t, host, "up"), "up"}, {a, addr.AsSlice(), hostMAC(), "eth0"}} {
		l := listenUDP(t, host)
		private := packetOf(from.src, net.IPv4(127, 0, 0, 1), "private")
		sendFrame(t, from.space, private, linkMAC(t, from.space, from.link), from.to, unix.ETH_P_IP, from.link)
		sendRaw(t, from.space, from.src, net.ParseIP(hostAddr), from.to, from.link)
		require.Equal(t, from.src.String(), receive(t, l))
	}
}

func TestAttachWaitsForRange(t *testing.T) {
	host, _ := newHost(t)
	n := start(t, Config{Host: host.path()})
	s := newSpace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := n.Attach(ctx, nil, "a", s.path())
	require.ErrorContains(t, err, "attach sandbox a: the node has no pod range yet (Node.spec.podCIDRs): context canceled")
	got := make(chan error)
	go func() {
		_, err := n.Attach(t.Context(), nil, "a", s.path())
		got <- err
	}()
	require.NoError(t, n.SetRanges([]netip.Prefix{podRange}, nil))
	require.NoError(t, <-got)

	require.NoError(t, n.SetRanges([]netip.Prefix{netip.MustParsePrefix("10.9.0.0/30")}, nil))
	_, addr := attach(t, n, "b")
	require.Equal(t, "10.9.0.2", addr.String())
	_, err = n.Attach(t.Context(), nil, "c", newSpace(t).path())
	require.ErrorContains(t, err, "no free address in [10.9.0.0/30]: 2 are in use")
}

func TestAttachAgain(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		n := start(t, configOf(host, mode))
		serve(t, outside, 80)
		s, addr := attach(t, n, "a", tcp(80, 80))
		for range 2 {
			again, err := n.Attach(t.Context(), podWith(tcp(80, 80)), "a", s.path())
			require.NoError(t, err)
			require.Equal(t, []netip.Addr{addr}, again)
		}
		other := newSpace(t) // the same sandbox, in a namespace that was made anew
		moved, err := n.Attach(t.Context(), podWith(tcp(80, 80)), "a", other.path())
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{addr}, moved)
		sees(t, other, outsideAddr+":80", hostAddr)
		require.Len(t, podLinks(t, host), 1)

		_, err = n.Attach(t.Context(), nil, "b", other.path())
		require.ErrorContains(t, err, "has a link eth0 already")
		_, err = n.Attach(t.Context(), nil, "b", "/nowhere")
		require.ErrorContains(t, err, "attach sandbox b: open network namespace")
		_, err = n.Attach(t.Context(), nil, "b c", other.path())
		require.ErrorContains(t, err, "without blanks")
		require.Len(t, n.pool.owner, 1)
	})
}

func TestDetach(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		before := state(t, host)
		n := start(t, configOf(host, mode))
		idle := state(t, host)
		serve(t, outside, 80)
		s, _ := attach(t, n, "a")
		gone, _ := attach(t, n, "gone")
		sees(t, s, outsideAddr+":80", hostAddr)
		gone.end() // the namespace first
		require.NoError(t, n.Detach(t.Context(), "gone"))
		require.NoError(t, n.Detach(t.Context(), "a"))
		require.NoError(t, n.Detach(t.Context(), "a"))
		require.NoError(t, n.Detach(t.Context(), "never"))
		_, err := ask(s, outsideAddr+":80", 200*time.Millisecond)
		require.Error(t, err)
		require.Empty(t, n.pool.owner)

		again, err := n.Attach(t.Context(), nil, "a", s.path())
		require.NoError(t, err)
		require.NotEmpty(t, again)
		sees(t, s, outsideAddr+":80", hostAddr)
		require.NoError(t, n.Keep(t.Context(), nil))
		require.Equal(t, idle, state(t, host))
		attach(t, n, "last", tcp(80, 80))
		require.NoError(t, n.Remove(t.Context()))
		require.Equal(t, before, state(t, host))
		require.ErrorIs(t, n.Detach(t.Context(), "a"), net.ErrClosed)
	})
}

// A new Network finds all that the last one left, and pods go on meanwhile.
func TestTakeOver(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		before := state(t, host)
		n := start(t, configOf(host, mode))
		a, addrA := attach(t, n, "a", tcp(8080, 80))
		b, addrB := attach(t, n, "b")
		serve(t, a, 80)
		require.NoError(t, n.Close())
		require.NoError(t, n.Close())
		sees(t, outside, hostAddr+":8080", outsideAddr)
		sees(t, b, addrA.String()+":80", addrB.String())

		n = start(t, configOf(host, mode))
		_, err := n.Attach(t.Context(), podWith(tcp(8080, 81)), "c", newSpace(t).path())
		require.ErrorContains(t, err, "in use by sandbox a")
		_, addrC := attach(t, n, "c")
		require.NotContains(t, []netip.Addr{addrA, addrB}, addrC)
		require.NoError(t, n.Keep(t.Context(), []string{"a", "c"}))
		require.Len(t, podLinks(t, host), 2)
		sees(t, outside, hostAddr+":8080", outsideAddr)
		require.NoError(t, n.Remove(t.Context()))
		require.Equal(t, before, state(t, host))
	})
}

// Two networks in one namespace leave each other alone, and the last one puts forwarding back.
func TestTwoNetworks(t *testing.T) {
	host, outside := newHost(t)
	before := state(t, host)
	one := start(t, configOf(host, Routed))
	two := start(t, Config{Host: host.path(), Prefix: "bq", Protocol: 91, Ranges: []netip.Prefix{netip.MustParsePrefix("10.245.0.0/24")}})
	serve(t, outside, 80)
	attach(t, one, "a")
	b, addr := attach(t, two, "a")
	require.Equal(t, "10.245.0.2", addr.String())
	require.NoError(t, one.Remove(t.Context()))
	sees(t, b, outsideAddr+":80", hostAddr)
	require.NoError(t, two.Remove(t.Context()))
	require.Equal(t, before, state(t, host))
}

func TestAttachAtOnce(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, _ := newHost(t)
		n := start(t, configOf(host, mode))
		var wg sync.WaitGroup
		got := make([]netip.Addr, 30)
		for i := range got {
			s := newSpace(t)
			wg.Go(func() {
				addrs, err := n.Attach(t.Context(), podWith(tcp(int32(1000+i), 80)), fmt.Sprint("s", i), s.path())
				if err == nil {
					got[i] = addrs[0]
				}
			})
		}
		wg.Wait()
		seen := map[netip.Addr]bool{}
		for i, a := range got {
			require.True(t, a.IsValid(), i)
			require.False(t, seen[a])
			seen[a] = true
		}
		for i := range got {
			wg.Go(func() {
				if n.Detach(t.Context(), fmt.Sprint("s", i)) == nil {
					got[i] = netip.Addr{}
				}
			})
		}
		wg.Wait()
		require.Equal(t, make([]netip.Addr, 30), got)
		require.NoError(t, n.Close())
		require.Empty(t, podLinks(t, host))
	})
}

// An address that somebody else routes is not given out.
func TestForeignRoute(t *testing.T) {
	host, _ := newHost(t)
	n := start(t, configOf(host, Routed))
	l, err := host.h.LinkByName("up")
	require.NoError(t, err)
	foreign := netip.MustParseAddr("10.244.3.2")
	require.NoError(t, host.h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: hostNet(foreign), Scope: netlink.SCOPE_LINK}))
	_, addr := attach(t, n, "a", tcp(80, 80))
	require.Equal(t, "10.244.3.3", addr.String())
	require.NoError(t, n.Detach(t.Context(), "a"))
}

// TestInUse: a range that somebody else routes is refused; netplug's own routes are no use by others.
func TestInUse(t *testing.T) {
	host, _ := newHost(t)
	c := configOf(host, Routed)
	n := start(t, c)
	_, addr := attach(t, n, "a", tcp(80, 80))
	wide := netip.MustParsePrefix("10.244.0.0/16")
	require.True(t, wide.Contains(addr))
	require.NoError(t, InUse(c, []netip.Prefix{wide}))
	l, err := host.h.LinkByName("up")
	require.NoError(t, err)
	foreign := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: hostNet(netip.MustParseAddr("10.244.9.9")), Scope: netlink.SCOPE_LINK}
	require.NoError(t, host.h.RouteAdd(foreign))
	require.ErrorContains(t, InUse(c, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), wide}),
		"the range 10.244.0.0/16 is in use: up has a route to 10.244.9.9/32: choose another range")
	require.NoError(t, InUse(c, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}))
	foreign.Protocol = 93
	require.NoError(t, host.h.RouteReplace(foreign))
	require.NoError(t, InUse(c, []netip.Prefix{wide}, 93))
}

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[string]Config{
		`prefix "Bad"`:         {Prefix: "Bad"},
		"mode 7":               {Mode: 7},
		"MTU 9":                {MTU: 9},
		"route protocol 3":     {Protocol: 3},
		"at least four":        {Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31")}},
		"overlap":              {Ranges: []netip.Prefix{podRange, netip.MustParsePrefix("10.244.0.0/16")}},
		"no such file":         {Host: "/nowhere"},
		"not a valid prefix":   {NonMasquerade: []netip.Prefix{{}}},
		"open network: open n": {Host: "/nowhere"},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
}

func TestMTU(t *testing.T) {
	host, _ := newHost(t)
	up, err := host.h.LinkByName("up")
	require.NoError(t, err)
	require.NoError(t, host.h.LinkSetMTU(up, 1400))
	c := configOf(host, Routed)
	c.Overhead = 50
	s, _ := attach(t, start(t, c), "a")
	eth0, err := s.h.LinkByName("eth0")
	require.NoError(t, err)
	require.Equal(t, 1350, eth0.Attrs().MTU)
}

func dropGuard(t *testing.T, host *space, family nftables.TableFamily) {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(host.Fd())))
	require.NoError(t, err)
	table := &nftables.Table{Name: "bp-pods", Family: family}
	c.FlushChain(&nftables.Chain{Name: "guard", Table: table})
	require.NoError(t, c.Flush())
}
