package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// ask sends one HTTP request; headers come in pairs.
func (w *world) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.http.Do(r)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, resp.Header, string(out)
}

func statusIn(t testing.TB, body string) metav1.Status {
	t.Helper()
	var s metav1.Status
	require.NoError(t, json.Unmarshal([]byte(body), &s), body)
	require.Equal(t, "Status", s.Kind)
	return s
}

func TestPaths(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := start(t, func(c *server.Config) { c.Registerer, c.Gatherer = reg, reg })
	must[corev1.ConfigMapList](t, w.conn, list(configMaps, metav1.ListOptions{}))
	for path, want := range map[string]string{
		"/openapi/v3":                           `"apis/db.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/db.example.com/v1?hash=`,
		"/openapi/v3/api/v1":                    `"/api/v1/namespaces/{namespace}/configmaps/{name}"`,
		"/version":                              `"gitVersion":"v1.37.0`,
		"/livez":                                "ok",
		"/readyz":                               "ok",
		"/healthz":                              "ok",
		"/readyz?verbose":                       "[+]ping ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[+]shutdown ok\nreadyz check passed\n",
		"/readyz?verbose&exclude=etcd":          "[+]etcd excluded: ok\n",
		"/livez/ping":                           "ok",
		"/api":                                  `"versions":["v1"]`,
		"/apis":                                 `"name":"db.example.com"`,
		"/api/v1":                               `"name":"configmaps"`,
		"/apis/db.example.com/v1":               `"name":"databases/status"`,
		"/metrics":                              "apiserver_current_inflight_requests",
		"/":                                     `"/apis/db.example.com"`,
		"/api/v1/namespaces/default/configmaps": `"kind":"ConfigMapList","apiVersion":"v1"`,
	} {
		code, _, body := w.ask("GET", path, "")
		require.Equal(t, 200, code, path)
		require.Contains(t, body, want, path)
	}
	for _, path := range []string{"/nothing", "/livez/nothing", "/api/v2", "/apis/none", "/api/v1/nothing", "/apis/db.example.com/v1/namespaces/x/nothing/y"} {
		code, _, body := w.ask("GET", path, "")
		require.Equal(t, 404, code, path)
		require.Equal(t, metav1.StatusReasonNotFound, statusIn(t, body).Reason)
	}
}

func TestUnready(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.Checks = map[string]func(context.Context) error{"custom": func(context.Context) error { return io.ErrUnexpectedEOF }}
	})
	code, _, body := w.ask("GET", "/readyz", "")
	require.Equal(t, 500, code)
	require.Equal(t, "[+]ping ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[-]custom failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n", body)
	code, _, _ = w.ask("GET", "/livez", "")
	require.Equal(t, 200, code)
}

// TestScopes holds every form of a path against resources of both scopes (CVE-2019-11247).
func TestScopes(t *testing.T) {
	w := start(t, nil)
	for path, codes := range map[string]map[string]int{
		"/api/v1/namespaces":                                      {"GET": 200, "PUT": 405},
		"/api/v1/namespaces/x":                                    {"GET": 404, "POST": 405},
		"/api/v1/configmaps":                                      {"GET": 200, "POST": 405, "DELETE": 405},
		"/api/v1/configmaps/x":                                    {"GET": 404, "PUT": 404, "DELETE": 404, "PATCH": 404},
		"/apis/db.example.com/v1/databases/x":                     {"GET": 404},
		"/apis/db.example.com/v1/namespaces/d/databases/x":        {"GET": 404},
		"/apis/db.example.com/v1/namespaces/d/databases/x/status": {"GET": 404, "DELETE": 405, "POST": 405},
		"/api/v1/namespaces/x/namespaces/y":                       {"GET": 404},
		"/api/v1/namespaces/x/namespaces":                         {"GET": 404},
	} {
		for method, want := range codes {
			code, _, body := w.ask(method, path, `{"metadata":{"name":"x"}}`, "Content-Type", "application/json")
			require.Equal(t, want, code, "%s %s: %s", method, path, body)
		}
	}
}

