package wire_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

func TestParseVerbsAndPaths(t *testing.T) {
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/api/v1/pods", "list /v1/pods///"},
		{"GET", "/api/v1/pods/", "list /v1/pods///"},
		{"HEAD", "/api/v1/namespaces/a/pods/p", "get /v1/pods/a/p/"},
		{"GET", "/api/v1/namespaces/a/pods?watch=true", "watch /v1/pods/a//"},
		{"GET", "/api/v1/namespaces/a/pods?watch=0", "list /v1/pods/a//"},
		{"GET", "/api/v1/namespaces/a/pods/p?watch=1", "get /v1/pods/a/p/"},
		{"GET", "/api/v1/watch/namespaces/a/pods", "watch /v1/pods/a//"},
		{"GET", "/api/v1/watch/namespaces/a/pods/p", "watch /v1/pods/a//"},
		{"GET", "/api/v1/watch/nodes", "watch /v1/nodes///"},
		{"POST", "/api/v1/namespaces/a/pods", "create /v1/pods/a//"},
		{"PUT", "/apis/apps/v1/namespaces/a/deployments/d", "update apps/v1/deployments/a/d/"},
		{"PATCH", "/apis/apps/v1/namespaces/a/deployments/d/status", "patch apps/v1/deployments/a/d/status"},
		{"DELETE", "/api/v1/nodes/n", "delete /v1/nodes//n/"},
		{"DELETE", "/api/v1/namespaces/a/pods", "deletecollection /v1/pods/a//"},
		{"GET", "/api/v1/namespaces", "list /v1/namespaces///"},
		{"GET", "/api/v1/namespaces/a", "get /v1/namespaces//a/"},
		{"PUT", "/api/v1/namespaces/a/finalize", "update /v1/namespaces//a/finalize"},
		{"GET", "/api/v1/namespaces/a/status", "get /v1/namespaces//a/status"},
		{"GET", "/api/v1/namespaces/a/status/s", "get /v1/status/a/s/"},
		{"GET", "/api/v1/namespaces/a/pods/p/log", "get /v1/pods/a/p/log"},
		{"GET", "/api/v1/namespaces/a/pods/p/exec?command=ls", "create /v1/pods/a/p/exec"},
		{"POST", "/api/v1/namespaces/a/pods/p/attach", "create /v1/pods/a/p/attach"},
		{"GET", "/api/v1/namespaces/a/pods/p/portforward", "create /v1/pods/a/p/portforward"},
		{"GET", "/api/v1/nodes/n/proxy/stats/summary", "get /v1/nodes//n/proxy"},
		{"POST", "/api/v1/namespaces/a/services/https:s:8080/proxy/a//b", "create /v1/services/a/https:s:8080/proxy"},
		{"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user", "get rbac.authorization.k8s.io/v1/clusterroles//system:basic-user/"},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			r, path, err := wire.Parse(httptest.NewRequest(c.method, c.target, nil))
			require.NoError(t, err)
			require.Empty(t, path)
			g := r.Resource
			require.Equal(t, c.want, r.Verb+" "+g.Group+"/"+g.Version+"/"+g.Resource+"/"+r.Namespace+"/"+r.Name+"/"+r.Sub)
		})
	}
}

