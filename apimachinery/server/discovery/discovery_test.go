package discovery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/discovery"
)

type (
	widget  = apimachinery.Typed[struct{ A int }, struct{}]
	gadget  = apimachinery.Typed[struct{ B int }, struct{}]
	virtual = apimachinery.Typed[struct{ C int }, struct{}]
)

func same(o apimachinery.Object) (apimachinery.Object, error) { return o, nil }

func registry(t require.TestingT) *apimachinery.Registry {
	w := func(version string) apimachinery.View {
		return apimachinery.View{GroupVersionKind: schema.GroupVersionKind{Group: "example.org", Version: version, Kind: "Widget"}, Plural: "widgets", Short: []string{"w"}}
	}
	reg, err := apimachinery.NewRegistry(
		apimachinery.Resource{
			Name: schema.GroupResource{Resource: "pods"}, Namespaced: true, New: func() apimachinery.Object { return &corev1.Pod{} },
			Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"), Plural: "pods", Short: []string{"po"}, Category: []string{"all"}}},
			Subs: map[string]apimachinery.Subresource{
				"status":  {Verbs: []string{"patch", "get", "update"}},
				"binding": {Verbs: []string{"create"}, Kind: corev1.SchemeGroupVersion.WithKind("Binding")},
			},
		},
		apimachinery.Resource{
			Name: schema.GroupResource{Resource: "events"}, Namespaced: true, New: func() apimachinery.Object { return &corev1.Event{} },
			Views: []apimachinery.View{
				{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"), Plural: "events"},
				{GroupVersionKind: eventsv1.SchemeGroupVersion.WithKind("Event"), Plural: "events", New: func() apimachinery.Object { return &eventsv1.Event{} }, FromHub: same, ToHub: same},
			},
		},
		apimachinery.Resource{
			Name: schema.GroupResource{Group: "example.org", Resource: "widgets"}, New: func() apimachinery.Object { return &widget{} },
			Views: []apimachinery.View{w("v1beta1"), w("v2alpha1"), w("v1"), w("v2")},
			Subs:  map[string]apimachinery.Subresource{"scale": {Verbs: []string{"get"}, Kind: autoscalingv1.SchemeGroupVersion.WithKind("Scale")}},
		},
		apimachinery.Resource{
			Name: schema.GroupResource{Group: "authorization.k8s.io", Resource: "reviews"}, New: func() apimachinery.Object { return &virtual{} },
			Views:   []apimachinery.View{{GroupVersionKind: schema.GroupVersionKind{Group: "authorization.k8s.io", Version: "v1", Kind: "Review"}, Plural: "reviews"}},
			Virtual: nil, Verbs: []string{"create"},
		},
	)
	require.NoError(t, err)
	return reg
}

func get(t require.TestingT, h *discovery.Handler, path, accept, ifNone string, into any) *httptest.ResponseRecorder {
	hr := httptest.NewRequest("GET", path, nil)
	hr.Header.Set("Accept", accept)
	if ifNone != "" {
		hr.Header.Set("If-None-Match", ifNone)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, hr)
	if into != nil {
		require.Equal(t, 200, w.Code, w.Body.String())
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
	}
	return w
}

const v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

func TestDocuments(t *testing.T) {
	h, err := discovery.New(discovery.Config{Registry: registry(t), Address: "1.2.3.4:6443"})
	require.NoError(t, err)

	var versions metav1.APIVersions
	get(t, h, "/api", "application/json", "", &versions)
	require.Equal(t, []string{"v1"}, versions.Versions)
	require.Equal(t, "1.2.3.4:6443", versions.ServerAddressByClientCIDRs[0].ServerAddress)

	var groups metav1.APIGroupList
	get(t, h, "/apis/", "", "", &groups)
	var order []string
	for _, g := range groups.Groups {
		order = append(order, g.Name)
	}
	require.Equal(t, []string{"events.k8s.io", "authorization.k8s.io", "example.org"}, order)

	var group metav1.APIGroup
	get(t, h, "/apis/example.org", "", "", &group)
	require.Equal(t, "example.org/v2", group.PreferredVersion.GroupVersion)
	require.Len(t, group.Versions, 4)
	require.Equal(t, "v1beta1", group.Versions[2].Version)
	require.Equal(t, "v2alpha1", group.Versions[3].Version)

	var list metav1.APIResourceList
	get(t, h, "/api/v1", "", "", &list)
	require.Equal(t, "v1", list.GroupVersion)
	require.Equal(t, "events", list.APIResources[0].Name)
	pods := list.APIResources[1]
	require.Equal(t, "xPOwRZ+Yhw8=", pods.StorageVersionHash, "as Kubernetes has it for pods")
	require.Equal(t, metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}, pods.Verbs)
	require.Equal(t, "pod", pods.SingularName)
	require.Equal(t, metav1.APIResource{Name: "pods/binding", Namespaced: true, Kind: "Binding", Verbs: metav1.Verbs{"create"}}, list.APIResources[2])
	require.Equal(t, metav1.APIResource{Name: "pods/status", Namespaced: true, Kind: "Pod", Verbs: metav1.Verbs{"get", "patch", "update"}}, list.APIResources[3])

	var widgets metav1.APIResourceList
	get(t, h, "/apis/example.org/v1", "", "", &widgets)
	require.Equal(t, metav1.APIResource{Name: "widgets/scale", Group: "autoscaling", Version: "v1", Kind: "Scale", Verbs: metav1.Verbs{"get"}}, widgets.APIResources[1])

	for _, path := range []string{"/apis/none", "/apis/apps/v1", "/api/v2", "/apis/example.org/v3", "/apis//v1", "/x"} {
		require.Equal(t, 404, get(t, h, path, "", "", nil).Code, path)
	}
	require.Equal(t, 406, get(t, h, "/apis", "text/html", "", nil).Code)
	require.Contains(t, get(t, h, "/api", "application/yaml", "", nil).Body.String(), "kind: APIVersions\n")
}

