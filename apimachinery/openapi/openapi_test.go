package openapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/openapi/openapitest"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/bedplate/bedplate/apimachinery/openapi"
)

var allVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

func core() []openapi.Resource {
	var out []openapi.Resource
	for _, r := range []struct {
		kind, plural string
		namespaced   bool
		sample       any
	}{
		{"Pod", "pods", true, &corev1.Pod{}},
		{"Namespace", "namespaces", false, &corev1.Namespace{}},
		{"ConfigMap", "configmaps", true, &corev1.ConfigMap{}},
		{"Secret", "secrets", true, &corev1.Secret{}},
		{"Service", "services", true, &corev1.Service{}},
		{"Endpoints", "endpoints", true, &corev1.Endpoints{}},
		{"Event", "events", true, &corev1.Event{}},
		{"Node", "nodes", false, &corev1.Node{}},
		{"PersistentVolume", "persistentvolumes", false, &corev1.PersistentVolume{}},
		{"PersistentVolumeClaim", "persistentvolumeclaims", true, &corev1.PersistentVolumeClaim{}},
		{"ServiceAccount", "serviceaccounts", true, &corev1.ServiceAccount{}},
		{"LimitRange", "limitranges", true, &corev1.LimitRange{}},
		{"ResourceQuota", "resourcequotas", true, &corev1.ResourceQuota{}},
		{"ReplicationController", "replicationcontrollers", true, &corev1.ReplicationController{}},
		{"PodTemplate", "podtemplates", true, &corev1.PodTemplate{}},
	} {
		gvk := corev1.SchemeGroupVersion.WithKind(r.kind)
		res := openapi.Resource{GroupVersionKind: gvk, Plural: r.plural, Namespaced: r.namespaced, Sample: r.sample, Verbs: allVerbs}
		if r.kind == "Pod" || r.kind == "Namespace" || r.kind == "Node" {
			res.Subresources = []openapi.Subresource{{GroupVersionKind: gvk, Name: "status", Verbs: []string{"get", "update", "patch"}}}
		}
		out = append(out, res)
	}
	return out
}

func apps() []openapi.Resource {
	gvk := appsv1.SchemeGroupVersion.WithKind("Deployment")
	return []openapi.Resource{{GroupVersionKind: gvk, Plural: "deployments", Namespaced: true, Sample: &appsv1.Deployment{}, Verbs: allVerbs,
		Subresources: []openapi.Subresource{
			{GroupVersionKind: gvk, Name: "status", Verbs: []string{"get", "update", "patch"}},
			{GroupVersionKind: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), Name: "scale", Sample: &autoscalingv1.Scale{}, Verbs: []string{"get", "update", "patch"}},
		}}}
}

func parse(t *testing.T, gv schema.GroupVersion, resources []openapi.Resource) *spec3.OpenAPI {
	raw, err := openapi.Document(gv, resources)
	require.NoError(t, err)
	var doc spec3.OpenAPI
	require.NoError(t, json.Unmarshal(raw, &doc))
	return &doc
}

// Kubernetes' own documents, of an older version, say the same about the same models.
func TestAgreesWithKubernetes(t *testing.T) {
	for path, doc := range map[string]*spec3.OpenAPI{
		"api/v1":       parse(t, corev1.SchemeGroupVersion, core()),
		"apis/apps/v1": parse(t, appsv1.SchemeGroupVersion, apps()),
	} {
		theirs := kubernetesDocument(t, path)
		models, fields := 0, 0
		for name, want := range theirs.Components.Schemas {
			got := doc.Components.Schemas[name]
			if got == nil || strings.HasSuffix(name, "List") || strings.HasSuffix(name, "meta.v1.Patch") {
				continue
			}
			models++
			assert.Equal(t, want.Type, got.Type, name)
			assert.Equal(t, want.Format, got.Format, name)
			for _, field := range want.Required {
				if _, ok := got.Properties[field]; ok && !changed[name+"."+field] {
					assert.Contains(t, got.Required, field, name)
				}
			}
			require.Len(t, got.OneOf, len(want.OneOf), name)
			for field, w := range want.Properties {
				g, ok := got.Properties[field]
				if !ok {
					continue // gone since
				}
				fields++
				sameField(t, name+"."+field, &w, &g)
			}
		}
		t.Logf("%s: %d models and %d fields agree", path, models, fields)
		require.Greater(t, models, 60)
	}
}

func kubernetesDocument(t *testing.T, path string) *spec3.OpenAPI {
	paths, err := openapitest.NewEmbeddedFileClient().Paths()
	require.NoError(t, err)
	raw, err := paths[path].Schema("application/json")
	require.NoError(t, err)
	var doc spec3.OpenAPI
	require.NoError(t, json.Unmarshal(raw, &doc))
	return &doc
}

