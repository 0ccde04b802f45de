package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a network namespace that lives as long as its test.
type space struct {
	t    testing.TB
	file *os.File
	link *netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	runtime.LockOSThread()
	old, err := netns.Get()
	require.NoError(t, err)
	n, err := netns.New()
	require.NoError(t, err)
	require.NoError(t, netns.Set(old)) // if not, the thread stays locked and dies
	require.NoError(t, old.Close())
	runtime.UnlockOSThread()
	link, err := netlink.NewHandleAt(n)
	require.NoError(t, err)
	s := &space{t: t, file: os.NewFile(uintptr(n), "netns"), link: link}
	t.Cleanup(func() { link.Close(); require.NoError(t, s.file.Close()) })
	lo, err := link.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, link.LinkSetUp(lo))
	return s
}

// path is by what other parts of the process can open the namespace.
func (s *space) path() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// do runs f on a thread in the namespace; sockets that f makes stay there.
func (s *space) do(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		old, err := netns.Get()
		if err != nil {
			panic(err)
		}
		defer func() { _ = old.Close() }()
		if err := netns.Set(netns.NsHandle(s.file.Fd())); err != nil {
			panic(err)
		}
		f()
		if netns.Set(old) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}

func (s *space) addr(link, cidr string) {
	s.t.Helper()
	l, err := s.link.LinkByName(link)
	require.NoError(s.t, err)
	if cidr != "" {
		a, err := netlink.ParseAddr(cidr)
		require.NoError(s.t, err)
		require.NoError(s.t, s.link.AddrAdd(l, a))
	}
	require.NoError(s.t, s.link.LinkSetUp(l))
}

func (s *space) route(link, dst, via string) {
	s.t.Helper()
	l, err := s.link.LinkByName(link)
	require.NoError(s.t, err)
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK}
	if via != "" {
		r.Gw, r.Flags, r.Scope = net.ParseIP(via), int(netlink.FLAG_ONLINK), netlink.SCOPE_UNIVERSE
	}
	_, r.Dst, err = net.ParseCIDR(dst)
	require.NoError(s.t, err)
	require.NoError(s.t, s.link.RouteAdd(r))
}

// lab is a host in a namespace, with pods, and a client outside.
type lab struct {
	t             testing.TB
	host, outside *space
	node          Node
	e             *engine
	pods          int
}

const (
	hostIP    = "192.168.7.1"
	outsideIP = "192.168.7.2"
	vip       = "10.96.0.10"
)

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, host: newSpace(t), outside: newSpace(t)}
	l.node = Node{Name: "here", Addresses: []netip.Addr{netip.MustParseAddr(hostIP)}}
	l.wire("up", l.outside)
	l.host.addr("up", hostIP+"/24")
	l.outside.addr("eth0", outsideIP+"/24")
	l.host.do(func() {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	})
	l.e = l.engine()
	return l
}

// wire joins the host's link of a name with eth0 of s.
func (l *lab) wire(name string, s *space) {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	require.NoError(l.t, l.host.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.file.Fd())}))
}

// pod is a namespace with an address of the pod range, routed by the host.
func (l *lab) pod() (*space, netip.Addr) {
	l.t.Helper()
	l.pods++
	ip := netip.AddrFrom4([4]byte{10, 244, 0, byte(l.pods)})
	s, name := newSpace(l.t), fmt.Sprintf("pod%d", l.pods)
	l.wire(name, s)
	l.host.addr(name, "")
	s.addr("eth0", ip.String()+"/32")
	out, err := l.host.link.LinkByName(name)
	require.NoError(l.t, err)
	in, err := s.link.LinkByName("eth0")
	require.NoError(l.t, err)
	require.NoError(l.t, s.link.NeighAdd(&netlink.Neigh{LinkIndex: in.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.IPv4(169, 254, 1, 1), HardwareAddr: out.Attrs().HardwareAddr}))
	s.route("eth0", "0.0.0.0/0", "169.254.1.1")
	l.host.route(name, ip.String()+"/32", "")
	return s, ip
}

func (l *lab) config() Config {
	c := Config{Node: l.node, Namespace: l.host.path(), PodRanges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceRanges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}
	c.setDefaults()
	return c
}

func (l *lab) engine() *engine {
	l.t.Helper()
	c := l.config()
	h, err := openHost(c.Namespace, c.Table, c.layout())
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, h.close()) })
	return &engine{host: h, rules: newRuleSet(), ranges: c.ServiceRanges, source: l.node.Addresses,
		cut: func(f flows) { require.NoError(l.t, h.cut(f)) }}
}

// set replaces a service.
func (l *lab) set(s *corev1.Service, eps ...discoveryv1.Endpoint) {
	l.t.Helper()
	_, err := l.e.apply(map[string][]ServicePort{s.Namespace + "/" + s.Name: Compile(l.node, s, sliceOf(s, eps...))})
	require.NoError(l.t, err)
}

// service has the port 80 for TCP and UDP at vip.
func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: vip, ClusterIPs: []string{vip}, Type: corev1.ServiceTypeNodePort,
		Ports: []corev1.ServicePort{{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}, {Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, NodePort: 30080}},
	}}
	for _, f := range change {
		f(s)
	}
	return s
}

// sliceOf leads all ports of a service to port 8080.
func sliceOf(s *corev1.Service, eps ...discoveryv1.Endpoint) []*discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + "-1",
		Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}}, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: eps}
	for _, p := range s.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: new(int32(8080))})
	}
	return []*discoveryv1.EndpointSlice{slice}
}

func at(node string, ips ...netip.Addr) (eps []discoveryv1.Endpoint) {
	for _, ip := range ips {
		eps = append(eps, discoveryv1.Endpoint{Addresses: []string{ip.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return eps
}

// serve answers at port 8080 of a namespace until the test ends: one line "name source", then what comes back.
func (s *space) serve(name string) {
	s.t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	s.do(func() {
		var err error
		tcp, err = net.Listen("tcp4", ":8080")
		require.NoError(s.t, err)
		udp, err = net.ListenPacket("udp4", ":8080")
		require.NoError(s.t, err)
	})
	s.t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = fmt.Fprintf(c, "%s %s\n", name, host)
				_, _ = bufio.NewReader(c).WriteTo(c)
			}()
		}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = udp.WriteTo([]byte(name+" "+host+"\n"), from)
		}
	}()
}

// dial connects from the namespace.
func (s *space) dial(network, to string, patience time.Duration) (c net.Conn, err error) {
	s.do(func() {
		d := net.Dialer{Timeout: patience}
		c, err = d.DialContext(context.Background(), network, to)
	})
	return c, err
}

// greet reads the line that a server sends.
func greet(c net.Conn, patience time.Duration) (name, source string, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", "", err
	}
	if c.LocalAddr().Network() == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return "", "", err
		}
	}
	b := make([]byte, 256)
	n, err := c.Read(b)
	if err != nil {
		return "", "", err
	}
	name, source, _ = strings.Cut(strings.TrimSpace(string(b[:n])), " ")
	return name, source, nil
}

const long = 30 * time.Second

// ask makes one connection and says who answered, and what source it saw.
func (s *space) ask(network, to string) (name, source string) {
	s.t.Helper()
	name, source, err := s.try(network, to, long)
	require.NoError(s.t, err)
	return name, source
}

func (s *space) try(network, to string, patience time.Duration) (name, source string, err error) {
	c, err := s.dial(network, to, patience)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	return greet(c, patience)
}
