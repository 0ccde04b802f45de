package crd_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage/memory"
)

// plain is a definition with one version and no rules.
func plain(plural, kind string) string {
	return strings.NewReplacer("PLURAL", plural, "KIND", kind).Replace(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: PLURAL, kind: KIND}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {a: {type: string}}}}}}}
`)
}

func TestEndOfADefinition(t *testing.T) {
	w := start(t, nil)
	w.define(widgetDefinition)
	w.post(widgets, widget("a", "{color: red}")).is(201)
	w.post(widgets, "{apiVersion: example.com/v1, kind: Widget, metadata: {name: held, finalizers: [example.com/hold]}, spec: {color: red}}").is(201)
	watch := w.watch(widgets + "?watch=1&resourceVersion=" + w.get(widgets).at("metadata.resourceVersion").(string))

	gone := w.remove(definitions + "/widgets.example.com").is(200)
	require.Equal(t, "True", condition(gone, "Terminating"))
	require.Equal(t, []any{"customresourcecleanup.apiextensions.k8s.io"}, gone.at("metadata.finalizers"))
	w.until(widgets+"/held", func(a answer) bool { return a.at("metadata.deletionTimestamp") != nil })
	w.post(widgets, widget("late", "{color: red}")).is(405)
	typ, o := watch.next()
	require.Equal(t, "DELETED a", typ+" "+o.GetName())
	typ, o = watch.next()
	require.Equal(t, "MODIFIED held", typ+" "+o.GetName())

	w.merge(widgets+"/held", "{metadata: {finalizers: null}}").is(200)
	for typ, o = watch.next(); typ != ""; typ, o = watch.next() { // and then the watch ends
		require.Equal(t, "DELETED held", typ+" "+o.GetName())
	}
	w.get(widgets).is(404)
	w.get(definitions + "/widgets.example.com").is(404)
	require.NotContains(t, string(w.get("/apis").body), "example.com")

	// what comes under the same name is empty
	w.define(widgetDefinition)
	require.Empty(t, w.get(widgets).is(200).at("items"))
}

func TestChangeOfASchema(t *testing.T) {
	w := start(t, nil)
	w.define(plain("things", "Thing"))
	things := "/apis/example.com/v1/namespaces/default/things"
	w.post(things, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: a}, spec: {a: x}}").is(201)
	watch := w.watch(things + "?watch=1&resourceVersion=" + w.get(things).at("metadata.resourceVersion").(string))
	before := w.get(things + "/a").is(200)

	w.do("PATCH", definitions+"/things.example.com", "application/json-patch+json", `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties","value":{"b":{"type":"string","default":"new"}}}]`).is(200)
	after := w.until(things+"/a", func(a answer) bool { return a.at("spec.b") != nil })
	require.Equal(t, "new", after.at("spec.b"), "defaulted from storage")
	require.Nil(t, after.at("spec.a"), "pruned from storage")
	require.Equal(t, before.at("metadata.resourceVersion"), after.at("metadata.resourceVersion"), "nothing was written")
	typ, _ := watch.next()
	require.Empty(t, typ, "the watch of the old schema ends")
}

func TestNames(t *testing.T) {
	w := start(t, nil)
	w.define(plain("things", "Thing"))
	w.post(definitions, plain("others", "Thing")).is(201)
	a := w.until(definitions+"/others.example.com", func(a answer) bool { return condition(a, "NamesAccepted") != "" })
	require.Equal(t, "False", condition(a, "NamesAccepted"))
	require.Equal(t, "False", condition(a, "Established"))
	a.says("ListKindConflict").says(`\"ThingList\" is already in use`)
	w.get("/apis/example.com/v1/namespaces/default/others").is(404)
	w.remove(definitions + "/things.example.com").is(200)
	w.until(definitions+"/others.example.com", func(a answer) bool { return condition(a, "Established") == "True" })
	w.get("/apis/example.com/v1/namespaces/default/others").is(200)

	w.post(definitions, strings.ReplaceAll(plain("customresourcedefinitions", "Mine"), "example.com", "apiextensions.k8s.io")).is(422).says("protected groups must have approval annotation")
	own := strings.Replace(strings.ReplaceAll(plain("customresourcedefinitions", "Mine"), "example.com", "apiextensions.k8s.io"),
		"metadata: {", "metadata: {annotations: {api-approved.kubernetes.io: unapproved}, ", 1)
	w.post(definitions, own).is(201)
	a = w.until(definitions+"/customresourcedefinitions.apiextensions.k8s.io", func(a answer) bool { return condition(a, "NamesAccepted") != "" })
	a.says("PluralConflict").says("UnapprovedAnnotation")
	w.get(definitions).is(200)
	w.remove(definitions + "/customresourcedefinitions.apiextensions.k8s.io").is(200)
	w.gone(definitions + "/customresourcedefinitions.apiextensions.k8s.io")
}

