package customresources

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// world is a server, and a definition in it for each test.
type world struct {
	*testing.T
	client dynamic.Interface
	n      int
}

func newWorld(t *testing.T) *world {
	_, config := plane.Start(t, bedplate.Config{})
	d, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	return &world{T: t, client: d}
}

// definition is a definition of a kind Thing whose spec has this schema, in YAML's flow style. more are further fields
// of its version.
func (w *world) definition(spec, more string) *unstructured.Unstructured {
	w.n++
	u := &unstructured.Unstructured{}
	require.NoError(w, yaml.Unmarshal(fmt.Appendf(nil, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.g%[1]d.example.com}
spec:
  group: g%[1]d.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: %[2]s, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}%[3]s}
`, w.n, spec, more), &u.Object))
	return u
}

// define makes the definition and returns the door to its objects.
func (w *world) define(t *testing.T, u *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	_, err := w.client.Resource(definitions).Create(t.Context(), u, metav1.CreateOptions{})
	require.NoError(t, err)
	w.established(t, u.GetName())
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	return w.client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "things"}).Namespace("default")
}

func (w *world) established(t *testing.T, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		got, err := w.client.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		raw, err := json.Marshal(got.Object["status"])
		require.NoError(t, err)
		return strings.Contains(string(raw), `"status":"True","type":"Established"`)
	}, 30*time.Second, 5*time.Millisecond)
}

func thing(u *unstructured.Unstructured, spec string) *unstructured.Unstructured {
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	o := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal([]byte("spec: "+spec), &o.Object); err != nil {
		panic(err)
	}
	o.SetAPIVersion(group + "/v1")
	o.SetKind("Thing")
	o.SetName("t")
	return o
}

// TestSpecs: what becomes of a spec under a schema: what is stored, or why it is refused.
func TestSpecs(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct{ schema, sent, stored, refused string }{
		"unknown fields are pruned":                    {`{type: object, properties: {a: {type: string}}}`, `{a: x, b: y}`, `{a: x}`, ""},
		"at every depth":                               {`{type: object, properties: {l: {type: array, items: {type: object, properties: {a: {type: string}}}}}}`, `{l: [{a: x, b: y}]}`, `{l: [{a: x}]}`, ""},
		"unless they are preserved":                    {`{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: object, properties: {b: {type: string}}}}}`, `{c: 1, a: {b: x, d: y}}`, `{c: 1, a: {b: x}}`, ""},
		"embedded resources keep their own metadata":   {`{type: object, properties: {e: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}}`, `{e: {apiVersion: v1, kind: X, metadata: {name: it}, z: 1}}`, `{e: {apiVersion: v1, kind: X, metadata: {name: it}, z: 1}}`, ""},
		"embedded resources need a kind":               {`{type: object, properties: {e: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}}}`, `{e: {apiVersion: v1}}`, "", "spec.e.kind"},
		"defaults fill in":                             {`{type: object, properties: {a: {type: string, default: x}}}`, `{}`, `{a: x}`, ""},
		"defaults of defaults":                         {`{type: object, properties: {o: {type: object, default: {}, properties: {a: {type: integer, default: 5}}}}}`, `{}`, `{o: {a: 5}}`, ""},
		"null is pruned before defaulting":             {`{type: object, properties: {a: {type: string, default: x}}}`, `{a: null}`, `{a: x}`, ""},
		"nullable keeps null, default or not":          {`{type: object, properties: {a: {type: string, nullable: true, default: x}}}`, `{a: null}`, `{a: null}`, ""},
		"null without a default is pruned":             {`{type: object, properties: {a: {type: string}}}`, `{a: null}`, `{}`, ""},
		"types are checked":                            {`{type: object, properties: {a: {type: integer}}}`, `{a: x}`, "", "spec.a"},
		"int-or-string takes both":                     {`{type: object, properties: {a: {x-kubernetes-int-or-string: true}, b: {x-kubernetes-int-or-string: true}}}`, `{a: 1, b: 50%}`, `{a: 1, b: 50%}`, ""},
		"int-or-string takes nothing else":             {`{type: object, properties: {a: {x-kubernetes-int-or-string: true}}}`, `{a: true}`, "", "spec.a"},
		"required fields":                              {`{type: object, required: [a], properties: {a: {type: string}}}`, `{}`, "", "spec.a: Required value"},
		"enums":                                        {`{type: object, properties: {a: {type: string, enum: [x, z]}}}`, `{a: q}`, "", `supported values: "x", "z"`},
		"patterns":                                     {`{type: object, properties: {a: {type: string, pattern: "^x+$"}}}`, `{a: z}`, "", "should match"},
		"formats":                                      {`{type: object, properties: {a: {type: string, format: ipv4}}}`, `{a: z}`, "", "spec.a"},
		"unknown formats are ignored":                  {`{type: object, properties: {a: {type: string, format: colour}}}`, `{a: z}`, `{a: z}`, ""},
		"lengths":                                      {`{type: object, properties: {a: {type: string, maxLength: 2}}}`, `{a: zzz}`, "", "may not be more than 2"},
		"sets have no duplicates":                      {`{type: object, properties: {l: {type: array, x-kubernetes-list-type: set, items: {type: string}}}}`, `{l: [a, a]}`, "", "Duplicate value"},
		"list maps have no duplicate keys":             {`{type: object, properties: {l: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, required: [k], properties: {k: {type: string}, v: {type: integer}}}}}}`, `{l: [{k: a, v: 1}, {k: a, v: 2}]}`, "", "Duplicate value"},
		"allOf":                                        {`{type: object, properties: {a: {type: integer, allOf: [{minimum: 1}, {maximum: 3}]}}}`, `{a: 4}`, "", "spec.a"},
		"oneOf":                                        {`{type: object, properties: {a: {type: string}, b: {type: string}}, oneOf: [{required: [a]}, {required: [b]}]}`, `{a: x, b: y}`, "", "must validate one and only one schema"},
		"not":                                          {`{type: object, properties: {a: {type: integer, not: {enum: [7]}}}}`, `{a: 7}`, "", "spec.a"},
		"maps by additionalProperties":                 {`{type: object, additionalProperties: {type: integer}}`, `{a: 1, b: x}`, "", "spec.b"},
		"rules hold":                                   {`{type: object, properties: {a: {type: integer}, b: {type: integer}}, x-kubernetes-validations: [{rule: "self.a <= self.b", message: too much}]}`, `{a: 2, b: 1}`, "", "too much"},
		"rules say where":                              {`{type: object, properties: {a: {type: integer}}, x-kubernetes-validations: [{rule: "self.a < 1", fieldPath: .a, reason: FieldValueForbidden}]}`, `{a: 2}`, "", "spec.a: Forbidden"},
		"messages are expressions":                     {`{type: object, properties: {a: {type: string, maxLength: 9}}, x-kubernetes-validations: [{rule: "self.a != 'x'", messageExpression: "'not ' + self.a"}]}`, `{a: x}`, "", "not x"},
		"rules of what is absent are not asked":        {`{type: object, properties: {a: {type: integer, x-kubernetes-validations: [{rule: "self > 3"}]}}}`, `{}`, `{}`, ""},
		"rules see defaults":                           {`{type: object, properties: {a: {type: integer, default: 2, x-kubernetes-validations: [{rule: "self > 3", message: small}]}}}`, `{}`, "", "small"},
		"transition rules are not asked on creation":   {`{type: object, properties: {a: {type: integer}}, x-kubernetes-validations: [{rule: "self.a == oldSelf.a"}]}`, `{a: 2}`, `{a: 2}`, ""},
		"optional old values are asked on creation":    {`{type: object, properties: {a: {type: integer}}, x-kubernetes-validations: [{rule: "oldSelf.hasValue() || self.a == 1", optionalOldSelf: true, message: begin with 1}]}`, `{a: 2}`, "", "begin with 1"},
		"names that are no identifiers can be escaped": {`{type: object, properties: {x-y: {type: integer}}, x-kubernetes-validations: [{rule: "self.x__dash__y > 1"}]}`, `{x-y: 2}`, `{x-y: 2}`, ""},
		"quantities, addresses and times in rules":     {`{type: object, properties: {q: {type: string}, i: {type: string}}, x-kubernetes-validations: [{rule: "quantity(self.q).isGreaterThan(quantity('1Gi')) && isIP(self.i)"}]}`, `{q: 2Gi, i: "::1"}`, `{q: 2Gi, i: "::1"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := w.definition(c.schema, "")
			got, err := w.define(t, u).Create(t.Context(), thing(u, c.sent), metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore})
			if c.refused != "" {
				require.True(t, apierrors.IsInvalid(err), "%v", err)
				require.ErrorContains(t, err, c.refused)
				return
			}
			require.NoError(t, err)
			want, err := yaml.YAMLToJSON([]byte(c.stored))
			require.NoError(t, err)
			stored, err := json.Marshal(got.Object["spec"])
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(stored))
		})
	}
}

