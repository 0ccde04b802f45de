//go:build linux

package netplug

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(otherEnv); what != "" {
		if err := otherProcess(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// space is a network namespace that ends with its test.
type space struct {
	*os.File
	h *netlink.Handle
}

func (s *space) path() string { return fmt.Sprintf("/proc/self/fd/%d", s.Fd()) }

// end lets the kernel remove the namespace.
func (s *space) end() {
	s.h.Close()
	s.File.Close()
}

func newSpace(t testing.TB) *space {
	t.Helper()
	var f *os.File
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	require.NoError(t, <-done)
	h, err := handleIn(f)
	require.NoError(t, err)
	s := &space{f, h}
	t.Cleanup(s.end)
	lo, err := h.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, h.LinkSetUp(lo))
	return s
}

// join connects two spaces by a pair of links with an address each.
func join(t testing.TB, a, b *space, name string, addrA, addrB string) {
	t.Helper()
	v := netlink.NewVeth(netlink.LinkAttrs{Name: name, Flags: net.FlagUp})
	v.PeerName, v.PeerNamespace = name, netlink.NsFd(int(b.Fd()))
	require.NoError(t, a.h.LinkAdd(v))
	for s, text := range map[*space]string{a: addrA, b: addrB} {
		l, err := s.h.LinkByName(name)
		require.NoError(t, err)
		require.NoError(t, s.h.AddrAdd(l, &netlink.Addr{IPNet: netOf(netip.MustParsePrefix(text))}))
		require.NoError(t, s.h.LinkSetUp(l))
	}
}

func defaultVia(t testing.TB, s *space, via string) {
	t.Helper()
	require.NoError(t, s.h.RouteAdd(&netlink.Route{Dst: netOf(netip.MustParsePrefix("0.0.0.0/0")), Gw: net.ParseIP(via)}))
}

const (
	hostAddr    = "192.168.7.1"
	outsideAddr = "192.168.7.2"
)

// newHost is a node with an uplink to an outside that knows nothing of pods.
func newHost(t testing.TB) (host, outside *space) {
	host, outside = newSpace(t), newSpace(t)
	join(t, host, outside, "up", hostAddr+"/24", outsideAddr+"/24")
	defaultVia(t, host, outsideAddr)
	return host, outside
}

var podRange = netip.MustParsePrefix("10.244.3.0/24")

func configOf(host *space, mode Mode) Config {
	return Config{Host: host.path(), Ranges: []netip.Prefix{podRange}, Mode: mode}
}

func start(t testing.TB, c Config) *Network {
	t.Helper()
	n, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// attach makes a namespace and connects it.
func attach(t testing.TB, n *Network, id string, ports ...corev1.ContainerPort) (*space, netip.Addr) {
	t.Helper()
	s := newSpace(t)
	addrs, err := n.Attach(t.Context(), podWith(ports...), id, s.path())
	require.NoError(t, err)
	require.Len(t, addrs, 1)
	return s, addrs[0]
}

func podWith(ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: ports}}}}
}

// within runs fn on a thread inside the space.
func within(t testing.TB, s *space, fn func() error) {
	t.Helper()
	require.NoError(t, inside(s.File, fn))
}

// serve answers every connection with the address that it came from.
func serve(t testing.TB, s *space, port int) {
	t.Helper()
	var l net.Listener
	within(t, s, func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	})
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

// ask connects and returns the address that the server saw.
func ask(s *space, address string, timeout time.Duration) (seen string, err error) {
	var c net.Conn
	err = inside(s.File, func() (err error) {
		d := net.Dialer{Timeout: timeout}
		c, err = d.Dial("tcp4", address)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// sees asks, and requires what the server saw.
func sees(t testing.TB, from *space, address, want string) {
	t.Helper()
	seen, err := ask(from, address, 30*time.Second)
	require.NoError(t, err)
	require.Equal(t, want, seen)
}

// state lists all that a host's namespace has.
func state(t testing.TB, s *space) []string {
	t.Helper()
	var out []string
	links, err := again(s.h.LinkList)
	require.NoError(t, err)
	for _, l := range links {
		out = append(out, "link "+l.Attrs().Name)
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return s.h.AddrList(nil, netlink.FAMILY_V4) })
	require.NoError(t, err)
	for _, a := range addrs {
		out = append(out, "address "+a.String())
	}
	routes, err := again(func() ([]netlink.Route, error) { // of all tables
		return s.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	require.NoError(t, err)
	for _, r := range routes {
		out = append(out, "route "+r.String())
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(s.Fd())))
	require.NoError(t, err)
	tables, err := c.ListTables()
	require.NoError(t, err)
	for _, table := range tables {
		out = append(out, fmt.Sprint("table ", table.Family, table.Name))
	}
	within(t, s, func() error {
		for _, name := range []string{"ip_forward", "conf/all/accept_redirects", "conf/all/send_redirects", "conf/all/rp_filter", "conf/all/route_localnet", "conf/default/forwarding", "conf/lo/forwarding"} {
			b, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
			if err != nil {
				return err
			}
			out = append(out, "sysctl "+name+" "+strings.TrimSpace(string(b)))
		}
		return nil
	})
	slices.Sort(out)
	return out
}

// hardened is a host that takes no ICMP redirects, which switching forwarding on and off changes by itself.
func hardened(t testing.TB, s *space) {
	t.Helper()
	within(t, s, func() error { return os.WriteFile(redirectsPath, []byte("0"), 0) })
}

// podLinks are the names of the pods' links.
func podLinks(t testing.TB, s *space) (names []string) {
	t.Helper()
	links, err := again(s.h.LinkList)
	require.NoError(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "bp-") {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

func tcp(host, container int32) corev1.ContainerPort {
	return corev1.ContainerPort{HostPort: host, ContainerPort: container}
}
