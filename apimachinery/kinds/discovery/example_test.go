package discovery_test

import (
	"context"
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
)

// Endpoints that lead to a node's own addresses are refused.
func Example() {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}}}
	for _, err := range discovery.EndpointSlices().Validate(context.Background(), s, nil) {
		fmt.Println(err)
	}
	// Output: endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
}
