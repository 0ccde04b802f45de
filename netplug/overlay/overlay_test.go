//go:build linux

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/reconcile/informer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a network namespace that ends with its test.
type space struct {
	*os.File
	h *netlink.Handle
}

func (s *space) path() string { return fmt.Sprintf("/proc/self/fd/%d", s.Fd()) }

func newSpace(t testing.TB) *space {
	t.Helper()
	var f *os.File
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	require.NoError(t, <-done)
	h, err := handleIn(f)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close(); f.Close() })
	return &space{f, h}
}

// within runs fn on a thread of its own that is in the space.
func within(s *space, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Setns(int(s.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// wire connects hosts by a bridge in a space of its own, host n having 192.168.7.n.
func wire(t testing.TB, hosts ...*space) {
	t.Helper()
	lan := newSpace(t)
	require.NoError(t, lan.h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}))
	br, err := lan.h.LinkByName("br")
	require.NoError(t, err)
	require.NoError(t, lan.h.LinkSetUp(br))
	for n, host := range hosts {
		v := netlink.NewVeth(netlink.LinkAttrs{Name: fmt.Sprint("h", n), Flags: net.FlagUp, MasterIndex: br.Attrs().Index})
		v.PeerName, v.PeerNamespace = "up", netlink.NsFd(int(host.Fd()))
		require.NoError(t, lan.h.LinkAdd(v))
		for name, address := range map[string]string{"up": fmt.Sprintf("192.168.7.%d/24", n+1), "lo": ""} {
			l, err := host.h.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, host.h.LinkSetUp(l))
			if address != "" {
				require.NoError(t, host.h.AddrAdd(l, &netlink.Addr{IPNet: netOf(netip.MustParsePrefix(address))}))
			}
		}
		_, err = lan.h.LinkByName(v.Name) // the kernel takes notice that it is up
		require.NoError(t, err)
	}
}

// cluster is an API with Nodes.
type cluster struct {
	nodes client.Resource[*corev1.Node]
	cache *informer.Informer[*corev1.Node]
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	env := clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{core.Nodes()}})
	c := &cluster{nodes: client.For[*corev1.Node](env.Client)}
	var err error
	c.cache, err = informer.New(c.nodes, informer.Config[*corev1.Node]{})
	require.NoError(t, err)
	background(t, c.cache.Run)
	return c
}

// background runs something until the test ends.
func background(t testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
}

// add creates a Node with its addresses, and its ranges if there are any.
func (c *cluster) add(t testing.TB, name, address string, ranges ...string) {
	t.Helper()
	n := node(name, address, ranges...)
	made, err := c.nodes.Create(t.Context(), n)
	require.NoError(t, err)
	made.Status = n.Status
	_, err = client.Sub[corev1.Node](c.nodes, "status").Update(t.Context(), "", name, made)
	require.NoError(t, err)
}

// overlayOf runs the overlay of a node. synced tells of each round.
func overlayOf(t testing.TB, c Config) *Overlay {
	t.Helper()
	o, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	background(t, o.Run)
	return o
}

// gets waits until a space has such routes with our protocol.
func gets(t testing.TB, s *space, want ...string) {
	t.Helper()
	updates, stop := make(chan netlink.RouteUpdate, 100), make(chan struct{})
	require.NoError(t, within(s, func() error { return netlink.RouteSubscribe(updates, stop) }))
	defer func() {
		close(stop)
		for range updates { //nolint:revive // until the subscription has ended
		}
	}()
	deadline := time.After(30 * time.Second)
	for {
		have := routesIn(t, s)
		if slices.Equal(have, want) {
			return
		}
		select {
		case <-updates:
		case <-deadline:
			require.Equal(t, want, have)
		}
	}
}

func routesIn(t testing.TB, s *space) []string {
	list, err := s.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: 93}, netlink.RT_FILTER_PROTOCOL)
	require.NoError(t, err)
	out := []string{}
	for _, r := range list {
		out = append(out, r.Dst.String()+" "+r.Gw.String())
	}
	slices.Sort(out)
	return out
}