func TestTwoServers(t *testing.T) {
	b, err := memory.New(memory.Config{History: 10_000})
	require.NoError(t, err)
	first, second := startOver(t, b, nil), startOver(t, b, nil)
	first.post(definitions, widgetDefinition).is(201)
	second.post(widgets, widget("a", "{color: red}")).is(201) // served at once by the other too
	require.Equal(t, "red", first.get(widgets+"/a").is(200).at("spec.color"))
	d := first.until(definitions+"/widgets.example.com", func(a answer) bool { return condition(a, "Established") == "True" })
	require.Len(t, d.at("status.conditions"), 2)

	third := startOver(t, b, nil) // and by one that comes later
	require.Equal(t, "red", third.get(widgets+"/a").is(200).at("spec.color"))
	third.remove(definitions + "/widgets.example.com").is(200)
	for _, w := range []*world{first, second, third} {
		w.gone(widgets)
	}
}

func TestDefinitionsAreValidated(t *testing.T) {
	w := start(t, nil)
	for name, c := range map[string]struct{ from, to, says string }{
		"name":          {"name: things.example.com", "name: other.example.com", "must be spec.names.plural"},
		"group":         {"group: example.com", "group: example", "should be a domain with at least one dot"},
		"scope":         {"scope: Namespaced", "scope: Galaxy", "FieldValueNotSupported"},
		"two stored":    {"versions:", "versions:\n  - {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}", "must have exactly one version marked as storage version"},
		"no schema":     {"schema: {openAPIV3Schema", "x: {openAPIV3Schema", `"field":"spec.versions[0].schema.openAPIV3Schema"`},
		"schema":        {"a: {type: string}", "a: {type: strange}", "spec.validation.openAPIV3Schema.properties[spec].properties[a].type"},
		"rule":          {"a: {type: string}", `a: {type: string, x-kubernetes-validations: [{rule: "self +"}]}`, "compilation failed"},
		"preserve":      {"scope: Namespaced", "preserveUnknownFields: true\n  scope: Namespaced", "cannot set to true"},
		"scale":         {"storage: true,", "storage: true, subresources: {scale: {specReplicasPath: spec.r, statusReplicasPath: .status.r}},", "spec.subresources.scale.specReplicasPath"},
		"column":        {"storage: true,", "storage: true, additionalPrinterColumns: [{name: x, type: text, jsonPath: .x}],", "spec.additionalPrinterColumns[0].type"},
		"selectable":    {"storage: true,", "storage: true, selectableFields: [{jsonPath: .spec.none}],", "spec.selectableFields[0].jsonPath"},
		"webhook":       {"scope: Namespaced", "conversion: {strategy: Webhook}\n  scope: Namespaced", "required when strategy is set to Webhook"},
		"http":          {"scope: Namespaced", "conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'http://x'}}}\n  scope: Namespaced", "'https' is the only allowed URL scheme"},
		"short name":    {"kind: Thing", "kind: Thing, shortNames: [A_B]", "spec.names.shortNames[0]"},
		"same listKind": {"kind: Thing", "kind: Thing, listKind: Thing", "kind and listKind may not be the same"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := strings.Replace(plain("things", "Thing"), c.from, c.to, 1)
			require.NotEqual(t, doc, plain("things", "Thing"))
			w.post(definitions+"?fieldValidation=Ignore", doc).is(422).says(c.says)
		})
	}
	w.define(plain("things", "Thing"))
	at := definitions + "/things.example.com"
	w.merge(at, "{spec: {scope: Cluster}}").is(422).says("field is immutable")
	w.merge(at, "{spec: {versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}").is(422).says("was previously a storage version")
}
