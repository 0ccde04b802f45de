package crd_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
)

// twoVersions is a definition whose v1 says spec.host where v2 says spec.address. Objects are stored as v1.
func twoVersions(conversion string) string {
	return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hosts.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: hosts, kind: Host}
  conversion: ` + conversion + `
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {host: {type: string}}}}}}}
  - {name: v2, served: true, storage: false, deprecated: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, required: [address], properties: {address: {type: string}}}}}}}
`
}

const v1Hosts, v2Hosts = "/apis/example.com/v1/hosts", "/apis/example.com/v2/hosts"

// renamed converts between the two, and marks what it touched.
func renamed(o map[string]any, to string) {
	from, as := "host", "address"
	if to == "example.com/v1" {
		from, as = as, from
	}
	if spec, ok := o["spec"].(map[string]any); ok && spec[from] != nil {
		spec[as] = spec[from]
		delete(spec, from)
	}
	o["apiVersion"] = to
}

func host(version, name, field string) string {
	return fmt.Sprintf("{apiVersion: example.com/%s, kind: Host, metadata: {name: %s}, spec: {%s: x}}", version, name, field)
}

func testConversion(t *testing.T, w *world) {
	w.post(v1Hosts, host("v1", "a", "host")).is(201)
	w.post(v2Hosts, host("v2", "b", "address")).is(201)
	require.Equal(t, "x", w.get(v2Hosts+"/a").is(200).at("spec.address"))
	require.Equal(t, "x", w.get(v1Hosts+"/b").is(200).at("spec.host"))
	w.post(v2Hosts, "{apiVersion: example.com/v2, kind: Host, metadata: {name: c}, spec: {}}").is(422).says("spec.address")
	require.Equal(t, "other", w.merge(v2Hosts+"/a", "{spec: {address: other}}").is(200).at("spec.address"))
	require.Equal(t, "other", w.get(v1Hosts+"/a").at("spec.host"))
	w.apply(v2Hosts+"/d", host("v2", "d", "address")).is(201)
	list := w.get(v2Hosts).is(200)
	require.Len(t, list.at("items"), 3)
	require.Equal(t, 3, strings.Count(string(list.body), `"apiVersion":"example.com/v2","kind":"Host"`))
	watch := w.watch(v2Hosts + "?watch=1")
	for _, want := range []string{"a", "b", "d"} {
		typ, o := watch.next()
		require.Equal(t, "ADDED "+want+" example.com/v2", typ+" "+o.GetName()+" "+o.GetAPIVersion())
	}

	// the other becomes the storage version: what is stored stays, and is written as v2 when it changes
	w.do("PATCH", definitions+"/hosts.example.com", "application/json-patch+json", `[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`).is(200)
	require.Equal(t, []any{"v1", "v2"}, w.get(definitions+"/hosts.example.com").at("status.storedVersions"))
	w.merge(v1Hosts+"/b", "{spec: {host: z}}").is(200)
	require.Equal(t, "z", w.get(v2Hosts+"/b").at("spec.address"))
	require.Equal(t, "z", w.get(v1Hosts+"/b").at("spec.host"))
	require.Equal(t, "other", w.get(v1Hosts+"/a").at("spec.host"))
}

func TestConvertInProcess(t *testing.T) {
	w := start(t, func(c *crd.Config) {
		c.Convert = map[schema.GroupKind]crd.Convert{{Group: "example.com", Kind: "Host"}: func(_ context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
			for _, u := range all {
				renamed(u.Object, to.String())
			}
			return all, nil
		}}
	})
	w.define(twoVersions("{strategy: None}"))
	testConversion(t, w)
}

func TestConvertByVersionAlone(t *testing.T) {
	w := start(t, nil)
	w.define(strings.ReplaceAll(strings.ReplaceAll(twoVersions("{strategy: None}"), "required: [address], ", ""), "address", "host"))
	w.post(v1Hosts, host("v1", "a", "host")).is(201)
	a := w.get(v2Hosts + "/a").is(200)
	require.Equal(t, "x", a.at("spec.host"))
	require.Equal(t, "example.com/v2", a.at("apiVersion"))
	require.Equal(t, []string{`299 - "example.com/v2 Host is deprecated"`}, a.warning)
}

// converter is a webhook. spoil may change its answer.
func converter(t *testing.T, calls *atomic.Int64, spoil func(review map[string]any) int) *httptest.Server {
	h := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var review map[string]any
		if json.NewDecoder(r.Body).Decode(&review) != nil {
			w.WriteHeader(400)
			return
		}
		asked := review["request"].(map[string]any)
		objects := asked["objects"].([]any)
		for _, o := range objects {
			renamed(o.(map[string]any), asked["desiredAPIVersion"].(string))
		}
		delete(review, "request")
		review["response"] = map[string]any{"uid": asked["uid"], "result": map[string]any{"status": "Success"}, "convertedObjects": objects}
		code := 200
		if spoil != nil {
			code = spoil(review)
		}
		if code == 302 {
			w.Header().Set("Location", "https://example.com/")
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(h.Close)
	return h
}

func bundle(h *httptest.Server) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))
}

func TestConvertByWebhook(t *testing.T) {
	var calls atomic.Int64
	h := converter(t, &calls, nil)
	w := start(t, nil)
	w.define(twoVersions("{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: '" + h.URL + "/convert', caBundle: " + bundle(h) + "}}}"))
	testConversion(t, w)

	for i := range 20 {
		w.post(v2Hosts, host("v2", fmt.Sprint("n", i), "address")).is(201)
	}
	w.do("PATCH", definitions+"/hosts.example.com", "application/json-patch+json", `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/description","value":"new"}]`).is(200)
	w.until(definitions+"/hosts.example.com", func(a answer) bool { return a.at("metadata.generation") == int64(3) })
	before := calls.Load()
	require.Len(t, w.get(v1Hosts).is(200).at("items"), 23)
	require.LessOrEqual(t, calls.Load()-before, int64(2), "a list is converted at once")
}

