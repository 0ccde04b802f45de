package crd_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const widgets = "/apis/example.com/v1/namespaces/default/widgets"

// widgetDefinition exercises what one version can have.
const widgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color, description: its color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Since, type: date, jsonPath: .metadata.creationTimestamp}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status', priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            x-kubernetes-validations:
            - {rule: "self.replicas <= 10", message: too many}
            - {rule: "self.color == oldSelf.color || self.color != 'black'", message: not to black}
            properties:
              color: {type: string, maxLength: 20}
              replicas: {type: integer, default: 1}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, port: {type: integer}}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
              conditions:
                type: array
                items: {type: object, properties: {type: {type: string}, status: {type: string}}}
`

func widget(name, spec string) string {
	return "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: " + name + "}\nspec: " + spec
}

func TestServe(t *testing.T) {
	w := start(t, nil)
	w.post(definitions, widgetDefinition).is(201)
	// served at once, without waiting for the condition
	a := w.post(widgets, widget("a", "{color: red, unknown: 1, free: {x: {z: 1}}}")).is(201)
	require.Equal(t, int64(1), a.at("spec.replicas"))
	require.Nil(t, a.at("spec.unknown"))
	require.Equal(t, int64(1), a.at("spec.free.x.z"))
	require.Equal(t, int64(1), a.at("metadata.generation"))
	require.Equal(t, []string{`299 - "unknown field \"spec.unknown\""`}, a.warning)

	t.Run("discovery", func(t *testing.T) {
		w.get("/apis/example.com/v1").is(200).says(`"shortNames":["wd"]`).says(`"name":"widgets/status"`).says(`"categories":["all"]`).says(`"kind":"Scale"`)
	})
	t.Run("strict", func(t *testing.T) {
		w.post(widgets+"?fieldValidation=Strict", widget("b", "{color: red, unknown: 1}")).is(400).says(`unknown field \"spec.unknown\"`)
		w.do("POST", widgets+"?fieldValidation=Strict", "application/json", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{"color":"a","color":"b"}}`).
			is(400).says(`duplicate field \"spec.color\"`)
		require.Empty(t, w.post(widgets+"?fieldValidation=Ignore&dryRun=All", widget("b", "{color: red, unknown: 1}")).is(201).warning)
		w.post(widgets+"?fieldValidation=Strict", "{apiVersion: example.com/v1, kind: Widget, metadata: {name: b, nome: x}, spec: {color: red}}").is(400).says(`unknown field \"metadata.nome\"`)
	})
	t.Run("validation", func(t *testing.T) {
		w.post(widgets, widget("b", "{}")).is(422).says(`"field":"spec.color"`).says("FieldValueRequired")
		w.post(widgets, widget("b", "{color: 1}")).is(422).says("FieldValueTypeInvalid").says("some validation rules were not checked")
		w.post(widgets, widget("b", "{color: red, replicas: 11}")).is(422).says("too many")
		w.post(widgets, widget("b", "{color: red, replicas: -1}")).is(422).says("should be a non-negative integer")
		w.post(widgets, widget("B_", "{color: red}")).is(422).says("metadata.name")
		w.do("POST", widgets, "application/json", `{"apiVersion":"example.com/v1","kind":"Other","metadata":{"name":"x"}}`).is(400)
		w.do("POST", widgets, "application/json", `[1]`).is(400)
		w.do("POST", widgets, "application/json", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":7}}`).is(400)
	})
	t.Run("update", func(t *testing.T) {
		w.put(widgets+"/a", widget("a", "{color: red}")).is(422).says("must be specified for an update")
		b := w.merge(widgets+"/a", "{spec: {replicas: 3}, status: {replicas: 9}}").is(200)
		require.Equal(t, int64(2), b.at("metadata.generation"))
		require.Nil(t, b.at("status"))
		w.merge(widgets+"/a", "{spec: {color: black}}").is(422).says("not to black")
		same := w.merge(widgets+"/a", "{spec: {replicas: 3}}").is(200)
		require.Equal(t, b.at("metadata.resourceVersion"), same.at("metadata.resourceVersion"))
		w.do("PATCH", widgets+"/a", "application/strategic-merge-patch+json", "{}").is(415).says("application/apply-patch+yaml")
		w.do("PATCH", widgets+"/a", "application/json-patch+json", `[{"op":"replace","path":"/spec/replicas","value":4}]`).is(200)
	})
	t.Run("status", func(t *testing.T) {
		s := w.merge(widgets+"/a/status", "{metadata: {labels: {x: z}}, spec: {replicas: 7}, status: {replicas: 2, selector: a=b, conditions: [{type: Ready, status: 'True'}], huh: 1}}").is(200)
		require.Equal(t, int64(4), s.at("spec.replicas"))
		require.Equal(t, int64(2), s.at("status.replicas"))
		require.Nil(t, s.at("status.huh"))
		require.Nil(t, s.at("metadata.labels"))
		require.Equal(t, int64(3), s.at("metadata.generation"))
		w.merge(widgets+"/a/status", "{status: {replicas: no}}").is(422).says("status.replicas")
	})
	t.Run("scale", func(t *testing.T) {
		s := w.get(widgets + "/a/scale").is(200)
		require.Equal(t, int64(4), s.at("spec.replicas"))
		require.Equal(t, "a=b", s.at("status.selector"))
		require.Equal(t, "Scale", s.at("kind"))
		w.merge(widgets+"/a/scale", "{spec: {replicas: 5}}").is(200)
		require.Equal(t, int64(5), w.get(widgets+"/a").at("spec.replicas"))
		w.merge(widgets+"/a/scale", "{spec: {replicas: 50}}").is(422).says("too many")
	})
	t.Run("apply", func(t *testing.T) {
		doc := widget("c", "{color: red, ports: [{name: http, port: 80}]}")
		w.apply(widgets+"/c", doc).is(201)
		w.do("PATCH", widgets+"/c?fieldManager=other", "application/apply-patch+yaml", widget("c", "{ports: [{name: https, port: 443}]}")).is(200)
		require.Len(t, w.get(widgets+"/c").at("spec.ports"), 2)
		w.do("PATCH", widgets+"/c?fieldManager=other", "application/apply-patch+yaml", widget("c", "{color: blue}")).is(409).says(".spec.color")
		w.apply(widgets+"/c", widget("c", "{color: red, wrong: 1}")).says("wrong")
	})
	t.Run("select", func(t *testing.T) {
		w.post(widgets, widget("d", "{color: green}")).is(201)
		require.Len(t, w.get(widgets+"?fieldSelector=spec.color%3Dgreen").is(200).at("items"), 1)
		require.Len(t, w.get(widgets+"?fieldSelector=spec.color%21%3Dgreen").is(200).at("items"), 2)
		w.get(widgets + "?fieldSelector=spec.replicas%3D1").is(400).says("field label not supported")
		require.Equal(t, "WidgetList", w.get(widgets).at("kind"))
	})
	t.Run("table", func(t *testing.T) {
		a := w.do("GET", widgets+"/a", "", "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").is(200)
		a.says(`{"name":"Color","type":"string","format":"","description":"its color","priority":0}`)
		a.says(`"cells":["a","red",5,"`).says(`s","True"]`)
	})
	t.Run("metadata", func(t *testing.T) {
		w.do("GET", widgets, "", "", "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").is(200).says(`"kind":"PartialObjectMetadata`)
	})
}