func links(t testing.TB, s *space) (out []string) {
	list, err := s.h.LinkList()
	require.NoError(t, err)
	for _, l := range list {
		out = append(out, l.Attrs().Name)
	}
	return out
}

// Pods on two nodes reach each other under their own addresses, by routes and through a tunnel, and the ranges come
// to netplug by the Nodes.
func TestPodsOnTwoNodes(t *testing.T) {
	for name, mode := range map[string]Mode{"routes": Routes, "vxlan": VXLAN} {
		t.Run(name, func(t *testing.T) {
			hosts := []*space{newSpace(t), newSpace(t)}
			wire(t, hosts...)
			api := newCluster(t)
			var pods []*space
			var addrs []netip.Addr
			var overlays []*Overlay
			before := links(t, hosts[0])
			for n, host := range hosts {
				overhead := 0
				if mode == VXLAN {
					overhead = VXLANOverhead
				}
				network, err := netplug.New(netplug.Config{Host: host.path(), Overhead: overhead})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, network.Remove(context.Background())) })
				overlays = append(overlays, overlayOf(t, Config{Node: fmt.Sprint("n", n), Nodes: api.cache, Host: host.path(), Mode: mode, Ranges: network.SetRanges}))
				api.add(t, fmt.Sprint("n", n), fmt.Sprintf("192.168.7.%d", n+1), fmt.Sprintf("10.1.%d.0/24", n+1))
				pod := newSpace(t)
				a, err := network.Attach(t.Context(), nil, "a", pod.path())
				require.NoError(t, err)
				pods, addrs = append(pods, pod), append(addrs, a[0])
			}
			via := map[Mode][]string{Routes: {"10.1.2.0/24 192.168.7.2", "10.1.1.0/24 192.168.7.1"}, VXLAN: {"10.1.2.0/24 10.1.2.0", "10.1.1.0/24 10.1.1.0"}}[mode]
			for n, host := range hosts {
				gets(t, host, via[n])
			}
			serve(t, pods[1])
			for from, want := range map[*space]string{pods[0]: addrs[0].String(), hosts[0]: map[Mode]string{Routes: "192.168.7.1", VXLAN: "10.1.1.0"}[mode]} {
				require.Equal(t, want, ask(t, from, netip.AddrPortFrom(addrs[1], 80)))
			}
			require.NoError(t, api.nodes.Delete(t.Context(), "", "n1"))
			gets(t, hosts[0])
			require.NoError(t, overlays[0].c.Ranges(nil, nil))
			for _, l := range links(t, hosts[0]) {
				require.True(t, slices.Contains(before, l) || l == "bpvx" && mode == VXLAN || l[:3] == "bp-", l)
			}
		})
	}
}

