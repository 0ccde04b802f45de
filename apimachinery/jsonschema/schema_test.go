package jsonschema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

type props = apiextensionsv1.JSONSchemaProps

func schemaOf(t testing.TB, text string) *props {
	var s props
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &s))
	return &s
}

func compiled(t testing.TB, text string) *jsonschema.Schema {
	s := schemaOf(t, text)
	require.Empty(t, jsonschema.Check(s, nil, jsonschema.CheckOptions{}))
	before := s.DeepCopy()
	out, err := jsonschema.Compile(s)
	require.NoError(t, err)
	require.Equal(t, before, s, "Compile changed the schema")
	return out
}

func object(t testing.TB, text string) map[string]any {
	raw, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	var o map[string]any
	require.NoError(t, utiljson.Unmarshal(raw, &o))
	return o
}

func lines(errs field.ErrorList) (out []string) {
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

const widget = `
type: object
properties:
  spec:
    type: object
    required: [size]
    properties:
      size: {type: integer, format: int32, minimum: 1, maximum: 5, default: 2}
      name: {type: string, maxLength: 3, pattern: "^[a-z]*$", nullable: true, default: ab}
      port: {x-kubernetes-int-or-string: true}
      tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}
      rows:
        type: array
        x-kubernetes-list-type: map
        x-kubernetes-list-map-keys: [key]
        items: {type: object, required: [key], properties: {key: {type: string}, value: {type: string, enum: [a, b]}}}
      free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {known: {type: object, properties: {x: {type: string}}}}}
      labels: {type: object, additionalProperties: {type: string}}
      template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
`

func TestPrune(t *testing.T) {
	s := compiled(t, widget)
	o := object(t, `
apiVersion: v1
kind: Widget
metadata: {name: x, odd: 1}
extra: 1
spec: {size: 1, port: null, name: null, more: {a: 1}, rows: [{key: a, x: 1}, 5], free: {any: {b: c}, known: {x: v, z: w}}, labels: {a: b}}
`)
	require.Equal(t, []string{"extra", "spec.free.known.z", "spec.more", "spec.rows[0].x"}, s.Prune(o))
	require.Equal(t, object(t, `
apiVersion: v1
kind: Widget
metadata: {name: x, odd: 1}
spec: {size: 1, name: null, rows: [{key: a}, 5], free: {any: {b: c}, known: {x: v}}, labels: {a: b}}
`), o)
	require.Empty(t, s.Prune(o))
}

func TestDefault(t *testing.T) {
	s := compiled(t, widget)
	o := object(t, `{spec: {size: null, name: null}}`)
	s.Default(o)
	require.Equal(t, object(t, `{spec: {size: 2, name: null}}`), o)
	none := object(t, `{}`)
	s.Default(none)
	require.Empty(t, none, "defaults below what is absent don't apply")
}

func TestValidate(t *testing.T) {
	s := compiled(t, widget)
	for name, c := range map[string]struct {
		object string
		want   []string
	}{
		"good":     {`{spec: {size: 1, port: 80, tags: [a, b], rows: [{key: a}, {key: b}]}}`, nil},
		"required": {`{spec: {}}`, []string{"spec.size: Required value"}},
		"type":     {`{spec: {size: x}}`, []string{`spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"`}},
		"bounds":   {`{spec: {size: 9}}`, []string{`spec.size: Invalid value: 9: spec.size in body should be less than or equal to 5`}},
		"text":     {`{spec: {size: 1, name: abcd}}`, []string{`spec.name: Too long: may not be more than 3 bytes`}},
		"pattern":  {`{spec: {size: 1, name: A}}`, []string{`spec.name: Invalid value: "A": spec.name in body should match '^[a-z]*$'`}},
		"port":     {`{spec: {size: 1, port: true}}`, []string{`spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"`}},
		"set":      {`{spec: {size: 1, tags: [a, b, a]}}`, []string{`spec.tags[2]: Duplicate value: "a"`}},
		"map":      {`{spec: {size: 1, rows: [{key: a}, {key: a}]}}`, []string{`spec.rows[1]: Duplicate value: {"key":"a"}`}},
		"enum":     {`{spec: {size: 1, rows: [{key: a, value: c}]}}`, []string{`spec.rows[0].value: Unsupported value: "c": supported values: "a", "b"`}},
		"label":    {`{spec: {size: 1, labels: {a: 1}}}`, []string{`spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"`}},
		"embedded": {`{spec: {size: 1, template: {kind: Pod, metadata: {name: a b}}}}`, []string{`spec.template.apiVersion: Required value`}},
	} {
		require.Equal(t, c.want, lines(s.Validate(nil, object(t, c.object), nil)), name)
	}
	status := s.Field("spec")
	require.Equal(t, []string{"at.size: Required value"}, lines(status.Validate(field.NewPath("at"), map[string]any{}, nil)))
	require.Nil(t, s.Field("status"))
	require.Empty(t, s.Field("status").Validate(nil, "anything", nil))
}

// What was wrong before and did not change is forgiven, list maps by key (KEP-4008).
func TestRatchet(t *testing.T) {
	s := compiled(t, widget)
	old := object(t, `{spec: {size: 9, name: TOO, rows: [{key: a, value: x}, {key: b, value: w}], tags: [a, a]}}`)
	require.Len(t, s.Validate(nil, old, nil), 5)
	changed := object(t, `{spec: {size: 9, name: TOO, rows: [{key: b, value: w}, {key: c}, {key: a, value: x}], tags: [a, a, b]}}`)
	require.Empty(t, s.Validate(nil, changed, old))
	worse := object(t, `{spec: {size: 8, name: TOO, rows: [{key: b, value: z}], tags: []}}`)
	require.Len(t, s.Validate(nil, worse, old), 2)
}

func TestCoerceMetadata(t *testing.T) {
	s := compiled(t, widget)
	o := object(t, `{spec: {template: {kind: Pod, metadata: {name: x, odd: 1, creationTimestamp: null}}}}`)
	unknown, err := s.CoerceMetadata(o, jsonschema.CoerceOptions{Unknown: true})
	require.Nil(t, err)
	require.Equal(t, []string{"spec.template.metadata.odd"}, unknown)
	require.Equal(t, object(t, `{spec: {template: {kind: Pod, metadata: {name: x}}}}`), o)

	o = object(t, `{metadata: {labels: {a: 1}, name: x}, spec: {template: {kind: 1}}}`)
	_, err = s.CoerceMetadata(o, jsonschema.CoerceOptions{})
	require.ErrorContains(t, err, `spec.template.kind: Invalid value: 1: must be a string`)
	_, err = s.CoerceMetadata(o, jsonschema.CoerceOptions{Root: true, Drop: true})
	require.Nil(t, err)
	require.Equal(t, object(t, `{metadata: {name: x}, spec: {template: {}}}`), o)

	meta, unknown, coerceErr := jsonschema.ObjectMeta(object(t, `{metadata: {name: x, odd: 1}}`), false, true)
	require.NoError(t, coerceErr)
	require.Equal(t, "x", meta.Name)
	require.Equal(t, []string{"metadata.odd"}, unknown)
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		want   string
		status bool
	}{
		"not structural":  {`{type: object, properties: {a: {}}}`, `x.properties[a].type: Required value: must not be empty for specified object fields`, false},
		"root":            {`{type: array, items: {type: string}}`, `x.type: Invalid value: "array": must be object at the root`, false},
		"nested type":     {`{type: object, properties: {a: {type: string, anyOf: [{type: string}]}}}`, `x.properties[a].anyOf[0].type: Forbidden: must be empty to be structural`, false},
		"incomplete":      {`{type: object, anyOf: [{required: [a], properties: {a: {minLength: 1}}}]}`, `x.properties[a]: Required value: because it is defined in x.anyOf[0].properties[a]`, false},
		"bad default":     {`{type: object, properties: {a: {type: string, default: 1}}}`, `x.properties[a].default: Invalid value: "integer":  in body must be of type string: "integer"`, false},
		"unpruned":        {`{type: object, properties: {a: {type: object, default: {b: 1}}}}`, `x.properties[a].default: Invalid value: {"b":1}: must not have unknown fields`, false},
		"keys":            {`{type: object, properties: {a: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}}}`, `x.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property`, false},
		"rule":            {`{type: object, x-kubernetes-validations: [{rule: " "}]}`, `x.x-kubernetes-validations[0].rule: Required value: rule is not specified`, false},
		"field path":      {`{type: object, properties: {a: {type: string}}, x-kubernetes-validations: [{rule: "true", fieldPath: .b}]}`, `x.x-kubernetes-validations[0].fieldPath: Invalid value: ".b": must be a valid path`, false},
		"status":          {`{type: object, maxProperties: 1}`, `x: Invalid value: {"type":"object","maxProperties":1}: only [Description`, true},
		"additional root": {`{type: object, additionalProperties: {type: string}}`, `x.additionalProperties: Forbidden: must not be used at the root`, false},
	} {
		errs := jsonschema.Check(schemaOf(t, c.schema), field.NewPath("x"), jsonschema.CheckOptions{Status: c.status})
		require.Len(t, errs, 1, name)
		require.Contains(t, errs[0].Error(), c.want, name)
	}
	require.Empty(t, jsonschema.Check(nil, nil, jsonschema.CheckOptions{}))
}

