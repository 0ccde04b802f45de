// Package apiextensions declares the kind of apiextensions.k8s.io, CustomResourceDefinition, with defaults, validation,
// columns and status as Kubernetes v1.37 has them. It says whether a definition is sound; who serves what it defines
// is apimachinery/server/crd.
package apiextensions

import (
	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{CustomResourceDefinitions()}
}
