package core

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
)

// newService is a service as it is after defaults; change is applied before them.
func newService(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	for _, c := range change {
		c(s)
	}
	defaultService(s)
	return s
}

func ofType(t corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = t }
}

func withIPs(ips ...string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = ips[0], ips }
}

func local(s *corev1.Service) {
	s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
}

func TestServiceDefaults(t *testing.T) {
	s := newService(func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromString("dns")})
	})
	require.Equal(t, corev1.ServiceTypeClusterIP, s.Spec.Type)
	require.EqualValues(t, 10800, *s.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds)
	require.Equal(t, corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(80)}, s.Spec.Ports[0])
	require.Equal(t, "dns", s.Spec.Ports[1].TargetPort.String())
	require.Equal(t, corev1.ServiceInternalTrafficPolicyCluster, *s.Spec.InternalTrafficPolicy)
	require.Empty(t, s.Spec.ExternalTrafficPolicy)
	require.Nil(t, s.Spec.AllocateLoadBalancerNodePorts)

	s = newService(ofType(corev1.ServiceTypeLoadBalancer))
	require.True(t, *s.Spec.AllocateLoadBalancerNodePorts)
	require.Equal(t, corev1.ServiceExternalTrafficPolicyCluster, s.Spec.ExternalTrafficPolicy)
	require.Nil(t, newService(ofType(corev1.ServiceTypeExternalName)).Spec.InternalTrafficPolicy)
	require.Nil(t, newService().Spec.SessionAffinityConfig)
}

func TestServiceValidation(t *testing.T) {
	policy := func(p corev1.IPFamilyPolicy) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &p }
	}
	for name, c := range map[string]struct {
		change func(*corev1.Service)
		want   []string
	}{
		"plain":        {func(*corev1.Service) {}, nil},
		"no ports":     {func(s *corev1.Service) { s.Spec.Ports = nil }, []string{"spec.ports Required value"}},
		"headless":     {func(s *corev1.Service) { s.Spec.Ports = nil; withIPs("None")(s) }, nil},
		"unnamed port": {func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81, Name: "b"}) }, []string{"spec.ports[0].name Required value"}},
		"port twice": {func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 80}, {Name: "c", Port: 80, Protocol: corev1.ProtocolUDP}}
		}, []string{"spec.ports[1] Duplicate value"}},
		"node port twice": {func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeNodePort
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30000}, {Name: "b", Port: 81, NodePort: 30000}, {Name: "c", Port: 80, NodePort: 30000, Protocol: corev1.ProtocolUDP}}
		}, []string{"spec.ports[1].nodePort Duplicate value"}},
		"node port of a ClusterIP": {func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30000 }, []string{"spec.ports[0].nodePort Forbidden"}},
		"port 0":                   {func(s *corev1.Service) { s.Spec.Ports[0].Port = 0 }, []string{"spec.ports[0].port Invalid value", "spec.ports[0].targetPort Invalid value"}},
		"protocol":                 {func(s *corev1.Service) { s.Spec.Ports[0].Protocol = "ICMP" }, []string{"spec.ports[0].protocol Unsupported value"}},
		"type":                     {ofType("Other"), []string{"spec.type Unsupported value"}},
		"affinity":                 {func(s *corev1.Service) { s.Spec.SessionAffinity = "Cookie" }, []string{"spec.sessionAffinity Unsupported value"}},
		"affinity for ever": {func(s *corev1.Service) {
			long := int32(86401)
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &long}}
		}, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds Invalid value"}},
		"external name":    {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName; s.Spec.ExternalName = "a.b." }, nil},
		"no external name": {ofType(corev1.ServiceTypeExternalName), []string{"spec.externalName Required value"}},
		"external with address": {func(s *corev1.Service) {
			withIPs("10.0.0.1")(s)
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "a"
		}, []string{"spec.clusterIPs Forbidden"}},
		"bad address":          {withIPs("10.0.0.256"), []string{"spec.clusterIPs[0] Invalid value"}},
		"leading zeros":        {withIPs("010.0.0.1"), []string{"spec.clusterIPs[0] Invalid value"}},
		"None and more":        {withIPs("None", "10.0.0.1"), []string{"spec.clusterIPs Invalid value"}},
		"one family":           {withIPs("10.0.0.1", "10.0.0.2"), []string{"spec.clusterIPs Invalid value"}},
		"apart":                {func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.1"; s.Spec.ClusterIPs = []string{"10.0.0.2"} }, []string{"spec.clusterIPs Invalid value"}},
		"family of another":    {func(s *corev1.Service) { withIPs("10.0.0.1")(s); s.Spec.IPFamilies = []corev1.IPFamily{"IPv6"} }, []string{"spec.clusterIPs[0] Invalid value"}},
		"families":             {func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv4", "IPX"} }, []string{"spec.ipFamilies[1] Duplicate value", "spec.ipFamilies[2] Unsupported value"}},
		"policy":               {policy("Both"), []string{"spec.ipFamilyPolicy Unsupported value"}},
		"external IPs":         {func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1", "x", "192.0.2.1"} }, []string{"spec.externalIPs[0] Invalid value", "spec.externalIPs[1] Invalid value"}},
		"health check missing": {local, []string{"spec.healthCheckNodePort Required value"}},
		"health check":         {func(s *corev1.Service) { local(s); s.Spec.HealthCheckNodePort = 30000 }, nil},
		"health check of none": {func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 30000 }, []string{"spec.healthCheckNodePort Invalid value"}},
		"class of none":        {func(s *corev1.Service) { c := "a/b"; s.Spec.LoadBalancerClass = &c }, []string{"spec.loadBalancerClass Forbidden"}},
		"ranges of none":       {func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }, []string{"spec.LoadBalancerSourceRanges Forbidden"}},
		"headless balancer":    {func(s *corev1.Service) { withIPs("None")(s); s.Spec.Type = corev1.ServiceTypeLoadBalancer }, []string{"spec.clusterIPs[0] Invalid value"}},
		"external policy":      {func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, []string{"spec.externalTrafficPolicy Invalid value"}},
		"distribution":         {func(s *corev1.Service) { d := "Far"; s.Spec.TrafficDistribution = &d }, []string{"spec.trafficDistribution Unsupported value"}},
	} {
		require.ElementsMatch(t, c.want, text(validateService(newService(c.change), nil)), name)
	}
}