// TestDefinitions: what is no definition.
func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct{ schema, more, refused string }{
		"schemas are structural: types":                  {`{type: object, properties: {a: {}}}`, "", "type"},
		"schemas are structural: nothing new in allOf":   {`{type: object, allOf: [{properties: {a: {type: string}}}]}`, "", "structural"},
		"no types within logic":                          {`{type: object, properties: {a: {type: integer, anyOf: [{type: integer}]}}}`, "", "must be empty to be structural"},
		"no uniqueItems":                                 {`{type: object, properties: {l: {type: array, uniqueItems: true, items: {type: string}}}}`, "", "uniqueItems"},
		"properties and additionalProperties exclude":    {`{type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}`, "", "additionalProperties"},
		"keys of list maps are required or have default": {`{type: object, properties: {l: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}}}`, "", "required"},
		"defaults satisfy the schema":                    {`{type: object, properties: {a: {type: string, default: 1}}}`, "", "default"},
		"defaults are pruned":                            {`{type: object, properties: {a: {type: object, default: {b: 1}}}}`, "", "default"},
		"rules compile":                                  {`{type: object, properties: {a: {type: integer}}, x-kubernetes-validations: [{rule: "self.b > 1"}]}`, "", "undefined field 'b'"},
		"rules are bounded in cost":                      {`{type: object, properties: {l: {type: array, items: {type: array, items: {type: string}}}}, x-kubernetes-validations: [{rule: "self.l.all(a, a.all(b, self.l.all(c, c.all(d, d != b + 'x'))))"}]}`, "", "exceeds budget"},
		"no transition rules where lists are atomic":     {`{type: object, properties: {l: {type: array, items: {type: string, x-kubernetes-validations: [{rule: "self == oldSelf"}]}}}}`, "", "oldSelf"},
		"selectable fields are scalars":                  {`{type: object, properties: {a: {type: object}}}`, `, selectableFields: [{jsonPath: .spec.a}]`, "selectableFields"},
		"columns have paths":                             {`{type: object}`, `, additionalPrinterColumns: [{name: A, type: string, jsonPath: "spec..["}]`, "additionalPrinterColumns"},
		"scale is of the spec":                           {`{type: object}`, `, subresources: {scale: {specReplicasPath: .status.n, statusReplicasPath: .status.n}}`, "specReplicasPath"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client.Resource(definitions).Create(t.Context(), w.definition(c.schema, c.more), metav1.CreateOptions{})
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			require.ErrorContains(t, err, c.refused)
		})
	}
}

