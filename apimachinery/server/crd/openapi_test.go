package crd_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const describedDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shapes.example.org}
spec:
  group: example.org
  scope: Cluster
  names: {plural: shapes, kind: Shape, listKind: Shapes}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Shape is what something looks like.
        properties:
          spec:
            type: object
            properties:
              form: {type: string, default: round, enum: [round, square], description: how it looks from above}
              sides: {type: array, x-kubernetes-list-type: set, items: {type: integer, format: int32}}
              extra: {type: object, nullable: true, properties: {a: {type: string}}}
              any: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
`

// What kubectl explain reads of a custom resource, and what version 2 leaves of it.
func TestOpenAPI(t *testing.T) {
	w := start(t, nil)
	w.post(definitions, describedDefinition).is(201)
	w.post(definitions, widgetDefinition).is(201)
	w.get("/apis/example.org/v1/shapes").is(200) // by which they are served
	w.get(widgets).is(200)
	w.get("/openapi/v3").is(200).says(`"apis/example.org/v1"`).says(`"apis/example.com/v1"`)
	var v3 spec3.OpenAPI
	require.NoError(t, json.Unmarshal(w.get("/openapi/v3/apis/example.org/v1").is(200).body, &v3))
	shape := v3.Components.Schemas["org.example.v1.Shape"]
	require.NotNil(t, shape)
	require.Equal(t, "Shape is what something looks like.", shape.Description)
	require.Contains(t, v3.Components.Schemas, "org.example.v1.Shapes")
	require.Contains(t, v3.Components.Schemas, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
	form := shape.Properties["spec"].Properties["form"]
	require.Equal(t, "round", form.Default)
	require.Equal(t, "how it looks from above", form.Description)
	require.Equal(t, "set", shape.Properties["spec"].Properties["sides"].Extensions["x-kubernetes-list-type"])
	require.Contains(t, v3.Paths.Paths, "/apis/example.org/v1/shapes/{name}")
	require.NotContains(t, v3.Paths.Paths, "/apis/example.org/v1/shapes/{name}/status")
	w.get("/openapi/v3/apis/example.com/v1").is(200).says("/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale").says(`"x-kubernetes-selectable-fields":[{"fieldPath":"spec.color"}]`)

	var v2 spec.Swagger
	require.NoError(t, json.Unmarshal(w.get("/openapi/v2").is(200).body, &v2))
	old := v2.Definitions["org.example.v1.Shape"].Properties["spec"]
	require.Nil(t, old.Properties["form"].Default)
	require.Equal(t, []any{"round", "square"}, old.Properties["form"].Enum)
	require.Empty(t, old.Properties["extra"].Type)
	require.Empty(t, old.Properties["any"].AnyOf)

	w.merge(definitions+"/shapes.example.org", "{spec: {versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: another}}}]}}").is(200)
	require.Eventually(t, func() bool {
		return strings.Contains(string(w.get("/openapi/v3/apis/example.org/v1").body), `"description":"another"`)
	}, time.Minute, 10*time.Millisecond)
}

// BenchmarkOpenAPIIndex is the first request for the index with 2,000 definitions, and what is kept of it.
func BenchmarkOpenAPIIndex(b *testing.B) {
	const n = 2000
	for b.Loop() {
		w := start(b, nil)
		for i := range n {
			w.post(definitions, named(i)).is(201)
		}
		require.Eventually(b, func() bool { return len(w.r.All()) >= n }, time.Minute, 10*time.Millisecond)
		before := heap()
		for _, path := range []string{"/openapi/v3", "/openapi/v2"} {
			begun := time.Now()
			w.get(path).is(200)
			b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms"+path)
		}
		w.post(definitions, named(n)).is(201)
		require.Eventually(b, func() bool { return w.get(fmt.Sprintf("/apis/g%d.example.com/v1", n)).code == 200 }, time.Minute, 10*time.Millisecond)
		begun := time.Now()
		w.get("/openapi/v3").is(200)
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms/one-more")
		b.ReportMetric(float64(heap()-before)/n, "B/definition")
	}
}
