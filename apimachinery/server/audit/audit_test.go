package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// serve runs a server over HTTP; the header Test-User says who asks.
func serve(t *testing.T, a server.Auditor) string {
	t.Helper()
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = db.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-db.Ready()
	r, err := apimachinery.NewRegistry(core.Resources()...)
	require.NoError(t, err)
	s, err := server.New(server.Config{
		Registry: r, DB: db, Audit: a, Authenticator: byHeader{}, Authorizer: noDeletes,
		Admission: []apimachinery.Plugin{{Name: "notes", Mutate: notes{}}},
	})
	require.NoError(t, err)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	return h.URL
}

type notes struct{}

func (notes) Mutate(_ context.Context, a *apimachinery.Admission) error {
	a.Annotate("notes.example.com/seen", a.Operation)
	return nil
}

type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	if r.Header.Get("Test-User") == "bad" {
		return apimachinery.User{}, false, errors.New("bad credentials")
	}
	return apimachinery.User{Name: r.Header.Get("Test-User"), Groups: []string{"testers"}}, true, nil
}

var noDeletes = apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	if a.Verb == "delete" && a.Resource == "configmaps" {
		return apimachinery.Deny, "nobody may", nil
	}
	return apimachinery.Allow, "everybody may", nil
})

// sink keeps events.
type sink struct {
	mu     sync.Mutex
	events []*auditv1.Event
	refuse bool
}

func (s *sink) sink(mode audit.Mode) audit.Sink {
	return audit.Sink{Name: "test", Delivery: audit.Delivery{Mode: mode}, Write: func(_ context.Context, events []*auditv1.Event) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse {
			return errors.New("no")
		}
		s.events = append(s.events, events...)
		return nil
	}}
}

func (s *sink) take() []*auditv1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.events
	s.events = nil
	return out
}

func policy(t *testing.T, text string) *auditv1.Policy {
	t.Helper()
	p, err := audit.ParsePolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n" + text))
	require.NoError(t, err)
	return p
}

func ask(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Test-User", "alice")
	r.Header.Set("User-Agent", "tester/1")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(got)
}

const (
	maps    = "/api/v1/namespaces/default/configmaps"
	secrets = "/api/v1/namespaces/default/secrets"
	applied = "{apiVersion: v1, kind: ConfigMap, data: {k: w}}"
	canary  = "Y2FuYXJ5LWluLWEtY29hbC1taW5l"
)

