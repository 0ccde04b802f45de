package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// TestDeprecated: whoever uses a kind that is deprecated is told, whatever he does with it.
func TestDeprecated(t *testing.T) {
	endpoints := corev1.SchemeGroupVersion.WithResource("endpoints")
	all := append(resources(), apimachinery.Resource{
		Name: schema.GroupResource{Resource: "endpoints"}, Namespaced: true,
		New:   func() apimachinery.Object { return &corev1.Endpoints{} },
		Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Endpoints"), Plural: "endpoints"}},
	})
	registry, err := apimachinery.NewRegistry(all...)
	require.NoError(t, err)
	bothDoors(t, func(c *server.Config) { c.Registry = registry }, func(t *testing.T, d apimachinery.Doer, _ *world) {
		want := []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
		for _, r := range []*apimachinery.Request{
			create(endpoints, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web"}}),
			get(endpoints, "web"), list(endpoints, metav1.ListOptions{}), remove(endpoints, "web", nil),
		} {
			_, resp, err := do(t, d, r)
			require.NoError(t, err)
			require.Equal(t, want, resp.Warnings, r.Verb)
		}
		_, resp, err := do(t, d, list(configMaps, metav1.ListOptions{}))
		require.NoError(t, err)
		require.Empty(t, resp.Warnings)
	})
}