func TestParseNonResource(t *testing.T) {
	for _, p := range []string{"/", "/api", "/api/", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/readyz/etcd", "/openapi/v3/apis/apps/v1", "/metrics"} {
		r, path, err := wire.Parse(httptest.NewRequest("GET", p, nil))
		require.NoError(t, err, p)
		require.Nil(t, r, p)
		require.Equal(t, p, path)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		method, path string
		code         int32
	}{
		{"GET", "/api/v1/namespaces/../secrets", 400},
		{"GET", "/api/v1/namespaces/%2e%2e/secrets", 400},
		{"GET", "/api/v1/namespaces/a/pods/..", 400},
		{"GET", "/api/v1/namespaces/a/pods/x%2Fstatus", 400},
		{"GET", "/api/v1/namespaces/a/pods/x%252Fstatus", 400},
		{"GET", "/api/v1/namespaces/a/pods/x%00", 400},
		{"GET", "/api/v1/namespaces/a/pods/x%0a", 400},
		{"GET", "/api/v1/namespaces/a/pods/%ff", 400},
		{"GET", "/api/v1/namespaces//pods", 400},
		{"GET", "/api/v1/namespaces/a/pods//", 400},
		{"GET", "//api/v1/pods", 400},
		{"GET", "/healthz/../metrics", 400},
		{"GET", "/api/v1/nodes/n/proxy/../../secrets", 400},
		{"GET", "/api/v1/nodes/n/proxy/%2e%2e/x", 400},
		{"GET", "/api/v1/nodes/n/proxy/a%2f..%2fb", 400},
		{"GET", "/api/v1/namespaces/a/pods/p/log/x", 404},
		{"POST", "/api/v1/namespaces/a/pods/p", 405},
		{"PUT", "/api/v1/namespaces/a/pods", 405},
		{"PATCH", "/api/v1/nodes", 405},
		{"OPTIONS", "/api/v1/nodes", 405},
		{"DELETE", "/api/v1/namespaces/a/pods/p/exec", 405},
		{"DELETE", "/api/v1/watch/pods", 405},
		{"GET", "/api/v1/pods?limit=many", 400},
		{"GET", "/api/v1/namespaces/a/pods/p/log?tailLines=x", 400},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			hr := httptest.NewRequest(c.method, "/", nil)
			u, err := url.Parse("http://x" + c.path)
			require.NoError(t, err)
			hr.URL = u
			_, _, err = wire.Parse(hr)
			require.Error(t, err)
			require.Equal(t, c.code, wire.StatusOf(err).Code, err)
		})
	}
}

func TestParseRefusesPathWithoutSlash(t *testing.T) {
	for _, u := range []*url.URL{{Path: "api/v1/pods"}, {Path: "*"}, {Path: ""}, {Opaque: "api/v1/pods"}} {
		hr := httptest.NewRequest("GET", "/", nil)
		hr.URL = u
		_, _, err := wire.Parse(hr)
		require.True(t, apierrors.IsBadRequest(err), "%v: %v", u, err)
	}
}

func TestUpgradeIsCreate(t *testing.T) {
	hr := httptest.NewRequest("GET", "/api/v1/nodes/n/proxy/exec/a/p/c", nil)
	hr.Header.Set("Upgrade", "websocket")
	r, _, err := wire.Parse(hr)
	require.NoError(t, err)
	require.Equal(t, apimachinery.VerbCreate, r.Verb)
	require.Equal(t, &corev1.NodeProxyOptions{Path: "/exec/a/p/c"}, r.Options)
}

func TestOldWatchOfOneName(t *testing.T) {
	r, _, err := wire.Parse(httptest.NewRequest("GET", "/api/v1/watch/namespaces/a/pods/p?fieldSelector=spec.nodeName%3Dn", nil))
	require.NoError(t, err)
	require.Equal(t, &metav1.ListOptions{Watch: true, FieldSelector: "spec.nodeName=n,metadata.name=p"}, r.Options)
	require.Equal(t, "p", wire.Attributes(r).Name)
}

func TestAttributes(t *testing.T) {
	parse := func(target string) *apimachinery.Attributes {
		r, _, err := wire.Parse(httptest.NewRequest("GET", target, nil))
		require.NoError(t, err)
		return wire.Attributes(r)
	}
	require.Equal(t, "a", parse("/api/v1/namespaces/a").Namespace)
	a := parse("/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Ds&labelSelector=x")
	require.Equal(t, "s", a.Name)
	require.Equal(t, "x", a.LabelSelector)
	require.Empty(t, parse("/api/v1/secrets?fieldSelector=metadata.name!%3Ds").Name)
}

// TestBuildAndParseAreInverses draws any request that a client may make.
func TestBuildAndParseAreInverses(t *testing.T) {
	base, err := url.Parse("https://h:6443/prefix/")
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		want := drawRequest(t)
		hr, err := wire.Build(t.Context(), base, want)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(hr.URL.Path, "/prefix/"))
		in := httptest.NewRequest(hr.Method, strings.TrimPrefix(hr.URL.RequestURI(), "/prefix"), nil)
		in.Header = hr.Header
		got, path, err := wire.Parse(in)
		require.NoError(t, err)
		require.Empty(t, path)
		got.HTTP = nil
		if _, isDelete := want.Options.(*metav1.DeleteOptions); isDelete {
			got.Body = read(t, hr)
			got.Options, err = wire.DeleteOptions(got)
			require.NoError(t, err)
			got.Options.(*metav1.DeleteOptions).TypeMeta = metav1.TypeMeta{}
			got.Body = nil
		}
		require.Equal(t, want, got)
	})
}

