package openapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	openapiproto "k8s.io/kube-openapi/pkg/util/proto"
	protovalidation "k8s.io/kube-openapi/pkg/util/proto/validation"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/openapi"
)

// everyKind are all kinds of client-go with an ObjectMeta, in their stable versions, by group and version.
func everyKind(t require.TestingT) map[schema.GroupVersion][]openapi.Resource {
	all := map[schema.GroupVersion][]openapi.Resource{}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		o, err := scheme.Scheme.New(gvk)
		require.NoError(t, err)
		_, named := reflect.TypeOf(o).Elem().FieldByName("ObjectMeta")
		if !named || gvk.Version == runtime.APIVersionInternal || strings.Contains(gvk.Version, "alpha") || strings.Contains(gvk.Version, "beta") {
			continue
		}
		all[gvk.GroupVersion()] = append(all[gvk.GroupVersion()], openapi.Resource{
			GroupVersionKind: gvk, Plural: strings.ToLower(gvk.Kind) + "s", Namespaced: true, Sample: o, Verbs: allVerbs,
			Subresources: []openapi.Subresource{{GroupVersionKind: gvk, Name: "status", Verbs: []string{"get", "update", "patch"}}},
		})
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b openapi.Resource) int { return strings.Compare(a.Kind, b.Kind) })
	}
	return all
}

func inOrder(all map[schema.GroupVersion][]openapi.Resource) iter.Seq2[schema.GroupVersion, []openapi.Resource] {
	return func(yield func(schema.GroupVersion, []openapi.Resource) bool) {
		for _, gv := range slices.SortedFunc(maps.Keys(all), func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) }) {
			if !yield(gv, all[gv]) {
				return
			}
		}
	}
}

var widgetKind = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}

func widgets() map[schema.GroupVersion][]openapi.Resource {
	return map[schema.GroupVersion][]openapi.Resource{widgetKind.GroupVersion(): {{
		GroupVersionKind: widgetKind, ListKind: "WidgetList", Plural: "widgets", Namespaced: true, Verbs: allVerbs, Selectable: []string{"spec.color"},
		Schema: func(version int) ([]byte, error) {
			if version == 2 {
				return []byte(`{"type":"object","description":"a widget","properties":{"metadata":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},"default":{"type":"string"},
					"spec":{"type":"object","default":{"color":"red"},"required":["color"],"additionalProperties":false,"x-kubernetes-map-type":"atomic",
					"properties":{"color":{"type":"string","default":"red","enum":["red",""],"maxLength":7},"sizes":{"type":"array","items":{"type":"number","minimum":-1.5}},"labels":{"type":"object","additionalProperties":{"type":"string"}}}}}}`), nil
			}
			return []byte(`{"type":"object","properties":{"spec":{"type":"object","default":{"color":"red"}}}}`), nil
		},
	}}}
}

func v2(t require.TestingT, protobuf bool, all map[schema.GroupVersion][]openapi.Resource) []byte {
	var b bytes.Buffer
	require.NoError(t, openapi.WriteV2(&b, protobuf, []string{"api", "apis", "apis/apps", "version"}, inOrder(all)))
	return b.Bytes()
}

// The protobuf form is what Kubernetes' own parser makes of the JSON form.
func TestV2Forms(t *testing.T) {
	all := everyKind(t)
	maps.Copy(all, widgets())
	parsed, err := openapi_v2.ParseDocument(v2(t, false, all))
	require.NoError(t, err)
	var ours openapi_v2.Document
	require.NoError(t, proto.Unmarshal(v2(t, true, all), &ours))
	require.Equal(t, len(parsed.GetPaths().GetPath()), len(ours.GetPaths().GetPath()))
	require.Equal(t, len(parsed.GetDefinitions().GetAdditionalProperties()), len(ours.GetDefinitions().GetAdditionalProperties()))
	require.True(t, proto.Equal(tidy(t, parsed), tidy(t, &ours)))
}

