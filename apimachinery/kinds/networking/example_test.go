package networking_test

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
)

// A range of service addresses is the prefix of a network.
func Example() {
	s := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.1/16"}}}
	for _, err := range networking.ServiceCIDRs().Validate(context.Background(), s, nil) {
		fmt.Println(err)
	}
	// Output: spec.cidrs[0]: Invalid value: "10.96.0.1/16": must not have bits set beyond the prefix length
}
