package serviceip_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/storage"
)

func (a *api) create(t *testing.T, s *corev1.Service, opts ...client.Option) *corev1.Service {
	t.Helper()
	out, err := a.services.Create(t.Context(), s, opts...)
	require.NoError(t, err)
	return out
}

func (a *api) update(t *testing.T, s *corev1.Service, change ...func(*corev1.Service)) *corev1.Service {
	t.Helper()
	for _, c := range change {
		c(s)
	}
	out, err := a.services.Update(t.Context(), s)
	require.NoError(t, err)
	return out
}

// held are the names of the IPAddress objects.
func (a *api) held(t testing.TB) []string {
	t.Helper()
	l, err := a.addresses.List(context.Background())
	require.NoError(t, err)
	out := []string{}
	for _, ip := range l.Items {
		out = append(out, ip.Name)
	}
	return out
}

// ports are the claims of node ports.
func ports(t testing.TB, a *api) []string {
	t.Helper()
	keys, err := rangeKeys(a, "/registry/bedplate.io/nodeports/")
	require.NoError(t, err)
	return keys
}

func TestAllocateAddress(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	s := a.create(t, service("web"))
	ip := netip.MustParseAddr(s.Spec.ClusterIP)
	require.True(t, netip.MustParsePrefix("10.96.0.0/16").Contains(ip))
	require.False(t, netip.MustParsePrefix("10.96.0.0/24").Contains(ip), "the lower part is for those who ask")
	require.Equal(t, []string{s.Spec.ClusterIP}, s.Spec.ClusterIPs)
	require.Equal(t, []corev1.IPFamily{corev1.IPv4Protocol}, s.Spec.IPFamilies)
	require.Equal(t, corev1.IPFamilyPolicySingleStack, *s.Spec.IPFamilyPolicy)

	o, err := a.addresses.Get(t.Context(), "", s.Spec.ClusterIP)
	require.NoError(t, err)
	require.Equal(t, &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "web"}, o.Spec.ParentRef)
	require.Equal(t, map[string]string{"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}, o.Labels)
	require.NotEmpty(t, o.UID)
	require.Equal(t, s.ResourceVersion, o.ResourceVersion, "one transaction")

	again := a.update(t, service("web")) // the first manifest, sent again
	require.Equal(t, s.ResourceVersion, again.ResourceVersion)

	require.NoError(t, a.services.Delete(t.Context(), "default", "web"))
	require.Empty(t, a.held(t))
}

func TestAskForAddress(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	a.create(t, service("dns", at("10.96.0.10")))
	for _, c := range []struct{ ip, why string }{
		{"10.96.0.10", `spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated`},
		{"10.97.0.1", `spec.clusterIPs: Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided network does not match the current range`},
		{"10.96.0.0", `the provided network does not match the current range`},
		{"10.96.255.255", `the provided network does not match the current range`},
		{"10.96.0", `spec.clusterIPs[0]: Invalid value: "10.96.0": must be a valid IP address`},
		{"fd00::1", `spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster`},
	} {
		for _, opts := range [][]client.Option{nil, {client.DryRun()}} {
			_, err := a.services.Create(t.Context(), service("other", at(c.ip)), opts...)
			require.True(t, apierrors.IsInvalid(err), "%s: %v", c.ip, err)
			require.ErrorContains(t, err, c.why)
		}
	}
	_, err := a.services.Create(t.Context(), service("dns", at("10.96.0.10")))
	require.True(t, apierrors.IsAlreadyExists(err), "the name comes first: %v", err)
	require.Equal(t, []string{"10.96.0.10"}, a.held(t))

	s := a.create(t, service("none", at("None")))
	require.Equal(t, []string{"None"}, s.Spec.ClusterIPs)
	require.Equal(t, []corev1.IPFamily{corev1.IPv4Protocol}, s.Spec.IPFamilies)
	s = service("bare", at("None"))
	s.Spec.Selector = nil
	s = a.create(t, s)
	require.Equal(t, corev1.IPFamilyPolicyRequireDualStack, *s.Spec.IPFamilyPolicy)
	require.Len(t, s.Spec.IPFamilies, 2)
}

func TestDryRun(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	s := a.create(t, service("web", typed(corev1.ServiceTypeNodePort)), client.DryRun())
	require.NotEmpty(t, s.Spec.ClusterIP)
	require.NotZero(t, s.Spec.Ports[0].NodePort)
	require.Empty(t, a.held(t))
	require.Empty(t, ports(t, a))
	s = a.create(t, service("web", typed(corev1.ServiceTypeNodePort)))
	require.NoError(t, a.services.Delete(t.Context(), "default", "web", client.DryRun()))
	require.Equal(t, s.Spec.ClusterIPs, a.held(t))
	require.Len(t, ports(t, a), 1)
}

func TestChangeType(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	s := a.create(t, service("web", typed(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}))
	ip, node, check := s.Spec.ClusterIP, s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort
	require.NotZero(t, node)
	require.NotZero(t, check)
	require.Empty(t, s.Status.LoadBalancer)
	require.Len(t, ports(t, a), 2)

	s = a.update(t, s, typed(corev1.ServiceTypeNodePort))
	require.Equal(t, node, s.Spec.Ports[0].NodePort)
	require.Zero(t, s.Spec.HealthCheckNodePort)
	require.Equal(t, []string{fmt.Sprint(node)}, ports(t, a))

	s = a.update(t, s, typed(corev1.ServiceTypeClusterIP))
	require.Equal(t, ip, s.Spec.ClusterIP)
	require.Zero(t, s.Spec.Ports[0].NodePort)
	require.Empty(t, s.Spec.ExternalTrafficPolicy)
	require.Empty(t, ports(t, a))

	s = a.update(t, s, typed(corev1.ServiceTypeExternalName), func(s *corev1.Service) { s.Spec.ExternalName = "example.com" })
	require.Empty(t, s.Spec.ClusterIPs)
	require.Empty(t, s.Spec.IPFamilies)
	require.Nil(t, s.Spec.InternalTrafficPolicy)
	require.Empty(t, a.held(t))

	s = a.update(t, s, typed(corev1.ServiceTypeNodePort), at("10.96.0.7"))
	require.Equal(t, []string{"10.96.0.7"}, a.held(t))
	require.Len(t, ports(t, a), 1)
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.8", []string{"10.96.0.8"}
	_, err := a.services.Update(t.Context(), s)
	require.ErrorContains(t, err, "spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set")
}

func TestNodePorts(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	dns := func(tcp, udp int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeNodePort
			s.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 53, NodePort: tcp}, {Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP, NodePort: udp}}
		}
	}
	s := a.create(t, service("shared", dns(0, 0)))
	require.Equal(t, s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort, "one port for both protocols")
	s = a.create(t, service("asked", dns(0, 30053)))
	require.EqualValues(t, 30053, s.Spec.Ports[0].NodePort)
	s = a.create(t, service("two", dns(30054, 30055)))
	require.EqualValues(t, 30055, s.Spec.Ports[1].NodePort)
	require.Len(t, ports(t, a), 4)

	for _, c := range []struct {
		change func(*corev1.Service)
		why    string
	}{
		{dns(30100, 30055), `spec.ports[1].nodePort: Invalid value: 30055: provided port is already allocated`},
		{dns(80, 0), `spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767`},
	} {
		_, err := a.services.Create(t.Context(), service("other", c.change))
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		require.ErrorContains(t, err, c.why)
	}
	local := func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 30053
	}
	_, err := a.services.Create(t.Context(), service("other", local))
	require.True(t, apierrors.IsInternalError(err), "%v", err)
	require.ErrorContains(t, err, "failed to allocate requested HealthCheck NodePort 30053: provided port is already allocated")
	require.Len(t, ports(t, a), 4)
	require.Len(t, a.held(t), 3, "a refused service takes nothing")

	no := false
	s = a.create(t, service("plain", typed(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) { s.Spec.AllocateLoadBalancerNodePorts = &no }))
	require.Zero(t, s.Spec.Ports[0].NodePort)

	s, err = a.services.Patch(t.Context(), "default", "two", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/ports/1/nodePort","value":30056}]`))
	require.NoError(t, err)
	require.Contains(t, ports(t, a), "30056")
	require.NotContains(t, ports(t, a), "30055")
}

