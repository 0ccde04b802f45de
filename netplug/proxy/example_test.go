package proxy_test

import (
	"fmt"
	"net/netip"

	"github.com/bedplate/bedplate/netplug/proxy"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a node makes of a service, without touching any kernel.
func ExampleCompile() {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.7",
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Port: 80, NodePort: 30080}}},
	}
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: new(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.5"}, NodeName: new("a")},
			{Addresses: []string{"10.244.1.9"}, NodeName: new("b")},
		},
	}
	node := proxy.Node{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.1")}}
	for _, p := range proxy.Compile(node, s, []*discoveryv1.EndpointSlice{slice}) {
		fmt.Println(p.Internal, "to", p.Cluster)
		fmt.Println(p.External[0], "to", p.Local)
	}
	// Output:
	// 10.96.0.7:80/TCP to [10.244.0.5:8080 10.244.1.9:8080]
	// 192.168.0.1:30080/TCP to [10.244.0.5:8080]
}