func serve(t testing.TB, s *space) {
	var l net.Listener
	require.NoError(t, within(s, func() (err error) { l, err = net.Listen("tcp4", "0.0.0.0:80"); return err }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, host)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func ask(t testing.TB, from *space, to netip.AddrPort) string {
	t.Helper()
	var b []byte
	require.NoError(t, within(from, func() error {
		c, err := (&net.Dialer{Timeout: 30 * time.Second}).Dial("tcp4", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		b, err = io.ReadAll(c)
		return err
	}))
	return string(b)
}

// A round brings the kernel to the plan from any state, leaves foreign routes alone, and Remove takes all away.
func TestDifference(t *testing.T) {
	for name, mode := range map[string]Mode{"routes": Routes, "vxlan": VXLAN} {
		t.Run(name, func(t *testing.T) {
			host := newSpace(t)
			wire(t, host)
			before := links(t, host)
			c := Config{Node: "a", Nodes: newCluster(t).cache, Host: host.path(), Mode: mode}
			o, err := New(c)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, o.Close()) })
			foreign := &netlink.Route{Dst: netOf(prefix("10.9.0.0/24")), Gw: net.IPv4(192, 168, 7, 9), Protocol: 4}
			require.NoError(t, host.h.RouteAdd(foreign))
			a := node("a", "192.168.7.1", "10.1.1.0/24")
			plan := func(nodes ...*corev1.Node) Desired { return Plan("a", append(nodes, a), mode) }
			for _, nodes := range [][]*corev1.Node{
				{node("b", "192.168.7.2", "10.1.2.0/24"), node("c", "192.168.7.3", "10.1.3.0/24")},
				{node("b", "192.168.7.4", "10.1.2.0/24")}, // another address
				{node("b", "192.168.7.4", "10.1.5.0/24")}, // another range
				{},
				{node("c", "192.168.7.3", "10.1.3.0/24")},
			} {
				d := plan(nodes...)
				for range 2 {
					require.NoError(t, o.k.apply(d))
					want := []string{}
					for _, r := range d.Routes {
						want = append(want, r.To.String()+" "+r.Via.String())
					}
					require.Equal(t, want, routesIn(t, host))
					require.Equal(t, peersOf(d), peersIn(t, host))
				}
			}
			taken := plan(node("z", "192.168.7.8", "10.9.0.0/24"))
			require.ErrorContains(t, o.k.apply(taken), "another program (route protocol 4) has one already")
			if mode == Routes {
				require.ErrorContains(t, o.k.apply(plan(node("z", "172.16.0.1", "10.7.0.0/24"))), "use VXLAN")
			}
			require.NoError(t, o.Remove())
			require.Equal(t, before, links(t, host))
			require.Empty(t, routesIn(t, host))
			list, err := host.h.RouteListFiltered(netlink.FAMILY_V4, foreign, netlink.RT_FILTER_DST)
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.ErrorIs(t, o.Remove(), errClosed)
			require.ErrorIs(t, o.sync(), errClosed)
		})
	}
}

func peersOf(d Desired) (out []string) {
	for _, p := range d.Peers {
		out = append(out, fmt.Sprint(p.Inner, " ", p.MAC), fmt.Sprint(p.Outer, " ", p.MAC))
	}
	slices.Sort(out)
	return out
}

func peersIn(t *testing.T, s *space) (out []string) {
	l, err := s.h.LinkByName("bpvx")
	if missing(err) {
		return nil
	}
	require.NoError(t, err)
	for _, family := range []int{netlink.FAMILY_V4, unix.AF_BRIDGE} {
		list, err := s.h.NeighList(l.Attrs().Index, family)
		require.NoError(t, err)
		for _, n := range list {
			if n.State&netlink.NUD_PERMANENT != 0 {
				out = append(out, n.IP.String()+" "+n.HardwareAddr.String())
			}
		}
	}
	slices.Sort(out)
	return out
}

// What can't be done is tried again until it can.
func TestTriedAgain(t *testing.T) {
	host := newSpace(t)
	wire(t, host)
	api := newCluster(t)
	calls := make(chan int, 10)
	n := 0
	overlayOf(t, Config{Node: "a", Nodes: api.cache, Host: host.path(), Ranges: func(own, _ []netip.Prefix) error {
		if len(own) == 0 {
			return nil
		}
		n++
		calls <- n
		if n < 3 {
			return errors.New("not now")
		}
		return nil
	}})
	api.add(t, "a", "192.168.7.1", "10.1.1.0/24")
	for want := range 3 {
		require.Equal(t, want+1, <-calls)
	}
}

func TestConfigIsChecked(t *testing.T) {
	cache := newCluster(t).cache
	for want, c := range map[string]Config{
		"Node and Nodes": {},
		"mode 3":         {Node: "a", Nodes: cache, Mode: 3},
		"protocol 2":     {Node: "a", Nodes: cache, Protocol: 2},
		"longer than 15": {Node: "a", Nodes: cache, Link: "a-very-long-link-name"},
		"VNI -1":         {Node: "a", Nodes: cache, VNI: -1},
		"no such file":   {Node: "a", Nodes: cache, Host: "/nowhere"},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
}
