package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

const configMapsPath = "/api/v1/namespaces/default/configmaps"

// value is what a metric with these labels counts.
func value(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if has(m, labels) {
				switch f.GetType() {
				case dto.MetricType_COUNTER:
					return m.Counter.GetValue()
				case dto.MetricType_GAUGE:
					return m.Gauge.GetValue()
				default:
					return float64(m.Histogram.GetSampleCount())
				}
			}
		}
	}
	return 0
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.Label {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

type nothing struct{}

func (nothing) Mutate(context.Context, *apimachinery.Admission) error { return nil }

func TestRequestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := start(t, func(c *server.Config) {
		c.Registerer, c.Gatherer = reg, reg
		c.Authorizer = apimachinery.AuthorizerFunc(func(context.Context, *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			return apimachinery.Allow, "", nil
		})
		c.Admission = []apimachinery.Plugin{{Name: "Nothing", Mutate: nothing{}}}
	})
	w.ask("POST", configMapsPath, `{"metadata":{"name":"a"}}`)
	w.ask("POST", configMapsPath+"?dryRun=All", `{"metadata":{"name":"b"}}`)
	w.ask("GET", configMapsPath+"/a", "")
	w.ask("GET", configMapsPath+"/b", "")
	w.ask("GET", configMapsPath, "")
	w.ask("GET", configMapsPath+"?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "")
	w.ask("GET", "/api/v1/nothing/"+strings.Repeat("x", 20), "")
	w.ask("GET", "/version", "")
	for _, c := range []struct {
		name   string
		want   float64
		labels string
	}{
		{"apiserver_request_total", 1, "verb=POST dry_run= group= version=v1 resource=configmaps subresource= scope=namespace component=apiserver code=201"},
		{"apiserver_request_total", 1, "verb=POST dry_run=All resource=configmaps code=201"},
		{"apiserver_request_total", 1, "verb=GET resource=configmaps scope=resource code=200"},
		{"apiserver_request_total", 1, "verb=GET resource=configmaps scope=resource code=404"},
		{"apiserver_request_total", 1, "verb=LIST resource=configmaps scope=namespace code=200"},
		{"apiserver_request_total", 1, "verb=WATCH resource=configmaps code=200"},
		{"apiserver_request_total", 1, "verb=GET version= resource= code=404"},
		{"apiserver_request_total", 1, "verb=GET resource= subresource=/version code=200"},
		{"apiserver_request_duration_seconds", 2, "verb=GET resource=configmaps"},
		{"apiserver_request_sli_duration_seconds", 1, "verb=LIST resource=configmaps"},
		{"apiserver_request_duration_seconds", 0, "verb=WATCH"},
		{"apiserver_response_sizes", 1, "verb=LIST resource=configmaps"},
		{"apiserver_longrunning_requests", 0, "verb=WATCH resource=configmaps"},
		{"apiserver_watch_events_total", 1, "resource=configmaps version=v1"},
		{"apiserver_watch_events_sizes", 1, "resource=configmaps"},
		{"apiserver_admission_controller_admission_duration_seconds", 2, "name=Nothing type=admit operation=CREATE rejected=false"},
		{"apiserver_admission_step_admission_duration_seconds", 2, "type=validate operation=CREATE rejected=false"},
		{"authentication_attempts", 8, "result=success"},
		{"authorization_attempts_total", 8, "result=allowed"},
	} {
		var labels []string
		for l := range strings.FieldsSeq(c.labels) {
			k, v, _ := strings.Cut(l, "=")
			labels = append(labels, k, v)
		}
		require.InDelta(t, c.want, value(t, reg, c.name, labels...), 0, "%s %s", c.name, c.labels)
	}
}

func TestTraces(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	w := start(t, func(c *server.Config) { c.Tracer = provider })
	const parent = "0af7651916cd43dd8448eb211c80319c"
	_, head, _ := w.ask("POST", configMapsPath, `{"metadata":{"name":"a"}}`, "traceparent", "00-"+parent+"-b7ad6b7169203331-01")
	byName := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		byName[s.Name()] = s
	}
	root := byName["POST /api/v1/namespaces/{:namespace}/configmaps"]
	require.NotNil(t, root)
	require.NotEqual(t, parent, root.SpanContext().TraceID().String(), "anybody could ask for it")
	require.Equal(t, parent, root.Links()[0].SpanContext.TraceID().String())
	require.Contains(t, root.Attributes(), attribute.String("audit-id", head.Get("Audit-Id")))
	require.Contains(t, root.Attributes(), attribute.String("http.target", configMapsPath))
	require.Contains(t, root.Attributes(), attribute.Int("http.response.status_code", 201))
	create := byName["Create"]
	require.Equal(t, root.SpanContext().SpanID(), create.Parent().SpanID())
	require.Contains(t, create.Attributes(), attribute.String("resource", "configmaps"))
	for _, name := range []string{"Admit", "Validate", "Create etcd3"} {
		require.Equal(t, create.SpanContext().SpanID(), byName[name].Parent().SpanID(), name)
	}
	require.Equal(t, root.SpanContext().SpanID(), byName["SerializeObject"].Parent().SpanID())

	spans.Reset()
	w.ask("GET", configMapsPath+"/a", "", "traceparent", "00-"+parent+"-b7ad6b7169203331-01", "Test-User", "master", "Test-Group", "system:masters")
	for _, s := range spans.Ended() {
		require.Equal(t, parent, s.SpanContext().TraceID().String(), s.Name())
	}
	require.Len(t, spans.Ended(), 4)
}

