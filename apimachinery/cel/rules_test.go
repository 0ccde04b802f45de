package cel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/cel"
)

func schemaOf(t testing.TB, text string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	s := &apiextensionsv1.JSONSchemaProps{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), s))
	return s
}

func dataOf(t testing.TB, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	b, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	var v any
	require.NoError(t, utiljson.Unmarshal(b, &v))
	return v
}

func texts(errs field.ErrorList) []string {
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return all
}

// judged is what rules say about new data, and old.
func judged(t *testing.T, s *apiextensionsv1.JSONSchemaProps, newer, older string) []string {
	errs, _ := cel.New().Rules(s, true).Validate(t.Context(), nil, dataOf(t, newer), dataOf(t, older), cel.Budget)
	return texts(errs)
}

func TestRules(t *testing.T) {
	s := schemaOf(t, `
type: object
properties:
  spec:
    type: object
    x-kubernetes-validations:
    - {rule: self.min <= self.max, message: min must not exceed max, fieldPath: .min}
    - {rule: self.min > 0, messageExpression: "'min is %d'.format([self.min])", reason: FieldValueForbidden}
    properties:
      min: {type: integer}
      max: {type: integer}
      name: {type: string, maxLength: 10, x-kubernetes-validations: [{rule: "self == oldSelf", reason: FieldValueForbidden}]}
      ports: {type: array, maxItems: 3, items: {type: integer, x-kubernetes-validations: [{rule: self > 1000}]}}
      labels: {type: object, maxProperties: 3, additionalProperties: {type: string, maxLength: 3, x-kubernetes-validations: [{rule: "self != 'x'"}]}}
`)
	require.Empty(t, cel.New().CheckSchema(s, field.NewPath("schema"), cel.SchemaCheck{}))
	require.Empty(t, judged(t, s, `{spec: {min: 1, max: 2, name: b}}`, ""))
	require.Equal(t, []string{
		`spec.min: Invalid value: min must not exceed max`,
		`spec: Forbidden: min is 0`,
		`spec.labels[app]: Invalid value: "x": failed rule: self != 'x'`,
		`spec.name: Forbidden: failed rule: self == oldSelf`,
		`spec.ports[1]: Invalid value: 80: failed rule: self > 1000`,
	}, judged(t, s, `{spec: {min: 0, max: -1, name: b, ports: [8080, 80], labels: {app: x, b: c}}}`, `{spec: {min: 1, max: 2, name: a}}`))
	require.Equal(t, []string{`spec: Invalid value: "object": no such key: min evaluating rule: min must not exceed max`,
		`spec: Invalid value: "object": no such key: min evaluating rule: self.min > 0`}, judged(t, s, `{spec: {}}`, ""))
}

// TestNoRules has nothing to say.
func TestNoRules(t *testing.T) {
	s := schemaOf(t, `{type: object, properties: {a: {type: integer}}}`)
	r := cel.New().Rules(s, true)
	require.Nil(t, r)
	errs, left := r.Validate(t.Context(), nil, dataOf(t, `{a: 1}`), nil, 5)
	require.Empty(t, errs)
	require.EqualValues(t, 5, left)
	require.Empty(t, cel.New().CheckSchema(s, nil, cel.SchemaCheck{}))
}

// TestUnchanged refuses only what is new, and warns of the rest (KEP-4008).
func TestUnchanged(t *testing.T) {
	s := schemaOf(t, `
type: object
properties:
  a: {type: integer, x-kubernetes-validations: [{rule: self > 5}]}
  grows: {type: integer, x-kubernetes-validations: [{rule: self > oldSelf}]}
  list:
    type: array
    maxItems: 5
    x-kubernetes-list-type: map
    x-kubernetes-list-map-keys: [k]
    items: {type: object, required: [k], properties: {k: {type: string, maxLength: 3}, v: {type: integer, x-kubernetes-validations: [{rule: self > 5}]}}}
  atomic: {type: array, maxItems: 5, items: {type: integer, x-kubernetes-validations: [{rule: self > 5}]}}
`)
	require.Empty(t, judged(t, s, `{a: 1, list: [{k: y, v: 2}, {k: x, v: 1}], atomic: [1, 9]}`, `{a: 1, list: [{k: x, v: 1}, {k: y, v: 2}], atomic: [1, 9]}`))
	require.Equal(t, []string{
		`a: Invalid value: 2: failed rule: self > 5`,
		`atomic[0]: Invalid value: 1: failed rule: self > 5`,
		`grows: Invalid value: 1: failed rule: self > oldSelf`,
		`list[1].v: Invalid value: 3: failed rule: self > 5`,
	}, judged(t, s, `{a: 2, grows: 1, list: [{k: y, v: 2}, {k: x, v: 3}], atomic: [1, 8]}`, `{a: 1, grows: 1, list: [{k: x, v: 1}, {k: y, v: 2}], atomic: [1, 9]}`))
	var warned []string
	r := cel.New().Rules(s, true)
	o := cel.Object{New: dataOf(t, `{a: 1}`), Old: dataOf(t, `{a: 1}`), Warn: func(text string) { warned = append(warned, text) }}
	errs, _ := r.Judge(t.Context(), o, cel.Budget)
	require.Empty(t, errs)
	require.Equal(t, []string{`a: Invalid value: 1: failed rule: self > 5`}, warned)
	o.Strict = true
	errs, _ = r.Judge(t.Context(), o, cel.Budget)
	require.Len(t, errs, 1)
}