// changed lists what later versions of Kubernetes declare otherwise.
var changed = map[string]bool{
	"io.k8s.api.apps.v1.DeploymentCondition.type":                       true,
	"io.k8s.api.apps.v1.DeploymentCondition.status":                     true,
	"io.k8s.api.core.v1.PersistentVolumeClaimSpec.resources":            true,
	"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement.key": true,
}

func sameField(t *testing.T, path string, want, got *spec.Schema) {
	if changed[path] {
		return
	}
	assert.Equal(t, want.Type, got.Type, path)
	assert.Equal(t, want.Format, got.Format, path)
	assert.Equal(t, target(want), target(got), path)
	for _, extension := range []string{"x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"} {
		if want.Extensions[extension] != nil {
			assert.Equal(t, want.Extensions[extension], got.Extensions[extension], path+" "+extension)
		}
	}
	if want.Items != nil {
		assert.Equal(t, target(want.Items.Schema), target(got.Items.Schema), path)
		assert.Equal(t, want.Items.Schema.Type, got.Items.Schema.Type, path)
	}
	if want.AdditionalProperties != nil {
		assert.Equal(t, target(want.AdditionalProperties.Schema), target(got.AdditionalProperties.Schema), path)
	}
}

func target(s *spec.Schema) string {
	if len(s.AllOf) == 1 {
		s = &s.AllOf[0]
	}
	return s.Ref.String()
}

func TestEveryReferenceResolves(t *testing.T) {
	for _, raw := range [][]byte{document(t, corev1.SchemeGroupVersion, core()), document(t, appsv1.SchemeGroupVersion, apps())} {
		var doc map[string]any
		require.NoError(t, json.Unmarshal(raw, &doc))
		schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if r, ok := v["$ref"].(string); ok {
					require.Contains(t, schemas, strings.TrimPrefix(r, "#/components/schemas/"))
				}
				for _, x := range v {
					walk(x)
				}
			case []any:
				for _, x := range v {
					walk(x)
				}
			}
		}
		walk(doc)
	}
}

func document(t testing.TB, gv schema.GroupVersion, resources []openapi.Resource) []byte {
	raw, err := openapi.Document(gv, resources)
	require.NoError(t, err)
	return raw
}

// What kubectl asks: does the PATCH operation of the kind have the parameter, and does it take strategic merge patches?
func TestPatchOperations(t *testing.T) {
	doc := parse(t, appsv1.SchemeGroupVersion, apps())
	seen := 0
	for path, item := range doc.Paths.Paths {
		if item.Patch == nil {
			continue
		}
		seen++
		var kind map[string]string
		require.NoError(t, item.Patch.Extensions.GetObject("x-kubernetes-group-version-kind", &kind))
		require.Contains(t, []string{"Deployment", "Scale"}, kind["kind"], path)
		var names []string
		for _, p := range item.Patch.Parameters {
			require.Equal(t, "query", p.In)
			names = append(names, p.Name)
		}
		require.Subset(t, names, []string{"fieldValidation", "dryRun", "fieldManager", "force"}, path)
		require.Contains(t, item.Patch.RequestBody.Content, "application/strategic-merge-patch+json")
	}
	require.Equal(t, 3, seen)
}

func TestPathsFollowVerbs(t *testing.T) {
	gv := schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}
	doc := parse(t, gv, []openapi.Resource{{GroupVersionKind: gv.WithKind("Thing"), Plural: "things", Sample: &corev1.ConfigMap{},
		Verbs: []string{"get", "list", "patch"}, PatchTypes: []string{"application/merge-patch+json"}}})
	base := "/apis/rbac.authorization.k8s.io/v1/things"
	require.ElementsMatch(t, []string{"/apis/rbac.authorization.k8s.io/v1/", base, base + "/{name}"}, slices.Collect(maps.Keys(doc.Paths.Paths)))
	collection, item := doc.Paths.Paths[base], doc.Paths.Paths[base+"/{name}"]
	require.NotNil(t, collection.Get)
	require.Nil(t, collection.Post)
	require.Nil(t, collection.Delete)
	require.Nil(t, item.Put)
	require.Nil(t, item.Delete)
	require.Equal(t, "readRbacAuthorizationV1Thing", item.Get.OperationId)
	require.Equal(t, []string{"application/merge-patch+json"}, slices.Collect(maps.Keys(item.Patch.RequestBody.Content)))
	require.Equal(t, "list", collection.Get.Extensions["x-kubernetes-action"])
}