func TestFullRange(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{Ranges: prefix("10.0.0.0/29"), FirstPort: 30000, LastPort: 30001})
	for i := range 6 {
		a.create(t, service(fmt.Sprint("s", i)))
	}
	_, err := a.services.Create(t.Context(), service("more"))
	require.True(t, apierrors.IsInternalError(err), "%v", err)
	require.ErrorContains(t, err, `failed to allocate a serviceIP for Service "more": range is full`)

	_, err = a.ranges.Create(t.Context(), &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.1.0.0/30"}}})
	require.NoError(t, err)
	for i := range 2 {
		s := a.create(t, service(fmt.Sprint("more", i)))
		require.Contains(t, []string{"10.1.0.1", "10.1.0.2"}, s.Spec.ClusterIP)
	}
	_, err = a.services.Create(t.Context(), service("full"))
	require.ErrorContains(t, err, "range is full")

	require.NoError(t, a.services.Delete(t.Context(), "default", "s0"))
	s := a.create(t, service("ported", typed(corev1.ServiceTypeNodePort), func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "https", Port: 443})
	}))
	require.NoError(t, a.services.Delete(t.Context(), "default", "s1"))
	_, err = a.services.Create(t.Context(), service("more", typed(corev1.ServiceTypeNodePort)))
	require.ErrorContains(t, err, "failed to allocate a nodePort: range is full")
	require.Len(t, s.Spec.Ports, 2)
}