func merge(t *testing.T, r dynamic.ResourceInterface, patch string, sub ...string) (*unstructured.Unstructured, error) {
	return r.Patch(t.Context(), "t", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, sub...)
}

// TestRatcheting: what was invalid before may stay so while it is not touched; what is touched must be valid.
func TestRatcheting(t *testing.T) {
	w := newWorld(t)
	u := w.definition(`{type: object, properties: {a: {type: string}, b: {type: string}, num: {type: integer}}}`, "")
	r := w.define(t, u)
	_, err := r.Create(t.Context(), thing(u, `{a: long, b: long, num: 5}`), metav1.CreateOptions{})
	require.NoError(t, err)
	stricter := `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/a/maxLength","value":2},
		{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/num/x-kubernetes-validations","value":[{"rule":"self < 3","message":"below 3"}]}]`
	_, err = w.client.Resource(definitions).Patch(t.Context(), u.GetName(), types.JSONPatchType, []byte(stricter), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		o := thing(u, `{a: long}`)
		o.SetName("probe")
		_, err := r.Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInvalid(err)
	}, 30*time.Second, 5*time.Millisecond)
	_, err = merge(t, r, `{"spec":{"b":"other"}}`)
	require.NoError(t, err)
	_, err = merge(t, r, `{"spec":{"a":"longer"}}`)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	_, err = merge(t, r, `{"spec":{"num":6}}`)
	require.ErrorContains(t, err, "below 3")
	_, err = merge(t, r, `{"spec":{"num":2,"a":"ab"}}`)
	require.NoError(t, err)
}