func TestHealthChecks(t *testing.T) {
	broken := true
	w := start(t, func(c *server.Config) {
		c.Checks = map[string]func(context.Context) error{"poststarthook/rbac/bootstrap-roles": func(context.Context) error {
			if broken {
				return errors.New("not yet")
			}
			return nil
		}}
	})
	code, _, body := w.ask("GET", "/readyz/poststarthook/rbac/bootstrap-roles", "")
	require.Equal(t, 500, code)
	require.Equal(t, "internal server error: not yet\n", body)
	code, _, body = w.ask("GET", "/readyz?verbose&exclude=poststarthook/rbac/bootstrap-roles&exclude=foo", "")
	require.Equal(t, 200, code)
	require.Contains(t, body, "[+]poststarthook/rbac/bootstrap-roles excluded: ok\n")
	require.Contains(t, body, "warn: some health checks cannot be excluded: no matches for \"foo\"\nreadyz check passed\n")
	broken = false
	code, head, body := w.ask("GET", "/healthz/poststarthook/rbac/bootstrap-roles", "")
	require.Equal(t, 200, code)
	require.Equal(t, "ok", body)
	require.Equal(t, "nosniff", head.Get("X-Content-Type-Options"))
}

func TestProfiling(t *testing.T) {
	w := start(t, nil)
	code, _, _ := w.ask("GET", "/debug/pprof/heap", "")
	require.Equal(t, 404, code)
	w = start(t, func(c *server.Config) {
		c.Profiling = true
		c.Authorizer = apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			if a.User.Name == "root" {
				return apimachinery.Allow, "", nil
			}
			return apimachinery.NoOpinion, "", nil
		})
	})
	for path, want := range map[string]string{
		"/debug/pprof/": "goroutine\n", "/debug/pprof/goroutine?debug=1": "goroutine profile:", "/debug/pprof/profile?seconds=0.01": "\x1f\x8b",
		"/debug/pprof/heap": "\x1f\x8b", "/debug/pprof/trace?seconds=0.01": "go 1.",
	} {
		code, _, _ = w.ask("GET", path, "")
		require.Equal(t, 403, code, path)
		code, _, body := w.ask("GET", path, "", "Test-User", "root")
		require.Equal(t, 200, code, path)
		require.Contains(t, body, want, path)
	}
	code, _, _ = w.ask("GET", "/debug/pprof/nothing", "", "Test-User", "root")
	require.Equal(t, 404, code)
}