func TestAggregated(t *testing.T) {
	reg := registry(t)
	h, err := discovery.New(discovery.Config{Registry: reg})
	require.NoError(t, err)
	var core, rest apidiscovery.APIGroupDiscoveryList
	w := get(t, h, "/api", v2+",application/json", "", &core)
	require.Equal(t, v2, w.Header().Get("Content-Type"))
	get(t, h, "/apis", v2+";profile=nopeer,"+v2+",application/json", "", &rest)
	require.Len(t, core.Items, 1)
	require.Empty(t, core.Items[0].Name)
	require.Equal(t, apidiscovery.ScopeNamespace, core.Items[0].Versions[0].Resources[1].Scope)
	require.Equal(t, "binding", core.Items[0].Versions[0].Resources[1].Subresources[0].Subresource)
	require.Equal(t, "example.org", rest.Items[2].Name)

	tag := w.Header().Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, 304, get(t, h, "/api", v2, tag, nil).Code)
	require.NoError(t, reg.Add(apimachinery.Resource{
		Name: schema.GroupResource{Resource: "gadgets"}, New: func() apimachinery.Object { return &gadget{} },
		Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Gadget"), Plural: "gadgets"}},
	}))
	require.Equal(t, 200, get(t, h, "/api", v2, tag, nil).Code, "another registry, another tag")
}

// Kinds are named as Kubernetes names them: what is a Go type of the same group and version by its kind alone.
func TestResponseKinds(t *testing.T) {
	list := discovery.Aggregated(registry(t), true)
	pods := list.Items[0].Versions[0].Resources[1]
	require.Equal(t, &metav1.GroupVersionKind{Kind: "Pod"}, pods.ResponseKind)
	require.Equal(t, &metav1.GroupVersionKind{Kind: "Binding"}, pods.Subresources[0].ResponseKind)
	widgets := discovery.Aggregated(registry(t), false).Items[2].Versions[0].Resources[0]
	require.Equal(t, &metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, widgets.Subresources[0].ResponseKind)
}

func TestExtensionsInOrder(t *testing.T) {
	at := func(group, version string) schema.GroupVersion {
		return schema.GroupVersion{Group: group, Version: version}
	}
	extensions := []discovery.Extension{
		{GroupVersion: at("example.org", "v3"), GroupPriority: 10, VersionPriority: 10, Resources: []apidiscovery.APIResourceDiscovery{}},
		{GroupVersion: at("example.org", "v2"), GroupPriority: 20000}, // the server has it itself
		{GroupVersion: at("a.io", "v1"), GroupPriority: 1, VersionPriority: 1},
		{GroupVersion: at("a.io", "v2"), GroupPriority: 1, VersionPriority: 2, Err: errors.New("gone")},
		{GroupVersion: at("first.io", "v1"), GroupPriority: 17720, VersionPriority: 1},
	}
	var order []string
	for _, g := range discovery.Groups(registry(t), extensions...).Groups {
		for _, v := range g.Versions {
			order = append(order, v.GroupVersion)
		}
	}
	require.Equal(t, []string{
		"events.k8s.io/v1", "first.io/v1", "authorization.k8s.io/v1",
		"example.org/v2", "example.org/v1", "example.org/v1beta1", "example.org/v2alpha1", "example.org/v3", "a.io/v2", "a.io/v1",
	}, order)
	for _, g := range discovery.Aggregated(registry(t), false, extensions...).Items {
		for _, v := range g.Versions {
			stale := g.Name == "a.io" && v.Version == "v2"
			require.Equal(t, stale, v.Freshness == apidiscovery.DiscoveryFreshnessStale, g.Name+v.Version)
		}
	}
	_, ok := discovery.Resources(registry(t), at("example.org", "v3"), extensions...)
	require.True(t, ok)
	_, ok = discovery.Resources(registry(t), at("a.io", "v2"), extensions...)
	require.False(t, ok, "it never said what it has")
}

func TestServes(t *testing.T) {
	for path, want := range map[string]bool{"/api": true, "/apis/g/v1/": true, "/api/v1": true, "/api/v1/pods": false, "/": false, "api": false, "/apis/g/v/r": false} {
		require.Equal(t, want, discovery.Serves(path), path)
	}
	_, err := discovery.New(discovery.Config{})
	require.Error(t, err)
}

func ExampleResources() {
	reg, err := apimachinery.NewRegistry(apimachinery.Define[struct{ Size int }, struct{}](schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Database"}, "databases"))
	if err != nil {
		fmt.Println(err)
		return
	}
	list, _ := discovery.Resources(reg, schema.GroupVersion{Group: "example.org", Version: "v1"})
	for _, r := range list.APIResources {
		fmt.Println(r.Name, r.Verbs)
	}
	// Output:
	// databases [create delete deletecollection get list patch update watch]
	// databases/status [get patch update]
}

func BenchmarkAggregatedCached(b *testing.B) {
	h, err := discovery.New(discovery.Config{Registry: registry(b)})
	require.NoError(b, err)
	for b.Loop() {
		get(b, h, "/apis", v2, "", nil)
	}
}
