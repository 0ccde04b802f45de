package bedplate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// TestCustomResources: what a definition defines takes part in everything: clients, garbage collection, the end of
// namespaces, and it outlives a restart.
func TestCustomResources(t *testing.T) {
	dir := t.TempDir()
	p, err := bedplate.Start(t.Context(), bedplate.Config{Dir: dir})
	require.NoError(t, err)
	c := p.Client()
	preserve := true
	_, err = client.For[*apiext.CustomResourceDefinition](c).Create(t.Context(), &apiext.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
		Spec: apiext.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiext.NamespaceScoped,
			Names: apiext.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
			Versions: []apiext.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiext.CustomResourceValidation{OpenAPIV3Schema: &apiext.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve}},
			}},
		},
	})
	require.NoError(t, err)
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	things := client.Unstructured(c, kind, "things", true)
	thing := things.New()
	thing.SetNamespace("default")
	thing.SetName("a")
	thing.Object["spec"] = map[string]any{"n": int64(1)}
	thing, err = things.Create(t.Context(), thing)
	require.NoError(t, err)

	owned := configMap("owned", "x")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "a", UID: thing.GetUID()}}
	maps := client.For[*corev1.ConfigMap](c)
	_, err = maps.Create(t.Context(), owned)
	require.NoError(t, err)
	require.NoError(t, p.Stop())

	p = start(t, bedplate.Config{Dir: dir})
	c = p.Client()
	things, maps = client.Unstructured(c, kind, "things", true), client.For[*corev1.ConfigMap](c)
	l, err := things.List(t.Context())
	require.NoError(t, err)
	require.Len(t, l.Items, 1)
	require.Equal(t, map[string]any{"n": int64(1)}, l.Items[0].Object["spec"])
	require.NoError(t, things.Delete(t.Context(), "default", "a"))
	require.Eventually(t, func() bool {
		_, err := maps.Get(t.Context(), "default", "owned")
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 10*time.Millisecond, "its dependent is collected")
}
