package proxy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bedplate/bedplate/netplug/proxy"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var node = proxy.Node{Name: "a", Zone: "z1", Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.1")},
	ExternalIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}

func web(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	if change != nil {
		change(s)
	}
	return s
}

// ep is an endpoint: r ready, s serving, t terminating, x none of these.
func ep(ip, node, state string, hints ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node}
	has := func(c rune) *bool {
		for _, s := range state {
			if s == c {
				return new(true)
			}
		}
		return new(false)
	}
	if state != "" {
		e.Conditions = discoveryv1.EndpointConditions{Ready: has('r'), Serving: has('s'), Terminating: has('t')}
	}
	for _, h := range hints {
		if e.Hints == nil {
			e.Hints = &discoveryv1.EndpointHints{}
		}
		if h[0] == 'z' {
			e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: h})
		} else {
			e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: h})
		}
	}
	return e
}

func slice(eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: eps,
		Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}}
}

func TestEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		eps            []discoveryv1.Endpoint
		cluster, local []string
		serving        int
	}{
		"none":                         {},
		"conditions that nobody wrote": {[]discoveryv1.Endpoint{ep("10.0.0.1", "a", "")}, []string{"10.0.0.1"}, []string{"10.0.0.1"}, 1},
		"ready alone": {[]discoveryv1.Endpoint{ep("10.0.0.1", "a", "rs"), ep("10.0.0.2", "b", "rs"), ep("10.0.0.3", "a", "st"), ep("10.0.0.4", "a", "x")},
			[]string{"10.0.0.1", "10.0.0.2"}, []string{"10.0.0.1"}, 3},
		"terminating where none is ready": {[]discoveryv1.Endpoint{ep("10.0.0.1", "a", "st"), ep("10.0.0.2", "b", "t"), ep("10.0.0.3", "b", "s")},
			[]string{"10.0.0.1"}, []string{"10.0.0.1"}, 2},
		"terminating here where none is ready here": {[]discoveryv1.Endpoint{ep("10.0.0.1", "a", "st"), ep("10.0.0.2", "b", "rs")},
			[]string{"10.0.0.2"}, []string{"10.0.0.1"}, 2},
		"hints for the zone":      {[]discoveryv1.Endpoint{ep("10.0.0.1", "b", "rs", "z1"), ep("10.0.0.2", "b", "rs", "z2")}, []string{"10.0.0.1"}, nil, 2},
		"hints for the node":      {[]discoveryv1.Endpoint{ep("10.0.0.1", "b", "rs", "z1", "b"), ep("10.0.0.2", "a", "rs", "z2", "a")}, []string{"10.0.0.2"}, []string{"10.0.0.2"}, 2},
		"hints that one lacks":    {[]discoveryv1.Endpoint{ep("10.0.0.1", "b", "rs", "z1"), ep("10.0.0.2", "b", "rs")}, []string{"10.0.0.1", "10.0.0.2"}, nil, 2},
		"hints for others":        {[]discoveryv1.Endpoint{ep("10.0.0.1", "b", "rs", "z2"), ep("10.0.0.2", "b", "rs", "z3")}, []string{"10.0.0.1", "10.0.0.2"}, nil, 2},
		"addresses to stay clear": {[]discoveryv1.Endpoint{ep("127.0.0.1", "a", "rs"), ep("169.254.169.254", "a", "rs"), ep("224.0.0.1", "a", "rs"), ep("0.0.0.0", "a", "rs"), ep("fe80::1", "a", "rs"), ep("no", "a", "rs")}, nil, nil, 0},
		"twice":                   {[]discoveryv1.Endpoint{ep("10.0.0.1", "a", "x"), ep("10.0.0.1", "a", "rs")}, []string{"10.0.0.1"}, []string{"10.0.0.1"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := proxy.Compile(node, web(nil), []*discoveryv1.EndpointSlice{slice(c.eps...)})
			require.Len(t, got, 1)
			require.Equal(t, "10.96.0.1:80/TCP", got[0].Internal.String())
			require.Equal(t, c.cluster, hosts(got[0].Cluster))
			require.Equal(t, c.local, hosts(got[0].Local))
			require.Len(t, got[0].Serving, c.serving)
		})
	}
}

func hosts(all []netip.AddrPort) (names []string) {
	for _, at := range all {
		names = append(names, at.Addr().String())
	}
	return names
}

func TestFrontends(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*corev1.Service)
		external []string
	}{
		"cluster IP alone": {nil, nil},
		"node port":        {func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }, []string{"192.168.0.1:30080/TCP"}},
		"load balancer": {func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.1"}, {IP: "198.51.100.2", IPMode: new(corev1.LoadBalancerIPModeProxy)}, {Hostname: "x"}}
		}, []string{"198.51.100.1:80/TCP"}},
		"load balancer with source ranges": {func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"10.0.0.0/8"}
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.1"}}
		}, nil},
		"external IPs": {func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"203.0.113.9", "8.8.8.8", "127.0.0.1", "203.0.113.9"}
		}, []string{"203.0.113.9:80/TCP"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := proxy.Compile(node, web(c.change), nil)
			require.Len(t, got, 1)
			var external []string
			for _, x := range got[0].External {
				external = append(external, x.String())
			}
			require.Equal(t, c.external, external)
		})
	}
}

func TestNotServed(t *testing.T) {
	for name, change := range map[string]func(*corev1.Service){
		"headless":      func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone },
		"external name": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"no address":    func(s *corev1.Service) { s.Spec.ClusterIP = "" },
		"IPv6 alone":    func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"fd00::1"} },
		"another's":     func(s *corev1.Service) { s.Labels = map[string]string{proxy.ProxyNameLabel: "other"} },
		"loopback":      func(s *corev1.Service) { s.Spec.ClusterIP = "127.0.0.1" },
	} {
		t.Run(name, func(t *testing.T) { require.Empty(t, proxy.Compile(node, web(change), nil)) })
	}
}

func TestPorts(t *testing.T) {
	s := web(func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{"fd00::1", "10.96.0.1"}
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "s", Port: 1, Protocol: corev1.ProtocolSCTP}, {Name: "x", Port: 2, Protocol: "X"}}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	})
	one := slice(ep("10.0.0.1", "a", "rs"))
	one.Ports = append(one.Ports, discoveryv1.EndpointPort{Name: new("dns"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(5353))},
		discoveryv1.EndpointPort{Name: new("s"), Port: new(int32(1))}) // of the wrong protocol
	got := proxy.Compile(node, s, []*discoveryv1.EndpointSlice{one, {AddressType: discoveryv1.AddressTypeIPv6}})
	require.Len(t, got, 3)
	require.Equal(t, uint16(8080), got[0].Cluster[0].Port())
	require.Equal(t, uint16(5353), got[1].Cluster[0].Port())
	require.Empty(t, got[2].Cluster)
	require.Equal(t, 3*time.Hour, got[0].Affinity)
}
