package crd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// world is a server that serves definitions, over HTTPS.
type world struct {
	t    testing.TB
	s    *server.Server
	r    *apimachinery.Registry
	c    *crd.Controller
	url  string
	http *http.Client
}

func start(t testing.TB, change func(*crd.Config)) *world {
	t.Helper()
	b, err := memory.New(memory.Config{History: 10_000})
	require.NoError(t, err)
	return startOver(t, b, change)
}

func startOver(t testing.TB, b storage.Backend, change func(*crd.Config)) *world {
	t.Helper()
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(append(core.Resources(), apiextensions.Resources()...)...)
	require.NoError(t, err)
	ca, err := pki.Open(pki.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	tlsConfig, err := ca.ServerTLS("localhost", "127.0.0.1")
	require.NoError(t, err)
	config := crd.Config{Registry: r}
	if change != nil {
		change(&config)
	}
	c, err := crd.New(config)
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: r, DB: db, TLS: tlsConfig, Await: c.Await})
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	dbCtx, dbCancel := context.WithCancel(context.Background())
	var below, above sync.WaitGroup
	below.Go(func() { _ = db.Run(dbCtx) })
	above.Go(func() { _ = s.Run(ctx) })
	above.Go(func() { _ = c.Run(ctx, s) })
	<-s.Ready()
	<-c.Synced()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}, ForceAttemptHTTP2: true}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		above.Wait()
		dbCancel()
		below.Wait()
	})
	return &world{t: t, s: s, r: r, c: c, url: "https://" + s.Addr().String(), http: client}
}

// answer is what a request got.
type answer struct {
	t       testing.TB
	code    int
	body    []byte
	warning []string
}

func (w *world) do(method, path, contentType, body string, header ...string) answer {
	w.t.Helper()
	if strings.HasPrefix(contentType, "yaml:") { // a document of a test, sent as JSON
		raw, err := yaml.YAMLToJSON([]byte(body))
		require.NoError(w.t, err)
		contentType, body = strings.TrimPrefix(contentType, "yaml:"), string(raw)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := w.http.Do(r)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{w.t, resp.StatusCode, raw, resp.Header.Values("Warning")}
}

const asYAML = "yaml:application/json"

func (w *world) post(path, doc string) answer { w.t.Helper(); return w.do("POST", path, asYAML, doc) }
func (w *world) put(path, doc string) answer  { w.t.Helper(); return w.do("PUT", path, asYAML, doc) }
func (w *world) get(path string) answer       { w.t.Helper(); return w.do("GET", path, "", "") }
func (w *world) remove(path string) answer    { w.t.Helper(); return w.do("DELETE", path, "", "") }
func (w *world) merge(path, doc string) answer {
	w.t.Helper()
	return w.do("PATCH", path, "yaml:application/merge-patch+json", doc)
}
func (w *world) apply(path, doc string) answer {
	w.t.Helper()
	return w.do("PATCH", path+"?fieldManager=tester", "application/apply-patch+yaml", doc)
}

func (a answer) is(code int) answer {
	a.t.Helper()
	require.Equal(a.t, code, a.code, string(a.body))
	return a
}

func (a answer) object() *unstructured.Unstructured {
	a.t.Helper()
	u := &unstructured.Unstructured{}
	require.NoError(a.t, apimachinery.DecodeLoose(a.body, &u.Object), string(a.body))
	return u
}

// at is what lies at a path of an object ("spec.size").
func (a answer) at(path string) any {
	a.t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(a.object().Object, strings.Split(path, ".")...)
	require.NoError(a.t, err)
	return v
}

func (a answer) says(text string) answer {
	a.t.Helper()
	require.Contains(a.t, string(a.body), text)
	return a
}

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// define creates a definition and waits for its condition Established.
func (w *world) define(doc string) {
	w.t.Helper()
	name := w.post(definitions, doc).is(201).object().GetName()
	w.until(definitions+"/"+name, func(a answer) bool { return condition(a, "Established") == "True" })
}

func condition(a answer, typ string) string {
	list, _, _ := unstructured.NestedSlice(a.object().Object, "status", "conditions")
	for _, c := range list {
		if m := c.(map[string]any); m["type"] == typ {
			return m["status"].(string)
		}
	}
	return ""
}

// until watches an object until it is as wanted.
func (w *world) until(path string, want func(answer) bool) answer {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		a := w.get(path)
		if want(a) {
			return a
		}
		if time.Now().After(deadline) {
			require.FailNow(w.t, "it never came to be", string(a.body))
		}
		at := strings.LastIndex(path, "/") // the watch is over at the next event or after a second
		w.watch(path[:at] + "?watch=1&timeoutSeconds=1&resourceVersion=" + a.at("metadata.resourceVersion").(string) + "&fieldSelector=metadata.name=" + path[at+1:]).next()
	}
}

// gone waits until nothing is at a path.
func (w *world) gone(path string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.get(path).code == 404 }, 30*time.Second, 5*time.Millisecond)
}

// events reads a watch line by line.
type events struct {
	t     testing.TB
	lines *bufio.Scanner
	close func() error
}

func (w *world) watch(path string) *events {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "GET", w.url+path, nil)
	require.NoError(w.t, err)
	resp, err := w.http.Do(r)
	require.NoError(w.t, err)
	require.Equal(w.t, 200, resp.StatusCode)
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 8<<20)
	return &events{w.t, lines, resp.Body.Close}
}

// next is the next event; type "" at the end.
func (e *events) next() (typ string, o *unstructured.Unstructured) {
	e.t.Helper()
	if !e.lines.Scan() {
		return "", nil
	}
	var ev struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	require.NoError(e.t, json.NewDecoder(bytes.NewReader(e.lines.Bytes())).Decode(&ev))
	o = &unstructured.Unstructured{}
	require.NoError(e.t, apimachinery.DecodeLoose(ev.Object, &o.Object), e.lines.Text())
	return ev.Type, o
}
