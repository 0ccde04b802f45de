package client

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Unstructured returns the door to the objects of a kind that has no Go type, or whose type this program doesn't know,
// by the plural under which it is served. The registry need not know it.
func Unstructured(c *Client, kind schema.GroupVersionKind, plural string, namespaced bool) Resource[*unstructured.Unstructured] {
	gvr := kind.GroupVersion().WithResource(plural)
	return Resource[*unstructured.Unstructured]{
		c: c, gvr: gvr, name: gvr.GroupResource(), namespaced: namespaced, kind: kind,
		fresh: func() *unstructured.Unstructured {
			u := &unstructured.Unstructured{Object: map[string]any{}}
			u.SetGroupVersionKind(kind)
			return u
		},
	}
}

var _ apimachinery.Object = (*unstructured.Unstructured)(nil)