func read(t require.TestingT, hr *http.Request) []byte {
	b, err := hr.GetBody()
	require.NoError(t, err)
	var out strings.Builder
	_, err = copyAll(&out, b)
	require.NoError(t, err)
	return []byte(out.String())
}

var (
	names = rapid.StringMatching(`[a-z0-9]([-a-z0-9:.]{0,8}[a-z0-9])?`)
	texts = rapid.StringMatching(`[a-zA-Z0-9 =,!&?+/%#;é"-]{0,12}`)
	verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
)

func drawRequest(t *rapid.T) *apimachinery.Request {
	r := &apimachinery.Request{
		Verb:      rapid.SampledFrom(verbs).Draw(t, "verb"),
		Resource:  schema.GroupVersionResource{Version: "v1", Resource: rapid.SampledFrom([]string{"pods", "widgets", "nodes"}).Draw(t, "resource")},
		Namespace: rapid.SampledFrom([]string{"", "default", "status"}).Draw(t, "ns"),
		Accept:    "application/json",
		Fence:     rapid.SampledFrom([]string{"", "ns/lease=7"}).Draw(t, "fence"),
		Seen:      rapid.SampledFrom([]string{"", "12"}).Draw(t, "seen"),
	}
	if rapid.Bool().Draw(t, "group") {
		r.Resource.Group = "apps"
	}
	switch r.Verb {
	case "list", "watch":
		r.Accept = rapid.SampledFrom([]string{"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;include=Object;v=v1;g=meta.k8s.io,application/json"}).Draw(t, "accept")
		fallthrough
	case "deletecollection":
		r.Options = drawOptions(t, r)
		return r
	case "create":
		r.Options = drawOptions(t, r)
	default:
		r.Name = names.Draw(t, "name")
		r.Sub = rapid.SampledFrom([]string{"", "status", "scale"}).Draw(t, "sub")
		r.Options = drawOptions(t, r)
	}
	if r.Verb == "patch" {
		r.ContentType = "application/merge-patch+json"
	}
	if r.Verb == "delete" {
		r.ContentType = "application/json"
	}
	drawConnector(t, r)
	return r
}

func drawConnector(t *rapid.T, r *apimachinery.Request) {
	if r.Verb != "create" || r.Resource.Group != "" || r.Resource.Resource != "pods" || !rapid.Bool().Draw(t, "connect") {
		return
	}
	r.Name = names.Draw(t, "name")
	r.Sub = rapid.SampledFrom([]string{"exec", "portforward", "proxy"}).Draw(t, "connector")
	switch r.Sub {
	case "exec":
		r.Options = &corev1.PodExecOptions{Stdin: rapid.Bool().Draw(t, "stdin"), Container: texts.Draw(t, "container"), Command: some(rapid.SliceOf(rapid.StringN(1, 5, -1)).Draw(t, "command"))}
	case "portforward":
		r.Options = &corev1.PodPortForwardOptions{Ports: some(rapid.SliceOf(rapid.Int32Range(1, 65535)).Draw(t, "ports"))}
	case "proxy":
		r.Options = &corev1.PodProxyOptions{Path: rapid.SampledFrom([]string{"", "/", "/a/b", "/a b/é/"}).Draw(t, "path")}
	}
}

