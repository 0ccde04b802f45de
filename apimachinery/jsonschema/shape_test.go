package jsonschema_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

const shapes = `
type: object
properties:
  spec:
    type: object
    properties:
      set: {type: array, x-kubernetes-list-type: set, items: {type: string}}
      map: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [b, a], items: {type: object, required: [a], properties: {a: {type: string}, b: {type: integer, default: 7}, c: {type: number}}}}
      atomic: {type: array, x-kubernetes-list-type: atomic, items: {type: object, properties: {a: {type: boolean}}}}
      plain: {type: array, items: {type: string, format: date}}
      port: {x-kubernetes-int-or-string: true}
      any: {x-kubernetes-preserve-unknown-fields: true}
      free: {type: object}
      keeps: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: object, properties: {b: {type: string}}}}}
      labels: {type: object, x-kubernetes-map-type: atomic, additionalProperties: {type: string}}
      values: {type: object, additionalProperties: {type: object, properties: {a: {type: string, format: byte}}}}
      open: {type: object, additionalProperties: true}
      ref: {type: object, x-kubernetes-map-type: atomic, properties: {a: {type: string}}}
      template: {type: object, x-kubernetes-embedded-resource: true, properties: {spec: {type: object}}}
      odd: {type: string, format: unheard-of}
`

// The shape is that which Kubernetes computes of the published schema.
func TestShape(t *testing.T) {
	shape := compiled(t, shapes).Shape()
	doc, err := jsonschema.OpenAPI(schemaOf(t, shapes), 3)
	require.NoError(t, err)
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	var model spec.Schema
	require.NoError(t, json.Unmarshal(raw, &model))
	converted, err := schemaconv.ToSchemaFromOpenAPI(map[string]*spec.Schema{"thing": &model}, false)
	require.NoError(t, err)
	name := "thing"
	c := comparison{t, converted}
	c.compare("", shape, schema.TypeRef{NamedType: &name})
}

type comparison struct {
	t      *testing.T
	schema *schema.Schema
}

func (c *comparison) compare(path string, t *structural.Type, ref schema.TypeRef) {
	if path == ".metadata" || path == ".spec.template.metadata" {
		require.NotNil(c.t, t.Field("finalizers"), path)
		return
	}
	atom, ok := c.schema.Resolve(ref)
	require.True(c.t, ok, path)
	switch t.Kind() {
	case structural.Any:
		require.NotNil(c.t, atom.Scalar, path)
		require.NotNil(c.t, atom.List, path)
		require.Equal(c.t, atom.Map.ElementRelationship == schema.Atomic, t.Atomic(), path)
	case structural.Scalar:
		want := map[structural.ScalarKind]schema.Scalar{structural.AnyScalar: schema.Untyped,
			structural.String: schema.String, structural.Number: schema.Numeric, structural.Boolean: schema.Boolean}
		require.Equal(c.t, want[t.Scalar()], *atom.Scalar, path)
	case structural.List:
		require.Equal(c.t, atom.List.ElementRelationship == schema.Atomic, t.List() == structural.AtomicList, path)
		require.Equal(c.t, atom.List.Keys, t.KeyNames(), path)
		c.compare(path+"[]", t.Elem(), atom.List.ElementType)
	case structural.Map:
		require.Empty(c.t, atom.Map.Fields, path)
		require.Equal(c.t, atom.Map.ElementRelationship == schema.Atomic, t.Atomic(), path)
		c.compare(path+"{}", t.Elem(), atom.Map.ElementType)
	case structural.Struct:
		require.Equal(c.t, atom.Map.ElementRelationship == schema.Atomic, t.Atomic(), path)
		require.Len(c.t, t.Fields(), len(atom.Map.Fields), path)
		require.Equal(c.t, atom.Map.ElementType != schema.TypeRef{}, t.Field("unheard-of") != nil, path)
		for _, f := range atom.Map.Fields {
			require.NotNil(c.t, t.Field(f.Name), path+"."+f.Name)
			c.compare(path+"."+f.Name, t.Field(f.Name).Type, f.Type)
		}
	}
}

// managedfields works on the shape of a schema as on that of a Go type.
func TestShapeInManagedFields(t *testing.T) {
	shape := compiled(t, shapes).Shape()
	live := []byte(`{"apiVersion":"x/v1","kind":"T","metadata":{"name":"n"},"spec":{"map":[{"a":"1"},{"a":"2","b":8}],"keeps":{"u":{"v":1}},"plain":["x"]}}`)
	entries, err := managedfields.Update(shape, nil, live, nil, managedfields.Manager{Name: "m", APIVersion: "x/v1"}, managedfields.Set{})
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.JSONEq(t, `{"f:spec":{
		"f:map":{"k:{\"a\":\"1\",\"b\":7}":{".":{},"f:a":{}},"k:{\"a\":\"2\",\"b\":8}":{".":{},"f:a":{},"f:b":{}},".":{}},
		"f:keeps":{".":{},"f:u":{".":{},"f:v":{}}},"f:plain":{},".":{}}}`, string(entries[0].FieldsV1.Raw))
}
