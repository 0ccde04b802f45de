package bedplate

import (
	"context"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

const (
	apiService = "kubernetes" // in the namespace default: where pods find the API
	dnsService = "kube-dns"   // in kube-system: where pods find names
)

// bootstrapServices makes the services that every cluster has: the API's, and that of names where there is one. The
// API's leads to where this control plane is advertised, beside those of others over the same store.
func (p *ControlPlane) bootstrapServices(ctx context.Context) error {
	c, l := p.Client(), p.security.lookup
	if err := ensure(ctx, l, client.For[*networkingv1.ServiceCIDR](c), p.services.ServiceCIDR(), nil); err != nil {
		return fmt.Errorf("make the range of services: %w", err)
	}
	port := p.server.Addr().(*net.TCPAddr).Port
	services := []*corev1.Service{apiServiceOf(p.services.First().String(), port)}
	if p.c.DNS.IsValid() {
		services = append(services, dnsServiceOf(p.c.DNS.String()))
	}
	for _, s := range services {
		if err := ensure(ctx, l, client.For[*corev1.Service](c), s, nil); err != nil {
			return fmt.Errorf("make service %s: %w", apimachinery.KeyOf(s), err)
		}
	}
	if !p.c.Advertise.IsValid() {
		return nil
	}
	return p.advertise(ctx, c, int32(port))
}

func apiServiceOf(ip string, port int) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt(port)}},
		},
	}
}

// dnsServiceOf is the service of names: each node answers for its own pods.
func dnsServiceOf(ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, Name: dnsService, Labels: map[string]string{"k8s-app": dnsService, "kubernetes.io/name": "CoreDNS"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip, InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyLocal),
			Ports: []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}},
		},
	}
}

// advertise makes this control plane an endpoint of the API's service. Where there may be others, each has a slice of
// its own, and the older Endpoints, of which there is one, is left alone.
func (p *ControlPlane) advertise(ctx context.Context, c *client.Client, port int32) error {
	slice := p.apiSlice(port)
	if _, err := client.For[*discoveryv1.EndpointSlice](c).Apply(ctx, slice, advertiser, client.Force()); err != nil {
		return fmt.Errorf("advertise the API: %w", err)
	}
	if p.c.Backend != nil {
		return nil
	}
	older := &corev1.Endpoints{ //nolint:staticcheck // old clients look for it
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
		},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
			Addresses: []corev1.EndpointAddress{{IP: p.c.Advertise.String()}},
			Ports:     []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}},
		}},
	}
	if _, err := client.For[*corev1.Endpoints](c).Apply(ctx, older, advertiser, client.Force()); err != nil { //nolint:staticcheck // as above
		return fmt.Errorf("advertise the API: %w", err)
	}
	return nil
}

const advertiser = "kube-apiserver"

func (p *ControlPlane) apiSlice(port int32) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{discoveryv1.LabelServiceName: apiService},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{p.c.Advertise.String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("https"), Protocol: ptr.To(corev1.ProtocolTCP), Port: &port}},
	}
	if p.c.Advertise.Is6() {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	if p.c.Backend != nil {
		s.Name += "-" + slug(p.c.Advertise.String())
	}
	return s
}

// slug makes a name of an address.
func slug(address string) string {
	b := []byte(address)
	for i := range b {
		if !slices.Contains([]byte("0123456789abcdef"), b[i]) {
			b[i] = '-'
		}
	}
	return string(b)
}
