// Package networking declares the kinds of networking.k8s.io, one file each, with validation, columns and status as
// Kubernetes v1.37 has them: Ingress and IngressClass, NetworkPolicy, IPAddress, which stands for an address that a
// Service has, and ServiceCIDR, a range of such addresses. Who hands them out is apimachinery/server/serviceip.
package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{Ingresses(), IngressClasses(), NetworkPolicies(), IPAddresses(), ServiceCIDRs()}
}

var spec = field.NewPath("spec")

func resource(plural string) schema.GroupResource {
	return schema.GroupResource{Group: networkingv1.GroupName, Resource: plural}
}