// TestSubresources: status and scale are doors of their own; the generation counts changes of the wish.
func TestSubresources(t *testing.T) {
	w := newWorld(t)
	u := w.definition(`{type: object, properties: {num: {type: integer}, a: {type: string}}}`,
		`, subresources: {status: {}, scale: {specReplicasPath: .spec.num, statusReplicasPath: .status.num, labelSelectorPath: .status.s}}, selectableFields: [{jsonPath: .spec.a}]`)
	r := w.define(t, u)
	o := thing(u, `{num: 1, a: x}`)
	o.Object["status"] = map[string]any{"num": int64(9)}
	made, err := r.Create(t.Context(), o, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Nil(t, made.Object["status"], "status goes through its own door")
	require.EqualValues(t, 1, made.GetGeneration())
	got, err := merge(t, r, `{"status":{"num":1,"s":"a=b"},"spec":{"num":7}}`, "status")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"num": int64(1), "a": "x"}, got.Object["spec"])
	require.EqualValues(t, 1, got.GetGeneration())
	scale, err := r.Get(t.Context(), "t", metav1.GetOptions{}, "scale")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"replicas": int64(1), "selector": "a=b"}, scale.Object["status"])
	_, err = merge(t, r, `{"spec":{"replicas":4}}`, "scale")
	require.NoError(t, err)
	got, err = r.Get(t.Context(), "t", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 2, got.GetGeneration())
	for selector, n := range map[string]int{"spec.a=x": 1, "spec.a!=x": 0, "metadata.name=t,spec.a=x": 1} {
		list, err := r.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		require.NoError(t, err)
		require.Len(t, list.Items, n, selector)
	}
	_, err = r.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.num=4"})
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
}

// TestEnd: finalizers hold objects, and objects hold their definition.
func TestEnd(t *testing.T) {
	w := newWorld(t)
	u := w.definition(`{type: object}`, "")
	r := w.define(t, u)
	o := thing(u, `{}`)
	o.SetFinalizers([]string{"example.com/hold"})
	_, err := r.Create(t.Context(), o, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, w.client.Resource(definitions).Delete(t.Context(), u.GetName(), metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		got, err := r.Get(t.Context(), "t", metav1.GetOptions{})
		require.NoError(t, err)
		return got.GetDeletionTimestamp() != nil
	}, 30*time.Second, 5*time.Millisecond)
	o.SetName("another")
	_, err = r.Create(t.Context(), o, metav1.CreateOptions{})
	require.True(t, apierrors.IsMethodNotSupported(err) || apierrors.IsForbidden(err), "%v", err)
	_, err = merge(t, r, `{"metadata":{"finalizers":null}}`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.client.Resource(definitions).Get(t.Context(), u.GetName(), metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := r.List(t.Context(), metav1.ListOptions{})
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 5*time.Millisecond)
}
