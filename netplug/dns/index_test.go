package dns_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/netplug/dns"
)

func clusterService(namespace, name string, ips []string, ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.Ports = corev1.ServiceTypeClusterIP, ips[0], ips, ports
	return s
}

func external(namespace, name, target string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, target
	return s
}

func servicePort(name string, number int32, protocol corev1.Protocol) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, Protocol: protocol}
}

func endpointSlice(namespace, name, service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: new("web"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
}

func at(host string, ready bool, addrs ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: addrs, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if host != "" {
		e.Hostname = &host
	}
	return e
}

func podAt(namespace, name string, phase corev1.PodPhase, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Status.Phase = phase
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func newIndex(t testing.TB, c dns.IndexConfig) *dns.Index {
	c.Ranges = append(c.Ranges, netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112"))
	x, err := dns.NewIndex(c)
	require.NoError(t, err)
	return x
}

// world is an index with one of each.
func world(t testing.TB, c dns.IndexConfig) *dns.Index {
	c.Addresses = append(c.Addresses, netip.MustParseAddr("10.96.0.10"))
	x := newIndex(t, c)
	x.SetNamespace("default")
	x.SetNamespace("empty")
	x.SetService(clusterService("default", "web", []string{"10.96.0.20", "fd00:10:96::20"},
		servicePort("http", 80, corev1.ProtocolTCP), servicePort("dns", 53, corev1.ProtocolUDP), servicePort("", 99, corev1.ProtocolTCP)))
	x.SetService(clusterService("default", "db", []string{corev1.ClusterIPNone}, servicePort("web", 80, corev1.ProtocolTCP)))
	x.SetSlice(endpointSlice("default", "db-1", "db", at("db-0", true, "10.244.0.1"), at("", true, "10.244.0.2"), at("db-2", false, "10.244.0.3")))
	six := endpointSlice("default", "db-2", "db", at("db-0", true, "fd00::1"), at("", true, "2001:db8::"))
	six.AddressType = discoveryv1.AddressTypeIPv6
	x.SetSlice(six)
	x.SetService(clusterService("default", "gossip", []string{corev1.ClusterIPNone}))
	x.SetSlice(endpointSlice("default", "gossip-1", "gossip", at("", false, "10.244.0.9")))
	early := clusterService("default", "early", []string{corev1.ClusterIPNone})
	early.Spec.PublishNotReadyAddresses = true
	x.SetService(early)
	x.SetSlice(endpointSlice("default", "early-1", "early", at("a", false, "10.244.0.7")))
	x.SetService(external("default", "far", "Example.com"))
	x.SetService(external("default", "near", "web.default.svc.cluster.local"))
	x.SetPod(podAt("default", "p", corev1.PodRunning, "10.244.0.1", "fd00::1"))
	x.SetPod(podAt("default", "done", corev1.PodSucceeded, "10.244.0.5"))
	return x
}

// text is an answer in short, its records sorted.
func text(a dns.Answer) string {
	var lines []string
	for _, rr := range a.Answer {
		lines = append(lines, strings.ReplaceAll(strings.TrimPrefix(rr.String(), rr.Header().Name+"\t"), "\t", " "))
	}
	slices.Sort(lines)
	if a.Rcode != miekg.RcodeSuccess {
		lines = append(lines, miekg.RcodeToString[a.Rcode])
	}
	for _, rr := range a.Authority {
		lines = append(lines, rr.Header().Name+" SOA")
	}
	return strings.Join(lines, "; ")
}

func TestAnswers(t *testing.T) {
	const (
		nodata   = "cluster.local. SOA"
		nxdomain = "NXDOMAIN; cluster.local. SOA"
	)
	x := world(t, dns.IndexConfig{})
	tests := []struct{ name, typ, want string }{
		{"web.default.svc.cluster.local.", "A", "5 IN A 10.96.0.20"},
		{"web.default.svc.cluster.local.", "AAAA", "5 IN AAAA fd00:10:96::20"},
		{"web.default.svc.cluster.local.", "MX", nodata},
		{"web.default.svc.cluster.local.", "ANY", `5 IN HINFO "RFC8482" ""`},
		{"web.nowhere.svc.cluster.local.", "A", nxdomain},
		{"nothing.default.svc.cluster.local.", "A", nxdomain},
		{"*.default.svc.cluster.local.", "A", nxdomain},
		{"any.web.default.svc.cluster.local.", "A", nxdomain},
		{"a.b.c.web.default.svc.cluster.local.", "A", nxdomain},
		{"cluster.local.", "A", nodata},
		{"CLUSTER.local.", "NS", "5 IN NS ns.dns.cluster.local."},
		{"ns.dns.cluster.local.", "A", "5 IN A 10.96.0.10"},
		{"dns.cluster.local.", "A", nodata},
		{"svc.cluster.local.", "A", nodata},
		{"pod.cluster.local.", "A", nodata},
		{"default.svc.cluster.local.", "A", nodata},
		{"empty.svc.cluster.local.", "A", nodata},
		{"nowhere.svc.cluster.local.", "A", nxdomain},
		{"other.cluster.local.", "A", nxdomain},
		{"dns-version.cluster.local.", "TXT", `28800 IN TXT "1.1.0"`},
		{"dns-version.cluster.local.", "A", nodata},

		{"_http._tcp.web.default.svc.cluster.local.", "SRV", "5 IN SRV 0 100 80 web.default.svc.cluster.local."},
		{"_dns._udp.web.default.svc.cluster.local.", "SRV", "5 IN SRV 0 100 53 web.default.svc.cluster.local."},
		{"_http._udp.web.default.svc.cluster.local.", "SRV", nxdomain},
		{"_._tcp.web.default.svc.cluster.local.", "SRV", nxdomain},
		{"http.tcp.web.default.svc.cluster.local.", "SRV", nxdomain},
		{"_http._tcp.web.default.svc.cluster.local.", "A", nodata},
		{"_tcp.web.default.svc.cluster.local.", "A", nodata},
		{"_sctp.web.default.svc.cluster.local.", "A", nxdomain},
		{"web.default.svc.cluster.local.", "SRV", "5 IN SRV 0 33 53 web.default.svc.cluster.local.; 5 IN SRV 0 33 80 web.default.svc.cluster.local.; 5 IN SRV 0 33 99 web.default.svc.cluster.local."},

		{"db.default.svc.cluster.local.", "A", "5 IN A 10.244.0.1; 5 IN A 10.244.0.2"},
		{"db.default.svc.cluster.local.", "AAAA", "5 IN AAAA 2001:db8::; 5 IN AAAA fd00::1"},
		{"db-0.db.default.svc.cluster.local.", "A", "5 IN A 10.244.0.1"},
		{"db-0.db.default.svc.cluster.local.", "AAAA", "5 IN AAAA fd00::1"},
		{"DB-0.db.default.svc.cluster.local.", "TXT", nodata},
		{"10-244-0-2.db.default.svc.cluster.local.", "A", "5 IN A 10.244.0.2"},
		{"10-244-0-1.db.default.svc.cluster.local.", "A", nxdomain}, // it has a hostname
		{"2001-db8--0.db.default.svc.cluster.local.", "AAAA", "5 IN AAAA 2001:db8::"},
		{"db-2.db.default.svc.cluster.local.", "A", nxdomain}, // not ready
		{"_web._tcp.db.default.svc.cluster.local.", "SRV", "5 IN SRV 0 33 8080 10-244-0-2.db.default.svc.cluster.local.; 5 IN SRV 0 33 8080 2001-db8--0.db.default.svc.cluster.local.; 5 IN SRV 0 33 8080 db-0.db.default.svc.cluster.local."},
		{"gossip.default.svc.cluster.local.", "A", nxdomain},
		{"early.default.svc.cluster.local.", "A", "5 IN A 10.244.0.7"},
		{"a.early.default.svc.cluster.local.", "A", "5 IN A 10.244.0.7"},

		{"far.default.svc.cluster.local.", "A", "5 IN CNAME Example.com."},
		{"far.default.svc.cluster.local.", "CNAME", "5 IN CNAME Example.com."},
		{"x.far.default.svc.cluster.local.", "A", nxdomain},

		{"10-244-0-1.default.pod.cluster.local.", "A", "5 IN A 10.244.0.1"},
		{"10-244-0-1.default.pod.cluster.local.", "AAAA", nodata},
		{"fd00--1.default.pod.cluster.local.", "AAAA", "5 IN AAAA fd00::1"},
		{"10-244-0-1.empty.pod.cluster.local.", "A", nxdomain},
		{"10-244-0-5.default.pod.cluster.local.", "A", nxdomain},
		{"p.default.pod.cluster.local.", "A", nxdomain},

		{"20.0.96.10.in-addr.arpa.", "PTR", "5 IN PTR web.default.svc.cluster.local."},
		{"0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa.", "PTR", "5 IN PTR web.default.svc.cluster.local."},
		{"1.0.244.10.in-addr.arpa.", "PTR", "5 IN PTR db-0.db.default.svc.cluster.local."},
		{"2.0.244.10.in-addr.arpa.", "PTR", "5 IN PTR 10-244-0-2.db.default.svc.cluster.local."},
		{"3.0.244.10.in-addr.arpa.", "PTR", "NXDOMAIN; 244.10.in-addr.arpa. SOA"},
		{"7.0.244.10.in-addr.arpa.", "PTR", "5 IN PTR a.early.default.svc.cluster.local."},
		{"21.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN; 96.10.in-addr.arpa. SOA"},
		{"20.0.96.10.in-addr.arpa.", "A", "96.10.in-addr.arpa. SOA"},
		{"1.0.111.10.in-addr.arpa.", "PTR", "NXDOMAIN; 111.10.in-addr.arpa. SOA"},
		{"0.96.10.in-addr.arpa.", "PTR", "96.10.in-addr.arpa. SOA"},
		{"256.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN; 96.10.in-addr.arpa. SOA"},
		{"01.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN; 96.10.in-addr.arpa. SOA"},
		{"1.20.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN; 96.10.in-addr.arpa. SOA"},
		// outside of the ranges, but known
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", "5 IN PTR db-0.db.default.svc.cluster.local."},
	}
	for _, test := range tests {
		t.Run(test.typ+" "+test.name, func(t *testing.T) {
			for _, name := range []string{test.name, strings.ToUpper(test.name)} {
				q := miekg.Question{Name: name, Qtype: miekg.StringToType[test.typ], Qclass: miekg.ClassINET}
				a, owned := x.Answer(q)
				require.True(t, owned)
				require.Equal(t, test.want, text(a))
				for _, rr := range a.Answer {
					require.Equal(t, name, rr.Header().Name, "the case is not the question's")
				}
			}
		})
	}
}

func TestForeignNames(t *testing.T) {
	x := world(t, dns.IndexConfig{})
	for _, name := range []string{".", "local.", "example.com.", "notcluster.local.", "1.1.1.1.in-addr.arpa.", "10.in-addr.arpa.", "1.0.112.10.in-addr.arpa.", "in-addr.arpa.", "d.f.ip6.arpa.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.e.f.ip6.arpa."} {
		_, owned := x.Answer(miekg.Question{Name: name, Qtype: miekg.TypePTR, Qclass: miekg.ClassINET})
		require.False(t, owned, name)
	}
}

func TestExtraAndFollow(t *testing.T) {
	x := world(t, dns.IndexConfig{})
	a, _ := x.Answer(miekg.Question{Name: "_http._tcp.web.default.svc.cluster.local.", Qtype: miekg.TypeSRV, Qclass: miekg.ClassINET})
	require.Len(t, a.Extra, 2)
	a, _ = x.Answer(miekg.Question{Name: "cluster.local.", Qtype: miekg.TypeNS, Qclass: miekg.ClassINET})
	require.Len(t, a.Extra, 1)
	a, _ = x.Answer(miekg.Question{Name: "near.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
	require.Equal(t, "web.default.svc.cluster.local.", a.Follow)
	a, _ = x.Answer(miekg.Question{Name: "near.default.svc.cluster.local.", Qtype: miekg.TypeCNAME, Qclass: miekg.ClassINET})
	require.Empty(t, a.Follow)
	a, _ = x.Answer(miekg.Question{Name: "cluster.local.", Qtype: miekg.TypeSOA, Qclass: miekg.ClassINET})
	require.Equal(t, "ns.dns.cluster.local.", a.Answer[0].(*miekg.SOA).Ns)
	require.EqualValues(t, 5, a.Answer[0].(*miekg.SOA).Minttl)
}

func TestPodModes(t *testing.T) {
	ask := func(x *dns.Index, name string) string {
		a, _ := x.Answer(miekg.Question{Name: name, Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
		return text(a)
	}
	x := world(t, dns.IndexConfig{Pods: dns.PodsInsecure, Domain: "example.test", TTL: time.Minute})
	require.Equal(t, "60 IN A 1.2.3.4", ask(x, "1-2-3-4.default.pod.example.test."))
	require.Contains(t, ask(x, "1-2-3-4.nowhere.pod.example.test."), "NXDOMAIN")
	require.Contains(t, ask(x, "1-2-3-444.default.pod.example.test."), "NXDOMAIN")
	x = world(t, dns.IndexConfig{Pods: dns.PodsDisabled})
	require.Contains(t, ask(x, "10-244-0-1.default.pod.cluster.local."), "NXDOMAIN")
}

func TestIndexConfig(t *testing.T) {
	for _, c := range []dns.IndexConfig{{Domain: "."}, {Domain: "a..b"}, {Pods: "some"}, {TTL: -1}, {TTL: 48 * time.Hour}, {Ranges: []netip.Prefix{{}}}, {Ranges: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}} {
		_, err := dns.NewIndex(c)
		require.ErrorContains(t, err, "configure the index of names", "%+v", c)
	}
}

// TestAnyOrder changes services, slices and pods at random and compares with an index that was told the end alone.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		x := newIndex(t, dns.IndexConfig{})
		services, slices, pods := map[string]*corev1.Service{}, map[string]*discoveryv1.EndpointSlice{}, map[string]*corev1.Pod{}
		names := rapid.SampledFrom([]string{"a", "b"})
		addr := rapid.Custom(func(r *rapid.T) string { return fmt.Sprint("10.96.0.", rapid.IntRange(1, 4).Draw(r, "addr")) })
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			name := names.Draw(r, "name")
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				s := clusterService("n", name, []string{addr.Draw(r, "ip")})
				if rapid.Bool().Draw(r, "headless") {
					s.Spec.ClusterIPs = []string{"None"}
				}
				services[name] = s
				x.SetService(s)
			case 1:
				delete(services, name)
				x.DeleteService("n", name)
			case 2:
				which := names.Draw(r, "slice")
				s := endpointSlice("n", which, name, at("", rapid.Bool().Draw(r, "ready"), addr.Draw(r, "e1")), at("h", true, addr.Draw(r, "e2")))
				slices[which] = s
				x.SetSlice(s)
			case 3:
				delete(slices, name)
				x.DeleteSlice("n", name)
			case 4:
				p := podAt("n", name, corev1.PodRunning, addr.Draw(r, "pod"))
				pods[name] = p
				x.SetPod(p)
			case 5:
				delete(pods, name)
				x.DeletePod("n", name)
			}
		}
		fresh := newIndex(t, dns.IndexConfig{})
		for _, p := range pods {
			fresh.SetPod(p)
		}
		for _, s := range slices {
			fresh.SetSlice(s)
		}
		for _, s := range services {
			fresh.SetService(s)
		}
		for _, q := range []struct {
			name string
			typ  uint16
		}{
			{"a.n.svc.cluster.local.", miekg.TypeA}, {"b.n.svc.cluster.local.", miekg.TypeA}, {"h.a.n.svc.cluster.local.", miekg.TypeA},
			{"10-96-0-1.b.n.svc.cluster.local.", miekg.TypeA}, {"_web._tcp.a.n.svc.cluster.local.", miekg.TypeSRV},
			{"1.0.96.10.in-addr.arpa.", miekg.TypePTR}, {"2.0.96.10.in-addr.arpa.", miekg.TypePTR}, {"10-96-0-1.n.pod.cluster.local.", miekg.TypeA},
		} {
			question := miekg.Question{Name: q.name, Qtype: q.typ, Qclass: miekg.ClassINET}
			got, _ := x.Answer(question)
			want, _ := fresh.Answer(question)
			if text(got) != text(want) {
				r.Fatalf("%s: %s, want %s", q.name, text(got), text(want))
			}
		}
	})
}