func TestDualStack(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{Ranges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")}})
	policy := func(p corev1.IPFamilyPolicy) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &p }
	}
	s := a.create(t, service("both", policy(corev1.IPFamilyPolicyPreferDualStack)))
	require.Len(t, s.Spec.ClusterIPs, 2)
	require.True(t, strings.HasPrefix(s.Spec.ClusterIPs[1], "fd00:10:96::"), s.Spec.ClusterIPs)
	require.Len(t, a.held(t), 2)
	s = a.update(t, s, policy(corev1.IPFamilyPolicySingleStack))
	require.Len(t, s.Spec.ClusterIPs, 1)
	require.Equal(t, s.Spec.ClusterIPs, a.held(t))
	s = a.update(t, s, policy(corev1.IPFamilyPolicyRequireDualStack))
	require.Len(t, s.Spec.ClusterIPs, 2)
	require.ElementsMatch(t, s.Spec.ClusterIPs, a.held(t))
	six := a.create(t, service("six", func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }))
	require.Equal(t, corev1.IPFamilyPolicySingleStack, *six.Spec.IPFamilyPolicy)
	require.True(t, strings.HasPrefix(six.Spec.ClusterIP, "fd00:10:96::"))

	one := open(t, newBackend(t), serviceip.Config{})
	_, err := one.services.Create(t.Context(), service("both", policy(corev1.IPFamilyPolicyRequireDualStack)))
	require.ErrorContains(t, err, "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services")
	_, err = one.services.Create(t.Context(), service("six", func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }))
	require.ErrorContains(t, err, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster")
}

// TestAddressStays: nobody takes away a service's address by hand.
func TestAddressStays(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	s := a.create(t, service("web"))
	err := a.addresses.Delete(t.Context(), "", s.Spec.ClusterIP)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "it goes with the service")

	own := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.99"}, Spec: networkingv1.IPAddressSpec{
		ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "web"},
	}}
	_, err = a.addresses.Create(t.Context(), own)
	require.NoError(t, err)
	_, err = a.services.Create(t.Context(), service("late", at("10.96.0.99")))
	require.ErrorContains(t, err, "already allocated")
	require.NoError(t, a.addresses.Delete(t.Context(), "", "10.96.0.99"))
}

