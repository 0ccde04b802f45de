package jsonschema_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

type Tree struct {
	Name     string `json:"name"`
	Children []Tree `json:"children,omitempty" schema:"maxItems=3"`
}

type Inner struct {
	_ struct{} `doc:"a pair" schema:"rule=self.a <= self.b,message=a is not above b,reason=FieldValueInvalid,fieldPath=.a"`
	A int      `json:"a"`
	B int64    `json:"b,omitempty"`
}

type inlined struct {
	Text string `json:"text,omitempty" schema:"pattern=^[a-z]{1\\,3}$,enum=abc|def,default=abc,immutable"`
}

type ThingSpec struct {
	inlined   `json:",inline"`
	Inner     *Inner                       `json:"inner"`
	Inners    []Inner                      `json:"inners,omitempty" schema:"listType=map,listMapKey=a,minItems=1,items.maxProperties=2"`
	Labels    map[string]string            `json:"labels,omitempty" schema:"mapType=atomic,items.maxLength=63"`
	Quantity  resource.Quantity            `json:"quantity,omitempty"`
	Limits    corev1.ResourceList          `json:"limits,omitempty"`
	Port      intstr.IntOrString           `json:"port,omitempty" schema:"default=http"`
	At        *metav1.Time                 `json:"at,omitempty"`
	Fine      metav1.MicroTime             `json:"fine,omitempty"`
	For       metav1.Duration              `json:"for,omitempty"`
	Raw       runtime.RawExtension         `json:"raw,omitempty" schema:"embeddedResource"`
	Any       any                          `json:"any,omitempty"`
	Bytes     []byte                       `json:"bytes,omitempty"`
	Nanos     time.Duration                `json:"nanos,omitempty"`
	Ratio     float64                      `json:"ratio,omitempty" schema:"minimum=0,exclusiveMinimum,maximum=1,nullable"`
	Flag      bool                         `json:"flag" schema:"optional,default=true"`
	Quoted    int64                        `json:"quoted,string,omitempty"`
	Tree      Tree                         `json:"tree,omitempty"`
	Template  corev1.PodTemplateSpec       `json:"template,omitempty"`
	Selector  *metav1.LabelSelector        `json:"selector,omitempty"`
	Condition []metav1.Condition           `json:"conditions,omitempty" schema:"listType=map,listMapKey=type"`
	Nested    map[string]map[string]*Inner `json:"nested,omitempty"`
}

type Thing struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ThingSpec `json:"spec"`
	Status            Inner     `json:"status,omitempty"`
}

func TestFromGo(t *testing.T) {
	s, err := jsonschema.FromGo(&Thing{})
	require.NoError(t, err)
	require.Empty(t, jsonschema.Check(s, nil, jsonschema.CheckOptions{Status: true}))
	require.Equal(t, []string{"spec"}, s.Required)
	require.Equal(t, "object", s.Properties["metadata"].Type)
	require.Empty(t, s.Properties["metadata"].Properties)
	spec := s.Properties["spec"]
	require.Equal(t, []string{"inner"}, spec.Required)

	for name, want := range map[string]string{
		"text":     `{type: string, pattern: "^[a-z]{1,3}$", enum: [abc, def], default: abc, x-kubernetes-validations: [{rule: self == oldSelf, message: Value is immutable}]}`,
		"quantity": `{x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}], pattern: '^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$'}`,
		"port":     `{x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}], default: http}`,
		"at":       `{type: string, format: date-time}`,
		"fine":     `{type: string, format: date-time}`,
		"for":      `{type: string}`,
		"raw":      `{type: object, x-kubernetes-preserve-unknown-fields: true, x-kubernetes-embedded-resource: true}`,
		"any":      `{x-kubernetes-preserve-unknown-fields: true}`,
		"bytes":    `{type: string, format: byte}`,
		"nanos":    `{type: integer, format: int64}`,
		"ratio":    `{type: number, minimum: 0, exclusiveMinimum: true, maximum: 1, nullable: true}`,
		"flag":     `{type: boolean, default: true}`,
		"quoted":   `{type: string}`,
		"labels":   `{type: object, x-kubernetes-map-type: atomic, additionalProperties: {type: string, maxLength: 63}}`,
		"inner": `{type: object, description: a pair, required: [a], properties: {a: {type: integer}, b: {type: integer, format: int64}},
			x-kubernetes-validations: [{rule: self.a <= self.b, message: a is not above b, reason: FieldValueInvalid, fieldPath: .a}]}`,
		"tree": `{type: object, required: [name], properties: {name: {type: string}, children: {type: array, maxItems: 3, items: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}`,
	} {
		p := spec.Properties[name]
		p.Description = map[bool]string{true: p.Description}[name == "inner"]
		got, err := yaml.Marshal(p)
		require.NoError(t, err)
		require.YAMLEq(t, want, string(got), name)
	}
	inners := spec.Properties["inners"]
	require.Equal(t, []string{"a"}, inners.XListMapKeys)
	require.Equal(t, int64(2), *inners.Items.Schema.MaxProperties)

	containers := spec.Properties["template"].Properties["spec"].Properties["containers"]
	require.Equal(t, []string{"name"}, containers.XListMapKeys)
	require.NotEmpty(t, containers.Description)
	ports := containers.Items.Schema.Properties["ports"]
	require.Equal(t, []string{"containerPort", "protocol"}, ports.XListMapKeys)
	require.Equal(t, `"TCP"`, string(ports.Items.Schema.Properties["protocol"].Default.Raw))
	require.Contains(t, spec.Properties["template"].Properties["metadata"].Properties, "labels")
}

func TestFromGoRefuses(t *testing.T) {
	for want, sample := range map[string]any{
		`schema of jsonschema_test.T1: field a: the schema tag has no word "minimun"; did you mean "minimum"?`: func() any {
			type T1 struct {
				A int `json:"a" schema:"minimun=1"`
			}
			return T1{}
		}(),
		`field a: "minLength=1": is for type "string", not for "integer"`: struct {
			A int `json:"a" schema:"minLength=1"`
		}{},
		`field a: "minimum=x": "x" is no number`: struct {
			A int `json:"a" schema:"minimum=x"`
		}{},
		`field a: "default=x": "x" is no JSON`: struct {
			A int `json:"a" schema:"default=x"`
		}{},
		`field a: "message=x": has no rule before it`: struct {
			A int `json:"a" schema:"message=x"`
		}{},
		`field a: "items.minimum=1": neither a list nor a map`: struct {
			A int `json:"a" schema:"items.minimum=1"`
		}{},
		`has keys that are no strings`: struct {
			A map[int]string `json:"a"`
		}{},
		`not a struct or a pointer to one`: 1,
		`there are default`: struct {
			A int `json:"a" schema:"somethingelse"`
		}{},
	} {
		_, err := jsonschema.FromGo(sample)
		require.ErrorContains(t, err, want)
	}
}
