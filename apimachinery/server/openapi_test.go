package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/discovery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// index is where the documents are, by path.
func (w *world) index() (map[string]string, string) {
	code, head, body := w.ask("GET", "/openapi/v3", "")
	require.Equal(w.t, 200, code, body)
	var doc struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	require.NoError(w.t, json.Unmarshal([]byte(body), &doc))
	out := map[string]string{}
	for path, at := range doc.Paths {
		out[path] = at.ServerRelativeURL
	}
	return out, head.Get("ETag")
}

func TestOpenAPICaching(t *testing.T) {
	w := start(t, nil)
	at, tag := w.index()
	for _, path := range []string{"api", "api/v1", "apis", "apis/db.example.com", "apis/db.example.com/v1", "version"} {
		require.Contains(t, at, path)
		code, head, body := w.ask("GET", at[path], "")
		require.Equal(t, 200, code)
		require.Equal(t, "public, immutable", head.Get("Cache-Control"), path)
		require.NotEmpty(t, head.Get("Expires"))
		_, hash, _ := strings.Cut(at[path], "?hash=")
		require.Equal(t, `"`+hash+`"`, head.Get("ETag"))
		require.Contains(t, body, `"openapi":"3.0.0"`)
		code, _, body = w.ask("GET", at[path], "", "If-None-Match", head.Get("ETag"))
		require.Equal(t, 304, code)
		require.Empty(t, body)
	}
	code, head, _ := w.ask("GET", "/openapi/v3/api/v1", "")
	require.Equal(t, 200, code)
	require.NotContains(t, head.Get("Cache-Control"), "immutable")
	code, head, _ = w.ask("GET", "/openapi/v3/api/v1?hash=OLD", "")
	require.Equal(t, 200, code, "the client was sent on")
	require.Contains(t, head.Get("Cache-Control"), "immutable")
	code, _, _ = w.ask("GET", "/openapi/v3", "", "If-None-Match", tag)
	require.Equal(t, 304, code)
	code, _, _ = w.ask("GET", "/openapi/v3/apis/none/v1", "")
	require.Equal(t, 404, code)
	code, _, _ = w.ask("GET", "/openapi/v3/api/v1", "", "Accept", "text/html")
	require.Equal(t, 406, code)
	code, _, _ = w.ask("GET", "/openapi/v3/api/v1", "", "Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf, application/json;q=0.5")
	require.Equal(t, 200, code)
}

func TestOpenAPICompressed(t *testing.T) {
	w := start(t, nil)
	_, _, plain := w.ask("GET", "/openapi/v3/api/v1", "")
	_, head, packed := w.ask("GET", "/openapi/v3/api/v1", "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", head.Get("Content-Encoding"))
	require.Contains(t, head.Get("Vary"), "Accept-Encoding")
	z, err := gzip.NewReader(strings.NewReader(packed))
	require.NoError(t, err)
	unpacked, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, plain, string(unpacked))
	require.Less(t, len(packed), len(plain)/3)
}