func TestBadWebhooks(t *testing.T) {
	var calls atomic.Int64
	var spoil atomic.Pointer[func(map[string]any) int]
	h := converter(t, &calls, func(review map[string]any) int { return (*spoil.Load())(review) })
	w := start(t, func(c *crd.Config) {
		c.Services = server.ServiceResolverFunc(func(_ context.Context, namespace, name string, port int32) (*url.URL, error) {
			if namespace != "default" || name != "example" || port != 443 {
				return nil, fmt.Errorf("asked for %s/%s:%d", namespace, name, port)
			}
			return url.Parse(h.URL)
		})
	})
	w.define(twoVersions("{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: '" + h.URL + "', caBundle: " + bundle(h) + "}}}"))
	w.post(v1Hosts, host("v1", "a", "host")).is(201)
	object := func(r map[string]any) map[string]any {
		return r["response"].(map[string]any)["convertedObjects"].([]any)[0].(map[string]any)
	}
	for name, c := range map[string]struct {
		spoil func(r map[string]any) int
		says  string
	}{
		"failure": {func(r map[string]any) int {
			r["response"].(map[string]any)["result"] = map[string]any{"status": "Failure", "message": "no way"}
			return 200
		}, "no way"},
		"uid":     {func(r map[string]any) int { r["response"].(map[string]any)["uid"] = "x"; return 200 }, "expected response.uid"},
		"count":   {func(r map[string]any) int { r["response"].(map[string]any)["convertedObjects"] = []any{}; return 200 }, "returned 0 objects, expected 1"},
		"kind":    {func(r map[string]any) int { r["kind"] = "Other"; return 200 }, "expected webhook response of"},
		"version": {func(r map[string]any) int { object(r)["apiVersion"] = "example.com/v3"; return 200 }, "invalid groupVersion"},
		"name":    {func(r map[string]any) int { object(r)["metadata"].(map[string]any)["name"] = "b"; return 200 }, "must have the same name"},
		"labels": {func(r map[string]any) int {
			object(r)["metadata"].(map[string]any)["labels"] = map[string]any{"a/b/c": "x"}
			return 200
		}, "metadata.labels"},
		"redirect": {func(map[string]any) int { return 302 }, "302"},
		"error":    {func(map[string]any) int { return 500 }, "500"},
		"null":     {func(r map[string]any) int { delete(r, "response"); return 200 }, "no response provided"},
	} {
		t.Run(name, func(t *testing.T) {
			spoil.Store(&c.spoil)
			w.get(v2Hosts + "/a").is(500).says(c.says)
		})
	}
	good := func(r map[string]any) int {
		m := object(r)["metadata"].(map[string]any)
		m["finalizers"], m["labels"] = []any{"example.com/x"}, map[string]any{"by": "webhook"}
		return 200
	}
	spoil.Store(&good)
	a := w.get(v2Hosts + "/a").is(200)
	require.Nil(t, a.at("metadata.finalizers"), "metadata is the server's")
	require.Equal(t, "webhook", a.at("metadata.labels.by"), "but for labels and annotations")
	w.merge(definitions+"/hosts.example.com", "{spec: {conversion: {webhook: {clientConfig: {url: null, service: {namespace: default, name: example}}}}}}").is(200)
	// its certificate is for example.com, so a service of another name is refused
	w.until(v2Hosts+"/a", func(a answer) bool { return a.code == 500 && strings.Contains(string(a.body), "example.default.svc") })
}