// TestFinalizer: a service that waits for its finalizers keeps its address until it goes, by whatever door.
func TestFinalizer(t *testing.T) {
	a := open(t, newBackend(t), serviceip.Config{})
	s := a.create(t, service("web", func(s *corev1.Service) { s.Finalizers = []string{"example.com/wait"} }))
	require.NoError(t, a.services.Delete(t.Context(), "default", "web"))
	require.Equal(t, s.Spec.ClusterIPs, a.held(t))
	_, err := a.services.PatchStatus(t.Context(), "default", "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	require.NoError(t, err)
	require.Empty(t, a.held(t))
}

// TestRace: two servers over one store hand out every address of a small range, each once, to writers that all come
// at the same time.
func TestRace(t *testing.T) {
	t.Run("memory", func(t *testing.T) { race(t, newBackend(t)) })
	t.Run("etcd", func(t *testing.T) { race(t, newEtcd(t)) })
}

func race(t *testing.T, b storage.Backend) {
	c := serviceip.Config{Ranges: prefix("10.0.0.0/26"), FirstPort: 30000, LastPort: 30061}
	apis := []*api{open(t, b, c), open(t, b, c)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ips []string
	var nodePorts []int32
	for i := range 62 {
		wg.Go(func() {
			s, err := apis[i%2].services.Create(context.Background(), service(fmt.Sprint("s", i), typed(corev1.ServiceTypeNodePort)))
			if !assertNoError(t, err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ips, nodePorts = append(ips, s.Spec.ClusterIP), append(nodePorts, s.Spec.Ports[0].NodePort)
		})
	}
	wg.Wait()
	slices.Sort(ips)
	slices.Sort(nodePorts)
	require.Len(t, slices.Compact(ips), 62)
	require.Len(t, slices.Compact(nodePorts), 62)
	require.ElementsMatch(t, ips, apis[0].held(t))
	for i := range 62 {
		require.NoError(t, apis[i%2].services.Delete(t.Context(), "default", fmt.Sprint("s", i)))
	}
	require.Empty(t, apis[0].held(t))
	require.Empty(t, ports(t, apis[0]))
}

func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Errorf("unexpected: %v", err)
	}
	return err == nil
}

func TestServiceCIDR(t *testing.T) {
	a, err := serviceip.New(serviceip.Config{})
	require.NoError(t, err)
	require.Equal(t, "10.96.0.1", a.First().String())
	require.Equal(t, []string{"10.96.0.0/16"}, a.ServiceCIDR().Spec.CIDRs)
	o := open(t, newBackend(t), serviceip.Config{})
	_, err = o.ranges.Create(t.Context(), a.ServiceCIDR())
	require.NoError(t, err)
	s := o.create(t, service("kubernetes", at(a.First().String())))
	require.Equal(t, "10.96.0.1", s.Spec.ClusterIP)
}

func TestConfig(t *testing.T) {
	for why, c := range map[string]serviceip.Config{
		"not the prefix of a network":       {Ranges: []netip.Prefix{netip.MustParsePrefix("10.96.0.1/16")}},
		"it must leave 2 to 64 bits":        {Ranges: prefix("fd00::/48")},
		"both ranges are of one IP family":  {Ranges: append(prefix("10.0.0.0/16"), prefix("10.1.0.0/16")...)},
		"3 ranges":                          {Ranges: slices.Repeat(prefix("10.0.0.0/16"), 3)},
		"node ports 2-1 are no range":       {FirstPort: 2, LastPort: 1},
		"node ports 1-70000 are no range":   {FirstPort: 1, LastPort: 70000},
		"range 10.0.0.0/31: it must leave ": {Ranges: prefix("10.0.0.0/31")},
	} {
		_, err := serviceip.New(c)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, "configure service addresses")
	}
}