func TestFieldPath(t *testing.T) {
	s := schemaOf(t, `{type: object, properties: {a: {type: object, properties: {"b.c": {type: object, additionalProperties: {type: object, properties: {d: {type: string}}}}}}}}`)
	at, err := jsonschema.FieldPath(s, `.a['b.c'].x.d`)
	require.NoError(t, err)
	require.Equal(t, "a.b.c[x].d", at.String())
	for _, bad := range []string{"a", ".", ".x", ".a[", ".a['b.c", ".a['b.c'", ".a['b.c']]", ".a['\\q']", ".a.b.c", ".a['b.c'].x.d.e"} {
		_, err := jsonschema.FieldPath(s, bad)
		require.Error(t, err, bad)
	}
}

// Hostile schemas are refused, and hostile objects take bounded time.
func TestBounds(t *testing.T) {
	deep := &props{Type: "object"}
	for range jsonschema.MaxDepth + 10 {
		deep = &props{Type: "object", Properties: map[string]props{"a": *deep}}
	}
	errs := jsonschema.Check(deep, field.NewPath("x"), jsonschema.CheckOptions{})
	require.Len(t, errs, 1)
	require.Contains(t, errs[0].Error(), "more than 500 levels")
	_, err := jsonschema.Compile(deep)
	require.Error(t, err)

	branch := props{Type: "object"}
	for range 1000 {
		branch.AnyOf = append(branch.AnyOf, props{Required: []string{"nothing"}})
	}
	many, err := jsonschema.Compile(&props{Type: "object", Properties: map[string]props{
		"list": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &branch}},
		"n":    {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &props{Type: "string"}}},
	}})
	require.NoError(t, err)
	list := make([]any, 200_000)
	for i := range list {
		list[i] = map[string]any{}
	}
	start := time.Now()
	got := many.Validate(nil, map[string]any{"list": list, "n": list}, nil)
	require.NotEmpty(t, got)
	require.LessOrEqual(t, len(got), jsonschema.MaxErrors+1)
	require.Less(t, time.Since(start), time.Minute)

	strange := make([]any, 100_000)
	for i := range strange {
		strange[i] = map[string]any{strings.Repeat("x", 100): 1}
	}
	o := map[string]any{"n": strange}
	require.LessOrEqual(t, len(many.Prune(o)), jsonschema.MaxDropped)
	require.Empty(t, many.Prune(o), "all is gone, told or not")
}

// A Schema may be used concurrently.
func TestConcurrent(t *testing.T) {
	s := compiled(t, widget)
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 50 {
				o := object(t, `{spec: {size: 1, name: a, rows: [{key: a, value: a}], template: {apiVersion: v1, kind: Pod}}}`)
				old := runtime.DeepCopyJSON(o)
				s.Prune(o)
				s.Default(o)
				require.Empty(t, s.Validate(nil, o, old))
				require.NotNil(t, s.Shape().Field("spec").Type.Field("rows"))
			}
		})
	}
}