func some[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func drawOptions(t *rapid.T, r *apimachinery.Request) runtime.Object {
	dry := some(rapid.SliceOfN(rapid.Just("All"), 0, 1).Draw(t, "dry"))
	text := texts.Draw(t, "text")
	n := rapid.Int64Range(0, 1<<40).Draw(t, "n")
	switch r.Verb {
	case "get":
		return &metav1.GetOptions{ResourceVersion: text}
	case "create":
		return &metav1.CreateOptions{DryRun: dry, FieldManager: text, FieldValidation: text}
	case "update":
		return &metav1.UpdateOptions{DryRun: dry, FieldManager: text}
	case "patch":
		return &metav1.PatchOptions{DryRun: dry, FieldManager: text, Force: rapid.Ptr(rapid.Bool(), true).Draw(t, "force")}
	case "delete":
		return &metav1.DeleteOptions{
			DryRun: dry, GracePeriodSeconds: &n, OrphanDependents: rapid.Ptr(rapid.Bool(), true).Draw(t, "orphan"),
			Preconditions: &metav1.Preconditions{ResourceVersion: &text},
		}
	}
	return &metav1.ListOptions{
		LabelSelector: text, FieldSelector: texts.Draw(t, "field"), Watch: r.Verb == "watch", Limit: n, Continue: text,
		AllowWatchBookmarks: rapid.Bool().Draw(t, "bookmarks"), ResourceVersion: text, ResourceVersionMatch: "Exact",
		TimeoutSeconds: rapid.Ptr(rapid.Int64(), true).Draw(t, "timeout"), SendInitialEvents: rapid.Ptr(rapid.Bool(), true).Draw(t, "initial"),
	}
}

func TestPodLogOptions(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	tail, stream := int64(3), "Stdout"
	want := &apimachinery.Request{
		Verb: "get", Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: "a", Name: "p", Sub: "log", Accept: "application/json",
		Options: &corev1.PodLogOptions{Follow: true, SinceTime: &at, TailLines: &tail, Stream: &stream},
	}
	hr, err := wire.Build(t.Context(), &url.URL{Scheme: "https", Host: "h"}, want)
	require.NoError(t, err)
	got, _, err := wire.Parse(hr)
	require.NoError(t, err)
	got.HTTP = nil
	require.Equal(t, want, got)
}

func TestBuildRefusesNamesThatLeadElsewhere(t *testing.T) {
	for _, name := range []string{"..", "a/b", "a%2fb", "x\x00"} {
		for _, r := range []*apimachinery.Request{{Name: name}, {Name: "p", Namespace: name}, {Name: "p", Sub: name}} {
			r.Verb, r.Resource = "get", corev1.SchemeGroupVersion.WithResource("pods")
			_, err := wire.Build(t.Context(), &url.URL{}, r)
			require.True(t, apierrors.IsBadRequest(err), "%+v: %v", r, err)
		}
	}
}

// FuzzParse: whatever the path, what comes back names one thing, by segments that lead nowhere else.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/api/v1/namespaces/a/pods/p", "/apis/g/v/../x", "/api/v1/nodes/n/proxy/%2e%2e", "/api/v1/watch/x", "/%"} {
		f.Add("GET", s)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.Parse("http://h" + path)
		if err != nil {
			return
		}
		r, _, err := wire.Parse(&http.Request{Method: method, URL: u, Header: http.Header{}})
		if err != nil || r == nil {
			return
		}
		for _, s := range []string{r.Namespace, r.Name, r.Sub, r.Resource.Resource, r.Resource.Group, r.Resource.Version} {
			require.NotContains(t, s, "/")
			require.NotContains(t, s, "\x00")
			require.NotEqual(t, "..", s)
		}
	})
}

func TestDeleteOptions(t *testing.T) {
	orphan, seconds := metav1.DeletePropagationOrphan, int64(3)
	own := &metav1.DeleteOptions{GracePeriodSeconds: &seconds}
	query, _, err := wire.Parse(httptest.NewRequest("DELETE", "/api/v1/namespaces/a/pods?labelSelector=x&propagationPolicy=Orphan&gracePeriodSeconds=3", nil))
	require.NoError(t, err)
	require.Equal(t, "x", query.Options.(*metav1.ListOptions).LabelSelector)
	bad, _, err := wire.Parse(httptest.NewRequest("DELETE", "/api/v1/namespaces/a/pods?gracePeriodSeconds=x", nil))
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		r    *apimachinery.Request
		want *metav1.DeleteOptions
	}{
		{"nothing", &apimachinery.Request{}, &metav1.DeleteOptions{}},
		{"options", &apimachinery.Request{Options: own}, own},
		{"query of a collection", query, &metav1.DeleteOptions{GracePeriodSeconds: &seconds, PropagationPolicy: &orphan}},
		{"body", &apimachinery.Request{Body: []byte(`{"gracePeriodSeconds":3}`), Options: &metav1.DeleteOptions{}}, own},
		{"YAML body", &apimachinery.Request{Body: []byte("gracePeriodSeconds: 3"), ContentType: "application/yaml"}, own},
		{"another kind", &apimachinery.Request{Body: []byte(`{"kind":"Pod"}`)}, nil},
		{"garbage", &apimachinery.Request{Body: []byte(`{`)}, nil},
		{"bad query", bad, nil},
	} {
		got, err := wire.DeleteOptions(c.r)
		if c.want == nil {
			require.True(t, apierrors.IsBadRequest(err), "%s: %v", c.name, err)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
		require.NotSame(t, own, got)
	}
}