// TestNamesStayInTheirKey sends names that could reach another key (CVE-2015-5305, CVE-2022-3162).
func TestNamesStayInTheirKey(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", nil)))
	for _, path := range []string{
		"/api/v1/namespaces/default/configmaps/..", "/api/v1/namespaces/default/configmaps/%2e%2e",
		"/api/v1/namespaces/default/configmaps/..%2Fdefault%2Fa", "/api/v1/namespaces/default/configmaps/a%00",
		"/api/v1/namespaces/..%2F/configmaps/a", "/api/v1/namespaces/default/configmaps/a%252F",
	} {
		code, _, body := w.ask("GET", path, "")
		require.Contains(t, []int{301, 307, 400, 404}, code, "%s: %s", path, body)
	}
	d := w.s.As(tester)
	for _, name := range []string{"..", ".", "a/b", "a%2Fb", "a\x00", `a\b`} {
		for _, r := range []*apimachinery.Request{get(configMaps, name), remove(configMaps, name, nil), patch(configMaps, name, mergePatch, "{}")} {
			_, _, err := do(t, d, r)
			require.Error(t, err, "%q", name)
		}
		r := get(configMaps, "a")
		r.Namespace = name
		_, _, err := do(t, d, r)
		require.Error(t, err, "%q", name)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := start(t, nil)
	const path = "/api/v1/namespaces/default/configmaps"
	code, _, body := w.ask("POST", path, `{"data":{"k":"`+strings.Repeat("x", 4<<20)+`"}}`, "Content-Type", "application/json")
	require.Equal(t, 413, code)
	require.Equal(t, metav1.StatusReasonRequestEntityTooLarge, statusIn(t, body).Reason)
	code, _, _ = w.ask("POST", path, `{"metadata":{"name":"x"},"data":{"k":"`+strings.Repeat("x", 2<<20)+`"}}`, "Content-Type", "application/json")
	require.Equal(t, 413, code, "larger than the store takes")
	code, _, _ = w.ask("POST", path, "{}", "Content-Type", "application/json", "Content-Encoding", "gzip")
	require.Equal(t, 415, code)
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
	require.NoError(t, err)
	r.Header.Set("X-Large", strings.Repeat("x", 1<<17))
	_, err = w.http.Do(r) //nolint:bodyclose // there is none
	require.ErrorContains(t, err, "larger than peer's advertised limit")
}

// TestBombs sends what grows when it is read (CVE-2019-11253).
func TestBombs(t *testing.T) {
	w := start(t, nil)
	var aliases strings.Builder
	aliases.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&aliases, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	lists := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	const path = "/api/v1/namespaces/default/configmaps"
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", nil)))
	for name, c := range map[string]struct{ method, path, typ, body string }{
		"aliases":            {"POST", path, "application/yaml", aliases.String()},
		"aliases in apply":   {"PATCH", path + "/b?fieldManager=x", applyPatch, aliases.String()},
		"deep":               {"POST", path, "application/json", deep},
		"deep data":          {"POST", path, "application/json", `{"data":` + deep + `}`},
		"deep lists":         {"POST", path, "application/json", `{"x":` + lists + `}`},
		"deep YAML":          {"POST", path, "application/yaml", lists},
		"deep merge patch":   {"PATCH", path + "/a", mergePatch, deep},
		"deep strategic":     {"PATCH", path + "/a", strategic, deep},
		"deep apply":         {"PATCH", path + "/b?fieldManager=x", applyPatch, deep},
		"deep JSON patch":    {"PATCH", path + "/a", jsonPatch, `[{"op":"add","path":"/x","value":` + deep + `}]`},
		"deep delete":        {"DELETE", path + "/a", "application/json", deep},
		"long pointer":       {"PATCH", path + "/a", jsonPatch, `[{"op":"add","path":"` + strings.Repeat("/a", 100_000) + `","value":1}]`},
		"wide unknown field": {"POST", path, "application/json", `{"metadata":{"name":"a"},"x":[` + strings.Repeat("0,", 1<<20) + `0]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			code, _, body := w.ask(c.method, c.path, c.body, "Content-Type", c.typ)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			require.True(t, code >= 400 && code < 500, "%d %.200s", code, body)
			require.Less(t, took, time.Second*slow)
			require.Less(t, int64(after.HeapInuse)-int64(before.HeapInuse), int64(64<<20))
		})
	}
	require.Len(t, must[corev1.ConfigMapList](t, w.conn, list(configMaps, metav1.ListOptions{})).Items, 1)
}

func TestIdentity(t *testing.T) {
	allow := apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		switch {
		case a.User.Name == "root", a.User.Name == "friend" && a.Verb == "get":
			return apimachinery.Allow, "", nil
		case a.User.Name == "broken":
			return apimachinery.NoOpinion, "", io.ErrUnexpectedEOF
		}
		return apimachinery.NoOpinion, "no rule", nil
	})
	var mu sync.Mutex
	var events []server.AuditEvent
	w := start(t, func(c *server.Config) {
		c.Authorizer = allow
		c.Audit = server.AuditFunc(func(e server.AuditEvent) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		})
	})
	const path = "/api/v1/namespaces/default/configmaps"
	for _, c := range []struct {
		method, path string
		headers      []string
		code         int
		says         string
	}{
		{"GET", path, []string{"Test-User", "root"}, 200, ""},
		{"GET", path, []string{"Test-User", "bad"}, 401, "Unauthorized"},
		{"GET", path, []string{"Test-User", "anonymous"}, 403, `configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" in the namespace "default": no rule`},
		{"GET", path, []string{"Test-User", "broken"}, 403, "unexpected EOF"},
		{"GET", path + "/x", []string{"Test-User", "friend"}, 404, `configmaps "x" not found`},
		{"DELETE", path + "/x", []string{"Test-User", "friend"}, 403, `configmaps "x" is forbidden: User "friend" cannot delete resource "configmaps" in API group "" in the namespace "default": no rule`},
		{"GET", "/api/v1/nothing", []string{"Test-User", "friend"}, 403, `cannot list resource "nothing" in API group "" at the cluster scope`},
		{"GET", "/metrics", []string{"Test-User", "anonymous"}, 403, `forbidden: User "system:anonymous" cannot get path "/metrics"`},
		{"GET", path + "/x", []string{"Test-User", "root", "Impersonate-User", "friend"}, 404, ""},
		{"DELETE", path + "/x", []string{"Test-User", "root", "Impersonate-User", "friend"}, 403, `User "friend" cannot delete`},
		{"GET", path + "/x", []string{"Test-User", "friend", "Impersonate-User", "root"}, 403, `users "root" is forbidden: User "friend" cannot impersonate resource "users" in API group "" at the cluster scope`},
		{"GET", path + "/x", []string{"Test-User", "friend", "Impersonate-User", "system:serviceaccount:ns:sa"}, 403, `cannot impersonate resource "serviceaccounts" in API group "" in the namespace "ns"`},
		{"GET", path + "/x", []string{"Test-User", "root", "Impersonate-Group", "g"}, 400, "Impersonate-User"},
	} {
		code, _, body := w.ask(c.method, c.path, "", c.headers...)
		require.Equal(t, c.code, code, "%v: %s", c, body)
		if c.says != "" {
			require.Contains(t, statusIn(t, body).Message, c.says)
		}
	}
	_, _, err := do(t, w.s.As(apimachinery.User{Name: "friend"}), list(configMaps, metav1.ListOptions{}))
	require.ErrorContains(t, err, `User "friend" cannot list`, "in process too")
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, events)
	require.Equal(t, "root", events[0].User.Name)
	require.Equal(t, "list", events[0].Verb)
	require.EqualValues(t, 200, events[0].Code)
}

func TestFlowControl(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	gate := apimachinery.AuthorizerFunc(func(ctx context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		if a.User.Name == "slow" {
			enter <- struct{}{}
			<-leave
		}
		return apimachinery.Allow, "", nil
	})
	w := start(t, func(c *server.Config) {
		c.Authorizer, c.Limits.Reads, c.Limits.Writes = gate, 2, 1
	})
	var wg sync.WaitGroup
	slowUser := w.s.As(apimachinery.User{Name: "slow"})
	for range 2 {
		wg.Go(func() { _, _ = slowUser.Do(t.Context(), get(configMaps, "x")) })
		<-enter
	}
	code, h, body := w.ask("GET", "/api/v1/configmaps", "")
	require.Equal(t, 429, code)
	require.Equal(t, "1", h.Get("Retry-After"))
	require.Equal(t, metav1.StatusReasonTooManyRequests, statusIn(t, body).Reason)
	code, _, _ = w.ask("GET", "/api/v1/configmaps", "", "Test-User", "admin", "Test-Group", "system:masters")
	require.Equal(t, 200, code)
	code, _, _ = w.ask("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"x"}}`, "Content-Type", "application/json")
	require.Equal(t, 201, code, "writes have places of their own")
	close(leave)
	wg.Wait()
	var watches []*watching
	for range 5 {
		watches = append(watches, watch(t, w.conn, configMaps, metav1.ListOptions{ResourceVersion: "0"}))
	}
	for _, x := range watches {
		x.expect("ADDED x")
	}
}

type panicking struct{}

func (panicking) Mutate(_ context.Context, a *apimachinery.Admission) error {
	switch a.Name {
	case "panic":
		panic("a bug")
	case "abort":
		panic(http.ErrAbortHandler)
	}
	return nil
}

func TestPanicsStayInside(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.Admission = []apimachinery.Plugin{{Name: "panicking", Mutate: panicking{}}}
	})
	_, _, err := do(t, w.s.As(tester), create(configMaps, configMap("panic", nil)))
	require.ErrorContains(t, err, "panic")
	code, _, body := w.ask("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"panic"}}`, "Content-Type", "application/json")
	require.Equal(t, 500, code)
	require.Equal(t, metav1.StatusReasonInternalError, statusIn(t, body).Reason)
	r, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/api/v1/namespaces/default/configmaps", strings.NewReader(`{"metadata":{"name":"abort"}}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Do(r)
	if err == nil {
		resp.Body.Close()
	}
	require.Error(t, err, "an aborted answer is no answer")
	code, _, _ = w.ask("GET", "/readyz", "")
	require.Equal(t, 200, code)
}

// TestRapidReset opens and resets streams by the thousand (CVE-2023-44487): others are still served.
func TestRapidReset(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", nil)))
	for range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/v1/configmaps?watch=true", nil)
		require.NoError(t, err)
		go cancel()
		if resp, err := w.http.Do(r); err == nil {
			resp.Body.Close()
		}
	}
	begin := time.Now()
	must[corev1.ConfigMap](t, w.conn, get(configMaps, "a"))
	require.Less(t, time.Since(begin), 5*time.Second*slow)
}