// TestCosts bounds what rules cost by estimate, at each run, and together.
func TestCosts(t *testing.T) {
	env := cel.New()
	s := schemaOf(t, `
type: object
properties:
  names:
    type: array
    items: {type: string, x-kubernetes-validations: [{rule: "self.matches('^a+$')"}]}
`)
	require.Equal(t, []string{
		`s.properties[names].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`,
		`s.properties[names].items.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema`,
		`s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`,
	}, texts(env.CheckSchema(s, field.NewPath("s"), cel.SchemaCheck{})))
	require.Len(t, env.CheckSchema(s, field.NewPath("s"), cel.SchemaCheck{Unchanged: true}), 2)
	require.Empty(t, env.CheckSchema(s, field.NewPath("s"), cel.SchemaCheck{Broken: true}))

	long := strings.Repeat("x", 20_000)
	s = schemaOf(t, `{type: string, x-kubernetes-validations: [{rule: self.contains(self)}, {rule: "false"}]}`)
	errs, left := env.Rules(s, false).Validate(t.Context(), nil, long, nil, cel.Budget)
	require.EqualValues(t, -1, left)
	require.Equal(t, []string{`<nil>: Invalid value: "string": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.contains(self)`}, texts(errs))
	s = schemaOf(t, `
type: object
properties: {l: {type: array, items: {type: integer}, x-kubernetes-validations: [{rule: "self.all(x, self.all(y, x <= y || x > y))"}, {rule: "false"}]}}
`)
	var many []any
	for range 200 {
		many = append(many, int64(1))
	}
	errs, left = env.Rules(s, true).Validate(t.Context(), nil, map[string]any{"l": many[:20]}, nil, 100)
	require.EqualValues(t, -1, left)
	require.Equal(t, []string{`l: Invalid value: "array": validation failed due to running out of cost budget, no further validation rules will be run`}, texts(errs))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs, left = env.Rules(s, true).Validate(ctx, nil, map[string]any{"l": many}, nil, cel.Budget)
	require.Negative(t, left)
	require.Contains(t, texts(errs)[0], "operation interrupted: context canceled evaluating rule")
}

// TestRefused says where rules of a definition are wrong.
func TestRefused(t *testing.T) {
	s := schemaOf(t, `
type: object
x-kubernetes-validations: [{rule: self.nothing == 1}, {rule: self.a}, {rule: self.a > 1, messageExpression: self.a}, {rule: self.a > 1, optionalOldSelf: true}]
properties:
  a: {type: integer}
  l: {type: array, maxItems: 3, items: {type: integer, x-kubernetes-validations: [{rule: self > oldSelf}]}}
`)
	got := texts(cel.New().CheckSchema(s, field.NewPath("s"), cel.SchemaCheck{}))
	require.Len(t, got, 5)
	require.Equal(t, `s.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: "self > oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[l]`, got[0])
	require.Contains(t, got[1], `s.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.nothing == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field 'nothing'`)
	require.Contains(t, got[2], "cel expression must evaluate to a bool")
	require.Contains(t, got[3], "messageExpression must evaluate to a string")
	require.Equal(t, `s.x-kubernetes-validations[3].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule`, got[4])
}

func TestBlocks(t *testing.T) {
	require.False(t, cel.Blocks(field.ErrorList{field.Invalid(nil, 1, "x"), field.Forbidden(nil, "x")}))
	require.True(t, cel.Blocks(field.ErrorList{field.Required(nil, "x")}))
	require.Contains(t, cel.NotChecked().Error(), "some validation rules were not checked")
}

// TestEscape is reversible.
func TestEscape(t *testing.T) {
	for name, ident := range map[string]string{
		"a": "a", "a_b": "a_b", "a__b": "a__underscores__b", "a.b-c/d": "a__dot__b__dash__c__slash__d", "namespace": "__namespace__",
		"_x": "_x", "a___b": "a__underscores___b",
	} {
		got, ok := cel.Escape(name)
		require.True(t, ok)
		require.Equal(t, ident, got)
		back, ok := cel.Unescape(ident)
		require.True(t, ok)
		require.Equal(t, name, back)
	}
	for _, name := range []string{"", "9a", "$ref", "a b", "ä"} {
		_, ok := cel.Escape(name)
		require.False(t, ok, name)
	}
	for _, ident := range []string{"__nonsense__", "a__namespace__"} {
		_, ok := cel.Unescape(ident)
		require.False(t, ok, ident)
	}
}
