// Package apiregistration declares the kind of apiregistration.k8s.io/v1, with validation, columns and status as
// Kubernetes v1.37 has them: APIService, which says who serves a version of a group of the API. Who asks the servers
// is elsewhere.
package apiregistration

import "github.com/bedplate/bedplate/apimachinery"

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{APIServices()}
}