func TestServiceUpdate(t *testing.T) {
	class := func(c string) func(*corev1.Service) {
		return func(s *corev1.Service) { local(s); s.Spec.HealthCheckNodePort = 30000; s.Spec.LoadBalancerClass = &c }
	}
	for name, c := range map[string]struct {
		old, new func(*corev1.Service)
		want     []string
	}{
		"address":        {withIPs("10.0.0.1"), withIPs("10.0.0.2"), []string{"spec.clusterIPs[0] Invalid value"}},
		"to headless":    {withIPs("10.0.0.1"), withIPs("None"), []string{"spec.clusterIPs[0] Invalid value"}},
		"second address": {withIPs("10.0.0.1"), withIPs("10.0.0.1", "fd00::1"), nil},
		"second gone":    {withIPs("10.0.0.1", "fd00::1"), withIPs("10.0.0.1"), []string{"spec.ipFamilyPolicy Invalid value"}},
		"class":          {class("a/b"), class("a/c"), []string{"spec.loadBalancerClass Invalid value"}},
		"health check":   {class("a/b"), func(s *corev1.Service) { class("a/b")(s); s.Spec.HealthCheckNodePort++ }, []string{"spec.healthCheckNodePort Forbidden"}},
	} {
		require.ElementsMatch(t, c.want, text(validateService(newService(c.new), newService(c.old))), name)
	}
}