// Patches that kubectl computes from the document equal those from the Go types.
func TestStrategicMergePatch(t *testing.T) {
	doc := parse(t, appsv1.SchemeGroupVersion, apps())
	fromDocument := strategicpatch.PatchMetaFromOpenAPIV3{Schema: doc.Components.Schemas["io.k8s.api.apps.v1.Deployment"], SchemaList: doc.Components.Schemas}
	fromType, err := strategicpatch.NewPatchMetaFromStruct(&appsv1.Deployment{})
	require.NoError(t, err)
	object := func(image, env, volumes string) []byte {
		return fmt.Appendf(nil, `{"metadata":{"name":"x","finalizers":["a"],"labels":{"a":"%[1]s"}},"spec":{"strategy":{"type":"Recreate"},"template":{"spec":{
			"containers":[{"name":"web","image":"%[1]s","env":[%[2]s],"ports":[{"containerPort":80}]},{"name":"side","image":"s"}],"volumes":[%[3]s],
			"tolerations":[{"key":"%[1]s"}],"topologySpreadConstraints":[{"topologyKey":"%[1]s"}]}}}}`, image, env, volumes)
	}
	original := object("a", `{"name":"A","value":"1"},{"name":"B","value":"2"}`, `{"name":"v","emptyDir":{}}`)
	modified := object("b", `{"name":"A","value":"3"}`, `{"name":"v","hostPath":{"path":"/x"}},{"name":"w","emptyDir":{}}`)
	current := object("c", `{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"C","value":"9"}`, `{"name":"v","emptyDir":{}}`)
	want, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, fromType, true)
	require.NoError(t, err)
	got, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, fromDocument, true)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	require.Contains(t, string(got), `"$patch":"delete"`)
}

type typed[S any] struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              S `json:"spec"`
}

type databaseSpec struct {
	Engine   string   `json:"engine"`
	Children []string `json:"children,omitempty"`
	Parent   *databaseSpec
}

func (databaseSpec) SwaggerDoc() map[string]string {
	return map[string]string{"": "what a database is", "engine": "which one"}
}

func TestUsersKind(t *testing.T) {
	gv := schema.GroupVersion{Group: "db.example.com", Version: "v1"}
	doc := parse(t, gv, []openapi.Resource{{GroupVersionKind: gv.WithKind("Database"), Plural: "databases", Namespaced: true, Sample: &typed[databaseSpec]{}, Verbs: allVerbs}})
	model := doc.Components.Schemas["com.example.db.v1.Database"]
	require.NotNil(t, model, "a type with parameters is named after its kind")
	require.Equal(t, []string{"spec"}, model.Required)
	require.Equal(t, []any{map[string]any{"group": "db.example.com", "version": "v1", "kind": "Database"}}, model.Extensions["x-kubernetes-group-version-kind"])
	prop := model.Properties["spec"]
	spec := doc.Components.Schemas[strings.TrimPrefix(target(&prop), "#/components/schemas/")]
	require.Equal(t, "what a database is", spec.Description)
	require.Equal(t, "which one", spec.Properties["engine"].Description)
	require.Contains(t, doc.Components.Schemas, "com.example.db.v1.DatabaseList")
}

func TestDocumentRefuses(t *testing.T) {
	_, err := openapi.Document(corev1.SchemeGroupVersion, []openapi.Resource{{Plural: "numbers", Sample: 3}})
	require.ErrorContains(t, err, "describe numbers in v1")
	_, err = openapi.Document(corev1.SchemeGroupVersion, []openapi.Resource{{Plural: "pods", Sample: &corev1.Pod{}, Subresources: []openapi.Subresource{{Name: "x", Sample: ""}}}})
	require.ErrorContains(t, err, "subresource x")
}

func TestIndex(t *testing.T) {
	hash := openapi.Hash([]byte("{}"))
	require.Len(t, hash, 128)
	require.Equal(t, strings.ToUpper(hash), hash)
	raw, err := openapi.Index(map[string]string{openapi.Path(corev1.SchemeGroupVersion): hash, openapi.Path(appsv1.SchemeGroupVersion): "H"})
	require.NoError(t, err)
	require.JSONEq(t, `{"paths":{
		"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=`+hash+`"},
		"apis/apps/v1":{"serverRelativeURL":"/openapi/v3/apis/apps/v1?hash=H"}}}`, string(raw))
}

func TestDocumentsAreStable(t *testing.T) {
	require.Equal(t, document(t, appsv1.SchemeGroupVersion, apps()), document(t, appsv1.SchemeGroupVersion, apps()))
}

func BenchmarkCoreV1(b *testing.B) {
	var raw []byte
	for b.Loop() {
		raw = document(b, corev1.SchemeGroupVersion, core())
	}
	b.ReportMetric(float64(len(raw)), "bytes")
}
