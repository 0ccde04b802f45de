// Package policy declares the kinds of policy/v1 that are stored: PodDisruptionBudget, with defaults, validation,
// columns and status as Kubernetes v1.37 has them. Eviction is a subresource of pods.
package policy

import "github.com/bedplate/bedplate/apimachinery"

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{PodDisruptionBudgets()} }