// TestServicePreparation: what is filled in for a writer is taken out for him when the type changes, unless he changed it too.
func TestServicePreparation(t *testing.T) {
	full := func() *corev1.Service {
		return newService(local, withIPs("10.0.0.1"), func(s *corev1.Service) {
			class, policy := "a/b", corev1.IPFamilyPolicySingleStack
			s.Spec.LoadBalancerClass, s.Spec.IPFamilyPolicy = &class, &policy
			s.Spec.IPFamilies, s.Spec.HealthCheckNodePort, s.Spec.Ports[0].NodePort = []corev1.IPFamily{"IPv4"}, 30001, 30000
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb"}}
		})
	}
	s := full()
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Status = corev1.ServiceStatus{}
	prepareService(s, full())
	require.Empty(t, text(validateService(s, full())))
	require.Zero(t, s.Spec.Ports[0].NodePort)
	require.Empty(t, s.Status.LoadBalancer.Ingress)
	require.Equal(t, "10.0.0.1", s.Spec.ClusterIP)

	s = full()
	s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	prepareService(s, full())
	require.Empty(t, text(validateService(s, full())))
	require.Empty(t, s.Spec.ClusterIPs)

	s = full()
	s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort = corev1.ServiceTypeClusterIP, 30005, 30006
	prepareService(s, full())
	require.ElementsMatch(t, []string{"spec.ports[0].nodePort Forbidden", "spec.healthCheckNodePort Invalid value"}, text(validateService(s, full())))

	s = full()
	prepareService(s, nil)
	require.Empty(t, s.Status)
}

// TestServiceCompletion: a manifest without what was allocated means what was allocated.
func TestServiceCompletion(t *testing.T) {
	old := newService(local, withIPs("10.0.0.1", "fd00::1"), func(s *corev1.Service) {
		s.Spec.HealthCheckNodePort = 30001
		s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30080}, {Name: "b", Port: 81, NodePort: 30081}}
	})
	s := newService(local, func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "b", Port: 82}, {Name: "c", Port: 81, NodePort: 30080}, {Name: "a", Port: 83}}
	})
	require.Empty(t, completeService(s, old))
	require.Equal(t, []string{"10.0.0.1", "fd00::1"}, s.Spec.ClusterIPs)
	require.EqualValues(t, 30001, s.Spec.HealthCheckNodePort)
	require.EqualValues(t, 30081, s.Spec.Ports[0].NodePort)
	require.Zero(t, s.Spec.Ports[2].NodePort, "another port has it now")

	for name, c := range map[string]struct {
		new, old func(*corev1.Service)
		want     []string
	}{
		"old client's create": {func(s *corev1.Service) { s.Spec.ClusterIP = "None" }, nil, []string{"None"}},
		"old client's change": {func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.2"; s.Spec.ClusterIPs = []string{"10.0.0.1"} }, withIPs("10.0.0.1"), []string{"10.0.0.2"}},
		"cleared":             {func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1"} }, withIPs("10.0.0.1"), []string{"10.0.0.1"}},
	} {
		s := newService(c.new)
		var old apimachinery.Object
		if c.old != nil {
			old = newService(c.old)
		}
		require.Empty(t, completeService(s, old), name)
		require.Equal(t, c.want, s.Spec.ClusterIPs, name)
	}
	require.Equal(t, []string{"spec.clusterIPs[0] Invalid value"}, text(completeService(newService(withIPs("x")), nil)))
}

func TestServiceClaims(t *testing.T) {
	names := func(s *corev1.Service) (out []string) {
		for _, c := range serviceClaims(s) {
			out = append(out, c.Name)
		}
		return out
	}
	s := newService(local, withIPs("10.0.0.1", "fd00::1"), func(s *corev1.Service) {
		s.Spec.HealthCheckNodePort = 30001
		s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 53, NodePort: 30053}, {Name: "b", Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 30053}}
	})
	require.Equal(t, []string{"10.0.0.1", "fd00::1", "nodeports/30053", "nodeports/30001"}, names(s))
	ip := serviceClaims(s)[1].New().(*networkingv1.IPAddress)
	require.Equal(t, "IPv6", ip.Labels[networkingv1.LabelIPAddressFamily])
	require.Equal(t, "web", ip.Spec.ParentRef.Name)
	for _, c := range serviceClaims(s) {
		require.ErrorContains(t, c.Taken(), "is already allocated")
	}
	require.Empty(t, names(newService(withIPs("None"))))
	require.Empty(t, names(newService(ofType(corev1.ServiceTypeExternalName))))
}