func TestLevels(t *testing.T) {
	var s sink
	a, err := audit.New(audit.Config{Sinks: []audit.Sink{s.sink(audit.Blocking)}, Policy: policy(t, `
rules:
- {level: None, resources: [{resources: [nodes]}]}
- {level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived], resources: [{resources: [configmaps]}]}
- {level: Request, verbs: [list], resources: [{resources: [services]}]}
- {level: Metadata}`)})
	require.NoError(t, err)
	url := serve(t, a)

	resp, _ := ask(t, "POST", url+maps, `{"metadata":{"name":"a"},"data":{"k":"v"}}`, "Audit-Id", "my-id")
	require.Equal(t, 201, resp.StatusCode)
	require.Equal(t, "my-id", resp.Header.Get("Audit-Id"))
	events := s.take()
	require.Len(t, events, 1)
	e := events[0]
	require.EqualValues(t, "my-id", e.AuditID)
	require.Equal(t, auditv1.StageResponseComplete, e.Stage)
	require.Equal(t, auditv1.LevelRequestResponse, e.Level)
	require.Equal(t, "create", e.Verb)
	require.Equal(t, maps, e.RequestURI)
	require.Equal(t, "alice", e.User.Username)
	require.Equal(t, []string{"testers", "system:authenticated"}, e.User.Groups)
	require.Equal(t, []string{"127.0.0.1"}, e.SourceIPs)
	require.Equal(t, "tester/1", e.UserAgent)
	require.Equal(t, auditv1.ObjectReference{Resource: "configmaps", Namespace: "default", Name: "a", APIVersion: "v1"}, *e.ObjectRef)
	require.EqualValues(t, 201, e.ResponseStatus.Code)
	require.Equal(t, map[string]string{
		"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "everybody may", "notes.example.com/seen": "CREATE",
	}, e.Annotations)
	require.JSONEq(t, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"v"}}`, string(e.RequestObject.Raw))
	require.Contains(t, string(e.ResponseObject.Raw), `"uid"`)
	require.NotContains(t, string(e.ResponseObject.Raw), "managedFields")

	ask(t, "PATCH", url+maps+"/a", applied, "Content-Type", "application/apply-patch+yaml", "Accept", "application/yaml")
	ask(t, "PATCH", url+maps+"/a?fieldManager=x&force=true", applied, "Content-Type", "application/apply-patch+yaml", "Accept", "application/yaml")
	events = s.take()
	require.Len(t, events, 2)
	require.EqualValues(t, 422, events[0].ResponseStatus.Code, string(events[0].ResponseObject.Raw))
	require.Contains(t, string(events[0].ResponseObject.Raw), `"kind":"Status"`)
	require.JSONEq(t, `{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"w"}}`, string(events[1].RequestObject.Raw))
	require.Contains(t, string(events[1].ResponseObject.Raw), `"k":"w"`)

	resp, _ = ask(t, "DELETE", url+maps+"/a", `{"gracePeriodSeconds":1}`)
	require.Equal(t, 403, resp.StatusCode)
	e = s.take()[0]
	require.Equal(t, "forbid", e.Annotations["authorization.k8s.io/decision"])
	require.Equal(t, "nobody may", e.Annotations["authorization.k8s.io/reason"])
	require.EqualValues(t, "Forbidden", e.ResponseStatus.Reason)
	require.Nil(t, e.RequestObject, "a refused request is not read")

	ask(t, "GET", url+maps, "")
	e = s.take()[0]
	require.Contains(t, string(e.ResponseObject.Raw), `"items":[{`)
	require.NotContains(t, string(e.ResponseObject.Raw), "managedFields")

	ask(t, "GET", url+"/api/v1/nodes", "")
	require.Empty(t, s.take())
	ask(t, "GET", url+"/version", "", "Impersonate-User", "bob")
	events = s.take()
	require.Len(t, events, 2)
	require.Equal(t, auditv1.StageRequestReceived, events[0].Stage)
	require.Nil(t, events[0].ResponseStatus)
	require.Equal(t, "bob", events[1].ImpersonatedUser.Username)
	require.Nil(t, events[1].ObjectRef)
	require.Equal(t, "get", events[1].Verb)

	ask(t, "GET", url+"/version", "", "Test-User", "bad", "Authorization", "Bearer "+canary)
	events = s.take()
	require.Len(t, events, 1)
	require.Equal(t, auditv1.StageResponseStarted, events[0].Stage)
	require.EqualValues(t, 401, events[0].ResponseStatus.Code)
	require.Equal(t, "Authentication failed, attempted: bearer", events[0].ResponseStatus.Message)

	ask(t, "GET", url+maps+"?watch=true&timeoutSeconds=1", "")
	events = s.take()
	require.Len(t, events, 2)
	require.Equal(t, auditv1.StageResponseStarted, events[0].Stage)
	require.Equal(t, auditv1.StageResponseComplete, events[1].Stage)
}

// TestCanary: what a Secret or a token holds is not in the log at Metadata, whatever is done with it.
func TestCanary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logs", "audit.log")
	a, err := audit.New(audit.Config{Policy: policy(t, "rules: [{level: Metadata}]"), File: &audit.File{Path: file}})
	require.NoError(t, err)
	url := serve(t, a)
	for _, r := range [][]string{
		{"POST", secrets, `{"metadata":{"name":"a"},"data":{"k":"` + canary + `"}}`},
		{"POST", secrets, `{"metadata":{"name":"a"},"data":{"k":"` + canary + `"}}`},
		{"POST", secrets, `{"metadata":{"name":"b"},"data":{"k":"` + canary + `!"}}`},
		{"PUT", secrets + "/a", `{"metadata":{"name":"a"},"stringData":{"k":"` + canary + `"}}`},
		{"PATCH", secrets + "/a", `{"stringData":{"k":"` + canary + `"}}`, "Content-Type", "application/merge-patch+json"},
		{"PATCH", secrets + "/a", `[{"op":"test","path":"/data/k","value":"` + canary + `"}]`, "Content-Type", "application/json-patch+json"},
		{"GET", secrets + "/a", ""},
		{"GET", secrets + "/a", "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"},
		{"GET", secrets, ""},
		{"GET", secrets + "?watch=true&timeoutSeconds=1", ""},
		{"DELETE", secrets + "/a", ""},
		{"GET", "/version", "", "Test-User", "bad", "Authorization", "Bearer " + canary},
		{"GET", "/version", "", "Authorization", "Bearer " + canary},
	} {
		ask(t, r[0], url+r[1], r[2], r[3:]...)
	}
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(raw), canary)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	require.Len(t, lines, 26)
	for _, l := range lines {
		var e auditv1.Event
		require.NoError(t, json.Unmarshal([]byte(l), &e))
		require.Equal(t, "audit.k8s.io/v1", e.APIVersion)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
}

func TestStrict(t *testing.T) {
	s := sink{refuse: true}
	reg := prometheus.NewRegistry()
	a, err := audit.New(audit.Config{Sinks: []audit.Sink{s.sink(audit.BlockingStrict)}, Policy: policy(t, "rules: [{level: Metadata}]"), Registerer: reg})
	require.NoError(t, err)
	url := serve(t, a)
	resp, body := ask(t, "GET", url+maps, "")
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, body, "failed to store audit event")
	s.mu.Lock()
	s.refuse = false
	s.mu.Unlock()
	resp, _ = ask(t, "GET", url+maps, "")
	require.Equal(t, 200, resp.StatusCode)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP apiserver_audit_requests_rejected_total Requests refused because they could not be audited.
# TYPE apiserver_audit_requests_rejected_total counter
apiserver_audit_requests_rejected_total 1
# HELP apiserver_audit_error_total Events that a backend could not keep.
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="test"} 2
`), "apiserver_audit_requests_rejected_total", "apiserver_audit_error_total"))
}