// tidy brings values that stand as text in a document into one form.
func tidy(t *testing.T, d *openapi_v2.Document) *openapi_v2.Document {
	var values func(list []*openapi_v2.NamedAny)
	values = func(list []*openapi_v2.NamedAny) {
		for _, v := range list {
			v.Value = plain(t, v.GetValue())
		}
		slices.SortFunc(list, func(a, b *openapi_v2.NamedAny) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	var schemas func(s *openapi_v2.Schema)
	schemas = func(s *openapi_v2.Schema) {
		if s == nil {
			return
		}
		values(s.GetVendorExtension())
		for i, e := range s.GetEnum() {
			s.Enum[i] = plain(t, e)
		}
		if s.Default != nil {
			s.Default = plain(t, s.GetDefault())
		}
		properties := s.GetProperties().GetAdditionalProperties()
		slices.SortFunc(properties, func(a, b *openapi_v2.NamedSchema) int { return strings.Compare(a.GetName(), b.GetName()) })
		for _, p := range properties {
			schemas(p.GetValue())
		}
		for _, i := range s.GetItems().GetSchema() {
			schemas(i)
		}
		schemas(s.GetAdditionalProperties().GetSchema())
	}
	for _, p := range d.GetDefinitions().GetAdditionalProperties() {
		schemas(p.GetValue())
	}
	for _, p := range d.GetPaths().GetPath() {
		i := p.GetValue()
		for _, o := range []*openapi_v2.Operation{i.GetGet(), i.GetPut(), i.GetPost(), i.GetDelete(), i.GetHead(), i.GetOptions(), i.GetPatch()} {
			values(o.GetVendorExtension())
			codes := o.GetResponses().GetResponseCode()
			slices.SortFunc(codes, func(a, b *openapi_v2.NamedResponseValue) int { return strings.Compare(a.GetName(), b.GetName()) })
		}
	}
	return d
}

func plain(t *testing.T, v *openapi_v2.Any) *openapi_v2.Any {
	raw, err := yaml.YAMLToJSON([]byte(v.GetYaml()))
	require.NoError(t, err)
	return &openapi_v2.Any{Yaml: string(raw)}
}

// What kubectl makes of the document: kinds by their names, objects judged by them.
func TestV2JudgesObjects(t *testing.T) {
	var doc openapi_v2.Document
	require.NoError(t, proto.Unmarshal(v2(t, true, everyKind(t)), &doc))
	models, err := openapiproto.NewOpenAPIData(&doc)
	require.NoError(t, err)
	deployment := models.LookupModel("io.k8s.api.apps.v1.Deployment")
	require.NotNil(t, deployment)
	require.Contains(t, deployment.GetExtensions(), "x-kubernetes-group-version-kind")
	object := func(field string) any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{
			field: 3, "selector": map[string]any{}, "template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "a", "resources": map[string]any{"limits": map[string]any{"cpu": "1"}}}}}},
		}}
	}
	require.Empty(t, protovalidation.ValidateModel(object("replicas"), deployment, "Deployment"))
	require.NotEmpty(t, protovalidation.ValidateModel(object("replica"), deployment, "Deployment"))
}

func TestV2References(t *testing.T) {
	all := everyKind(t)
	maps.Copy(all, widgets())
	raw := v2(t, false, all)
	var swagger spec.Swagger
	require.NoError(t, json.Unmarshal(raw, &swagger))
	var doc map[string]any
	require.NoError(t, json.Unmarshal(raw, &doc))
	resolves(t, doc, "#/definitions/", doc["definitions"].(map[string]any))
	require.NotContains(t, string(raw), "#/components")

	spec := swagger.Definitions["com.example.v1.Widget"].Properties["spec"]
	require.Nil(t, spec.Default, "defaults are for version 3")
	require.Contains(t, swagger.Definitions["com.example.v1.Widget"].Properties, "default")
	port := swagger.Definitions["io.k8s.api.core.v1.ContainerPort"].Properties["protocol"]
	require.Nil(t, port.Default)
	require.Equal(t, []any{"SCTP", "TCP", "UDP"}, port.Enum)
	require.Equal(t, "string", swagger.Definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"].Type[0])
	require.Contains(t, swagger.Paths.Paths, "/apis/apps/")
	require.Contains(t, swagger.Paths.Paths, "/version/")
	kinds := swagger.Definitions["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"].Extensions["x-kubernetes-group-version-kind"]
	require.Contains(t, kinds, map[string]any{"group": "apps", "kind": "DeleteOptions", "version": "v1"})
}

func TestEveryKindOfV3(t *testing.T) {
	for gv, resources := range everyKind(t) {
		raw := document(t, gv, resources)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(raw, &doc))
		resolves(t, doc, "#/components/schemas/", doc["components"].(map[string]any)["schemas"].(map[string]any))
	}
}