func TestServiceStatus(t *testing.T) {
	proxy := corev1.LoadBalancerIPModeProxy
	status := func(in ...corev1.LoadBalancerIngress) *corev1.Service {
		s := newService(ofType(corev1.ServiceTypeLoadBalancer))
		s.Status.LoadBalancer.Ingress = in
		return s
	}
	const at = "status.loadBalancer.ingress[0]."
	for want, in := range map[string]corev1.LoadBalancerIngress{
		"":                           {IP: "192.0.2.1", IPMode: &proxy},
		at + "ip Invalid value":      {IP: "192.0.2", IPMode: &proxy},
		at + "ipMode Required value": {IP: "192.0.2.1"},
		at + "ipMode Forbidden":      {Hostname: "lb", IPMode: &proxy},
	} {
		have := text(validateServiceStatus(status(in), status()))
		if want == "" {
			require.Empty(t, have)
		} else {
			require.Equal(t, []string{want}, have)
		}
	}
	s := newService()
	s.Status = status(corev1.LoadBalancerIngress{Hostname: "lb"}).Status
	require.Equal(t, []string{"status.loadBalancer.ingress Forbidden"}, text(validateServiceStatus(s, newService())))
}

func TestServiceColumns(t *testing.T) {
	row := func(s *corev1.Service) (out []any) {
		for _, c := range serviceColumns() {
			out = append(out, c.Cell(s))
		}
		return out
	}
	require.Equal(t, []any{"web", "ClusterIP", "<none>", "<none>", "80/TCP", "<unknown>", "<none>"}, row(newService()))
	s := newService(ofType(corev1.ServiceTypeLoadBalancer), withIPs("10.0.0.1"), func(s *corev1.Service) {
		s.Spec.Ports[0].NodePort, s.Spec.Selector = 30080, map[string]string{"b": "2", "a": "1"}
	})
	require.Equal(t, []any{"web", "LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP", "<unknown>", "a=1,b=2"}, row(s))
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	s.Spec.ExternalIPs = []string{"192.0.2.9"}
	require.Equal(t, "192.0.2.1,192.0.2.9", row(s)[3])
}

func TestServiceWarnings(t *testing.T) {
	near := corev1.ServiceTrafficDistributionPreferClose
	s := newService(withIPs("10.0.0.1", "FD00::1"), func(s *corev1.Service) {
		s.Spec.ExternalName, s.Spec.ExternalIPs, s.Spec.TrafficDistribution, s.Spec.LoadBalancerIP = "a", []string{"192.0.2.1"}, &near, "nonsense"
	})
	require.Equal(t, []string{
		`spec.clusterIPs[1]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")`,
		"spec.externalIPs is deprecated and may no longer be implemented in some clusters",
		`spec.externalName is ignored when spec.type is not "ExternalName"`,
		`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`,
	}, serviceWarnings(s))
	require.Empty(t, serviceWarnings(newService()))
}

func TestEndpoints(t *testing.T) {
	res := Endpoints()
	e := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "10.1.0.1"}, {IP: "10.1.0.2"}, {IP: "10.1.0.3"}, {IP: "10.1.0.4"}},
		Ports:     []corev1.EndpointPort{{Port: 80}},
	}}}
	res.Default(e)
	require.Equal(t, corev1.ProtocolTCP, e.Subsets[0].Ports[0].Protocol)
	require.Empty(t, res.Validate(t.Context(), e, nil))
	require.Equal(t, "10.1.0.1:80,10.1.0.2:80,10.1.0.3:80 + 1 more...", endpointAddresses(e))
	require.Equal(t, "<none>", endpointAddresses(&corev1.Endpoints{}))

	bad := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{}, {
		Addresses: []corev1.EndpointAddress{{IP: "127.0.0.1"}, {IP: "169.254.0.1"}, {IP: "10.1.0.1", Hostname: "a.b"}},
		Ports:     []corev1.EndpointPort{{Port: 0, Protocol: "TCP"}, {Port: 80, Name: "b", Protocol: "TCP"}},
	}}}
	require.Equal(t, []string{
		"subsets[0] Required value", "subsets[1].addresses[0].ip Invalid value", "subsets[1].addresses[1].ip Invalid value",
		"subsets[1].addresses[2].hostname Invalid value", "subsets[1].ports[0].name Required value", "subsets[1].ports[0].port Invalid value",
	}, text(res.Validate(t.Context(), bad, nil)))
	require.Empty(t, res.Validate(t.Context(), bad, bad), "what was stored stays")
}