func TestWebhook(t *testing.T) {
	got := make(chan auditv1.EventList, 10)
	var calls int
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			w.WriteHeader(503)
			return
		}
		var l auditv1.EventList
		if json.NewDecoder(r.Body).Decode(&l) == nil {
			got <- l
		}
	}))
	defer hook.Close()
	a, err := audit.New(audit.Config{
		Policy:  policy(t, "rules: [{level: RequestResponse, omitStages: [RequestReceived]}]"),
		Webhook: &audit.Webhook{URL: hook.URL, Client: hook.Client(), Backoff: 1, Truncate: audit.Truncate{Enabled: true, EventSize: 4000, BatchSize: 6000}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	url := serve(t, a)
	ask(t, "POST", url+maps, `{"metadata":{"name":"a"},"data":{"k":"`+strings.Repeat("x", 5000)+`"}}`)
	ask(t, "GET", url+maps+"/b", "")
	cancel()
	require.NoError(t, <-done)
	l := <-got
	require.Equal(t, "EventList", l.Kind)
	require.Len(t, l.Items, 2)
	require.Equal(t, "true", l.Items[0].Annotations["audit.k8s.io/truncated"])
	require.Nil(t, l.Items[0].RequestObject)
	require.EqualValues(t, 404, l.Items[1].ResponseStatus.Code)
	require.NotNil(t, l.Items[1].ResponseObject)
	require.Empty(t, got)
}

func TestLegacy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	a, err := audit.New(audit.Config{Policy: policy(t, "omitStages: [RequestReceived]\nrules: [{level: Metadata}]"), File: &audit.File{Path: file, Format: "legacy"}})
	require.NoError(t, err)
	url := serve(t, a)
	ask(t, "GET", url+maps, "", "Impersonate-User", "bob")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	_, line, _ := strings.Cut(string(raw), " AUDIT: ")
	_, line, _ = strings.Cut(line, " stage=")
	require.Equal(t, `"ResponseComplete" ip="127.0.0.1" method="list" user="alice" groups="\"testers\",\"system:authenticated\"" as="bob" `+
		`asgroups="\"system:authenticated\"" user-agent="tester/1" namespace="default" uri="/api/v1/namespaces/default/configmaps" response="200"`+"\n", line)
}

func TestPolicyRefused(t *testing.T) {
	const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	for text, want := range map[string]string{
		"kind: Policy\nrules: [{level: None}]":                                 "must be a audit.k8s.io/v1 Policy",
		"apiVersion: audit.k8s.io/v1beta1\nkind: Policy":                       "must be a audit.k8s.io/v1 Policy",
		head + "rules: []":                                                     "no rules",
		head + "rulez: []":                                                     "unknown field",
		head + "rules: [{level: None}]\nrules: [{level: None}]":                "already set",
		head + "rules: [{}]":                                                   "rules[0].level: Required value",
		head + "rules: [{level: All}]":                                         `rules[0].level: Unsupported value: "All"`,
		head + "rules: [{level: None, omitStages: [Now]}]":                     "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
		head + "omitStages: [Now]\nrules: [{level: None}]":                     "omitStages[0]",
		head + "rules: [{level: None, nonResourceURLs: [a]}]":                  "must begin with a '/'",
		head + "rules: [{level: None, nonResourceURLs: ['/a*b']}]":             "must be the final character",
		head + "rules: [{level: None, nonResourceURLs: [/], namespaces: [a]}]": "both regular resources and non-resource URLs",
		head + "rules: [{level: None, resources: [{group: A/b}]}]":             "resources.group",
		head + "rules: [{level: None, resources: [{resourceNames: [a]}]}]":     "using resourceNames requires at least one resource",
	} {
		_, err := audit.ParsePolicy([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}

// BenchmarkEvent is what an event costs at Metadata, but for the disk.
func BenchmarkEvent(b *testing.B) {
	a, err := audit.New(audit.Config{
		Policy: &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}},
		File:   &audit.File{Path: os.DevNull, Delivery: audit.Delivery{Mode: audit.Blocking}},
	})
	require.NoError(b, err)
	ev := &server.AuditEvent{
		ID: "a", Level: server.AuditMetadata, Stage: server.StageResponseComplete, Verb: "get", URI: maps, Namespace: "default", Name: "a",
		User: apimachinery.User{Name: "alice", Groups: []string{"testers"}}, Sources: []string{"127.0.0.1"}, Code: 200,
	}
	b.ReportAllocs()
	for b.Loop() {
		if a.Rule(ev).Level == server.AuditNone || !a.Take(ev) {
			b.Fatal("it is not kept")
		}
	}
}