// resolves demands that every $ref has a target.
func resolves(t *testing.T, v any, prefix string, targets map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		if r, ok := v["$ref"].(string); ok {
			name, ok := strings.CutPrefix(r, prefix)
			require.True(t, ok, r)
			require.Contains(t, targets, name)
		}
		for _, x := range v {
			resolves(t, x, prefix, targets)
		}
	case []any:
		for _, x := range v {
			resolves(t, x, prefix, targets)
		}
	}
}

func TestCustomKind(t *testing.T) {
	doc := parse(t, widgetKind.GroupVersion(), widgets()[widgetKind.GroupVersion()])
	model := doc.Components.Schemas["com.example.v1.Widget"]
	require.Equal(t, []any{map[string]any{"fieldPath": "spec.color"}}, model.Extensions["x-kubernetes-selectable-fields"])
	require.NotNil(t, model.Properties["spec"].Default)
	require.Contains(t, doc.Components.Schemas, "com.example.v1.WidgetList")
	patch := doc.Paths.Paths["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"].Patch
	require.NotContains(t, patch.RequestBody.Content, "application/strategic-merge-patch+json")
	require.Contains(t, patch.RequestBody.Content, "application/apply-patch+yaml")
}

// Two Go types of one name, and one without a name.
func TestLocalTypes(t *testing.T) {
	one := func() any {
		type spec struct {
			A string `json:"a"`
		}
		return &typed[spec]{}
	}()
	two := func() any {
		type spec struct {
			B struct {
				C metav1.Time `json:"c"`
			} `json:"b"`
		}
		return &typed[spec]{}
	}()
	gv := schema.GroupVersion{Group: "x.y", Version: "v1"}
	doc := parse(t, gv, []openapi.Resource{
		{GroupVersionKind: gv.WithKind("One"), Plural: "ones", Sample: one, Verbs: allVerbs},
		{GroupVersionKind: gv.WithKind("Two"), Plural: "twos", Sample: two, Verbs: allVerbs},
	})
	field := func(kind string) map[string]spec.Schema {
		p := doc.Components.Schemas["y.x.v1."+kind].Properties["spec"]
		s := doc.Components.Schemas[strings.TrimPrefix(target(&p), "#/components/schemas/")]
		require.NotNil(t, s)
		return s.Properties
	}
	require.Contains(t, field("One"), "a")
	require.Contains(t, field("Two")["b"].Properties, "c")
}

func BenchmarkEveryKind(b *testing.B) {
	all := everyKind(b)
	for b.Loop() {
		total := 0
		for gv, resources := range all {
			raw := document(b, gv, resources)
			total += len(raw)
			_ = openapi.Hash(raw)
		}
		b.ReportMetric(float64(total), "bytes")
	}
}

func BenchmarkV2(b *testing.B) {
	all := everyKind(b)
	for _, form := range []string{"json", "protobuf"} {
		b.Run(form, func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, openapi.WriteV2(io.Discard, form == "protobuf", nil, inOrder(all)))
			}
			b.ReportMetric(float64(len(v2(b, form == "protobuf", all))), "bytes")
		})
	}
}