// TestSlowBody keeps a connection open without sending: it is cut when its time is over.
func TestSlowBody(t *testing.T) {
	w := start(t, func(c *server.Config) { c.Limits.Timeout = 200 * time.Millisecond })
	conn, err := tls.Dial("tcp", w.s.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // a test
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	var answer bytes.Buffer
	_, err = io.Copy(&answer, conn)
	if ne, ok := err.(net.Error); ok {
		require.False(t, ne.Timeout(), "the server kept the connection")
	}
	require.Contains(t, answer.String(), "HTTP/1.1 408")
}

// TestStalledWatchersHurtNobody leaves watches unread: others get every event, and the stalled are cut off.
func TestStalledWatchersHurtNobody(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := start(t, func(c *server.Config) { c.Limits.Timeout, c.Registerer = 500*time.Millisecond, reg })
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", nil)))
	var stalled []*http.Response
	for _, transport := range []*http.Transport{
		{TLSClientConfig: w.http.Transport.(*http.Transport).TLSClientConfig.Clone(), ForceAttemptHTTP2: true},
		{TLSClientConfig: w.http.Transport.(*http.Transport).TLSClientConfig.Clone()},
	} {
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(w.url + "/api/v1/configmaps?watch=true")
		require.NoError(t, err)
		defer resp.Body.Close()
		stalled = append(stalled, resp)
	}
	require.Equal(t, 2, stalled[0].ProtoMajor)
	require.Equal(t, 1, stalled[1].ProtoMajor)
	good := watch(t, w.conn, configMaps, metav1.ListOptions{})
	good.expect("ADDED a")
	filler := strings.Repeat("x", 64<<10)
	for i := range 200 {
		must[corev1.ConfigMap](t, w.s.As(tester), update(configMaps, configMap("a", map[string]string{"k": filler, "i": fmt.Sprint(i)})))
		good.expect("MODIFIED a")
	}
	require.Eventually(t, func() bool {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "apiserver_longrunning_requests" {
				return f.GetMetric()[0].GetGauge().GetValue() == 1
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "the stalled watches go on")
	for _, resp := range stalled {
		_, err := io.Copy(io.Discard, resp.Body)
		require.Error(t, err, "HTTP/%d", resp.ProtoMajor)
	}
}