func TestOpenAPIV2(t *testing.T) {
	w := start(t, nil)
	code, head, body := w.ask("GET", "/openapi/v2", "")
	require.Equal(t, 200, code)
	require.Equal(t, "application/json", head.Get("Content-Type"))
	require.Contains(t, body, `"/apis/db.example.com/v1/namespaces/{namespace}/databases/{name}/status"`)
	code, _, _ = w.ask("GET", "/openapi/v2", "", "If-None-Match", head.Get("ETag"))
	require.Equal(t, 304, code)

	code, head, body = w.ask("GET", "/openapi/v2", "", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	require.Equal(t, 200, code)
	require.Equal(t, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", head.Get("Content-Type"))
	var doc openapi_v2.Document
	require.NoError(t, proto.Unmarshal([]byte(body), &doc))
	require.NotEmpty(t, doc.GetDefinitions().GetAdditionalProperties())
	code, _, body = w.ask("GET", "/openapi/v2", "", "Accept", "text/html")
	require.Equal(t, 406, code)
	require.Equal(t, metav1.StatusReasonNotAcceptable, statusIn(t, body).Reason)
}

// A change makes the documents of its own group anew, and no others.
func TestOpenAPIFollowsTheRegistry(t *testing.T) {
	var registry *apimachinery.Registry
	w := start(t, func(c *server.Config) { registry = c.Registry })
	before, tag := w.index()
	require.NoError(t, registry.Add(apimachinery.Define[struct{ Size int }, struct{}](schema.GroupVersionKind{Group: "new.example.com", Version: "v1", Kind: "Thing"}, "things")))
	after, changed := w.index()
	require.NotEqual(t, tag, changed)
	require.Contains(t, after, "apis/new.example.com/v1")
	for path, at := range before {
		require.Equal(t, at, after[path])
	}
	_, _, body := w.ask("GET", "/openapi/v2", "")
	require.Contains(t, body, "/apis/new.example.com/v1/things")
	registry.Remove(schema.GroupResource{Group: "new.example.com", Resource: "things"})
	last, again := w.index()
	require.Equal(t, before, last)
	require.Equal(t, tag, again)
	_, _, body = w.ask("GET", "/openapi/v2", "")
	require.NotContains(t, body, "/apis/new.example.com/v1/things")
}

// others are groups of other servers, one of which doesn't answer.
type others struct{ generation atomic.Uint64 }

func (o *others) Extensions() ([]discovery.Extension, uint64) {
	list := []discovery.Extension{
		{GroupVersion: schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}, GroupPriority: 100, VersionPriority: 100,
			Resources: []apidiscovery.APIResourceDiscovery{{
				Resource: "nodes", SingularResource: "node", Scope: apidiscovery.ScopeCluster, Verbs: []string{"get", "list"},
				ResponseKind: &metav1.GroupVersionKind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "NodeMetrics"},
			}}},
		{GroupVersion: schema.GroupVersion{Group: "broken.io", Version: "v1"}, GroupPriority: 20000, Err: errors.New("it doesn't answer")},
	}
	if o.generation.Load() > 0 {
		list = list[:1]
	}
	return list, o.generation.Load()
}

func (o *others) Schemas() map[string]string {
	return map[string]string{"apis/metrics.k8s.io/v1beta1": "ABC", "apis/broken.io/v1": "DEF"}
}

func (o *others) Schema(_ context.Context, path string) ([]byte, error) {
	if path == "apis/broken.io/v1" {
		return nil, wire.NotFound()
	}
	return []byte(`{"openapi":"3.0.0","paths":{}}`), nil
}

func TestExtensions(t *testing.T) {
	o := &others{}
	w := start(t, func(c *server.Config) { c.Extensions = o })
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	groups := func() (out []string) {
		code, _, body := w.ask("GET", "/apis", "", "Accept", aggregated)
		require.Equal(t, 200, code)
		var list apidiscovery.APIGroupDiscoveryList
		require.NoError(t, json.Unmarshal([]byte(body), &list))
		for _, g := range list.Items {
			out = append(out, g.Name+" "+string(g.Versions[0].Freshness))
		}
		return out
	}
	require.Equal(t, []string{"broken.io Stale", "db.example.com Current", "metrics.k8s.io Current"}, groups())
	code, _, body := w.ask("GET", "/apis/metrics.k8s.io/v1beta1", "")
	require.Equal(t, 200, code)
	require.Contains(t, body, `"kind":"NodeMetrics"`)
	code, _, body = w.ask("GET", "/apis/broken.io/v1", "")
	require.Equal(t, 503, code)
	require.Equal(t, metav1.StatusReasonServiceUnavailable, statusIn(t, body).Reason)
	_, _, body = w.ask("GET", "/apis", "")
	require.Contains(t, body, `"name":"broken.io"`)

	at, _ := w.index()
	require.Equal(t, "/openapi/v3/apis/metrics.k8s.io/v1beta1?hash=ABC", at["apis/metrics.k8s.io/v1beta1"])
	code, _, body = w.ask("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1", "")
	require.Equal(t, 200, code)
	require.True(t, bytes.Contains([]byte(body), []byte(`"openapi"`)))
	code, _, _ = w.ask("GET", "/openapi/v3/apis/broken.io/v1", "")
	require.Equal(t, 404, code)

	o.generation.Add(1)
	require.Equal(t, []string{"db.example.com Current", "metrics.k8s.io Current"}, groups())
}
