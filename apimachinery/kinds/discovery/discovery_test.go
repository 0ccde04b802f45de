package discovery

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func slice(t discoveryv1.AddressType, addresses ...string) *discoveryv1.EndpointSlice {
	port := int32(80)
	s := &discoveryv1.EndpointSlice{AddressType: t, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	EndpointSlices().Default(s)
	return s
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
	}
}

func TestValidation(t *testing.T) {
	many := make([]string, maxEndpoints+1)
	for name, c := range map[string]struct {
		s    *discoveryv1.EndpointSlice
		want []string
	}{
		"IPv4":       {slice("IPv4", "10.1.0.1"), nil},
		"IPv6":       {slice("IPv6", "fd00::1"), nil},
		"FQDN":       {slice("FQDN", "db.example.com"), nil},
		"no type":    {slice("", "x"), []string{"addressType Required value"}},
		"other type": {slice("IPX", "x"), []string{"addressType Unsupported value"}},
		"families":   {slice("IPv4", "fd00::1"), []string{"endpoints[0].addresses Invalid value"}},
		"canonical":  {slice("IPv6", "FD00::1"), []string{"endpoints[0].addresses[0] Invalid value"}},
		"no address": {slice("IPv4", "x"), []string{"endpoints[0].addresses[0] Invalid value"}},
		"loopback":   {slice("IPv4", "127.0.0.1"), []string{"endpoints[0].addresses[0] Invalid value"}},
		"link-local": {slice("IPv6", "fe80::1"), []string{"endpoints[0].addresses[0] Invalid value"}},
		"one label":  {slice("FQDN", "db"), []string{"endpoints[0].addresses[0] Invalid value"}},
		"too many":   {slice("IPv4", many...), []string{"endpoints Too many"}},
	} {
		require.Equal(t, c.want, text(validate(c.s, nil)), name)
	}
}

func TestParts(t *testing.T) {
	s := slice("IPv4", "10.1.0.1")
	name, host, sctp := "Node", "a.b", corev1.Protocol("ICMP")
	e := &s.Endpoints[0]
	e.NodeName, e.Hostname = &name, &host
	e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "a"}}, ForNodes: []discoveryv1.ForNode{{Name: "N"}}}
	s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{})
	s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: s.Ports[0].Name, Protocol: &sctp})
	require.Equal(t, []string{
		"ports[1].name Duplicate value", "ports[1].protocol Unsupported value",
		"endpoints[0].nodeName Invalid value", "endpoints[0].hostname Invalid value",
		"endpoints[0].hints.forZones[1].name Duplicate value", "endpoints[0].hints.forNodes[0].name Invalid value",
		"endpoints[1].addresses Required value",
	}, text(validate(s, nil)))
	same := s.DeepCopy()
	same.AddressType = "IPv6"
	require.Equal(t, []string{"ports[1].name Duplicate value", "ports[1].protocol Unsupported value", "addressType Invalid value"}, text(validate(same, s)))
}

func TestPrepare(t *testing.T) {
	old := slice("IPv4", "10.1.0.1")
	prepare(old, nil)
	require.EqualValues(t, 1, old.Generation)
	for name, c := range map[string]struct {
		change func(*discoveryv1.EndpointSlice)
		want   int64
	}{
		"nothing":     {func(*discoveryv1.EndpointSlice) {}, 1},
		"annotations": {func(s *discoveryv1.EndpointSlice) { s.Annotations = map[string]string{"a": "b"} }, 1},
		"labels":      {func(s *discoveryv1.EndpointSlice) { s.Labels = map[string]string{"a": "b"} }, 2},
		"endpoints":   {func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil }, 2},
		"ports":       {func(s *discoveryv1.EndpointSlice) { s.Ports = nil }, 2},
	} {
		s := old.DeepCopy()
		c.change(s)
		prepare(s, old)
		require.Equal(t, c.want, s.Generation, name)
	}
	old.Endpoints[0].DeprecatedTopology = map[string]string{corev1.LabelHostname: "node-1"}
	s := old.DeepCopy()
	prepare(s, old)
	require.NotNil(t, s.Endpoints[0].DeprecatedTopology, "endpoints as they were")
	s.Endpoints[0].Addresses = []string{"10.1.0.2"}
	prepare(s, old)
	require.Equal(t, "node-1", *s.Endpoints[0].NodeName)
	require.Nil(t, s.Endpoints[0].DeprecatedTopology)
}

func TestColumnsAndWarnings(t *testing.T) {
	s := slice("IPv4", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4")
	require.Equal(t, "10.1.0.1,10.1.0.2,10.1.0.3 + 1 more...", addresses(s))
	require.Equal(t, "80", ports(s))
	require.Equal(t, "<unset>", ports(&discoveryv1.EndpointSlice{}))
	require.Equal(t, []string{"spec.addressType: FQDN endpoints are deprecated"}, warnings(slice("FQDN", "a.b"), nil))
	require.Empty(t, warnings(s, nil))
}
