package server

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otelpropagation "go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/bedplate/bedplate/apimachinery"
)

// tracerName is the instrumentation's scope.
const tracerName = "github.com/bedplate/bedplate/apimachinery/server"

// span is the server's span of a request over HTTP. All methods work on nil, which is off.
type span struct {
	trace.Span
	answer *answerCode
}

// traced begins the span of a request whose user is known, and returns with what to serve it. A caller's trace goes on
// if the caller is of the control plane; that of any other is linked to alone, so that nobody can make the server
// sample.
func (s *Server) traced(w http.ResponseWriter, hr *http.Request, r *apimachinery.Request, user *apimachinery.User) (http.ResponseWriter, *http.Request, *span) {
	if s.tracer == nil {
		return w, hr, nil
	}
	ctx := otelpropagation.TraceContext{}.Extract(hr.Context(), otelpropagation.HeaderCarrier(hr.Header))
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(requestAttributes(hr)...)}
	if remote := trace.SpanContextFromContext(ctx); remote.IsValid() && !slices.Contains(user.Groups, masters) && !slices.Contains(user.Groups, "system:monitoring") {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	ctx, one := s.tracer.Start(ctx, spanName(hr, r), options...)
	one.SetAttributes(attribute.String("audit-id", w.Header().Get(auditHeader)))
	answer := &answerCode{w, http.StatusOK}
	hr = hr.WithContext(ctx)
	if r != nil {
		r.HTTP = hr
	}
	return answer, hr, &span{one, answer}
}

func (s *span) end() {
	if s == nil {
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", s.answer.code))
	if s.answer.code >= http.StatusInternalServerError {
		s.SetStatus(codes.Error, "")
	}
	s.End()
}

// spanName is the request's path without names.
func spanName(hr *http.Request, r *apimachinery.Request) string {
	if r == nil {
		return hr.Method
	}
	var b strings.Builder
	b.WriteString(hr.Method)
	if r.Resource.Group == "" {
		b.WriteString(" /api")
	} else {
		b.WriteString(" /apis/" + r.Resource.Group)
	}
	b.WriteString("/" + r.Resource.Version)
	if r.Namespace != "" {
		b.WriteString("/namespaces/{:namespace}")
	}
	b.WriteString("/" + r.Resource.Resource)
	if r.Name != "" {
		b.WriteString("/{:name}")
	}
	if r.Sub != "" {
		b.WriteString("/" + r.Sub)
	}
	return b.String()
}

func requestAttributes(hr *http.Request) []attribute.KeyValue {
	scheme := "http"
	if hr.TLS != nil {
		scheme = "https"
	}
	all := []attribute.KeyValue{
		attribute.String("http.request.method", hr.Method), attribute.String("url.scheme", scheme),
		attribute.String("url.path", valid(hr.URL.Path)), attribute.String("http.target", valid(hr.URL.RequestURI())),
		attribute.String("network.protocol.version", strings.TrimPrefix(hr.Proto, "HTTP/")),
		attribute.String("user_agent.original", valid(hr.UserAgent()[:min(len(hr.UserAgent()), maxUserAgent)])),
	}
	if host, port, err := net.SplitHostPort(hr.RemoteAddr); err == nil {
		all = append(all, attribute.String("network.peer.address", host), attribute.String("client.address", host))
		if n, err := strconv.Atoi(port); err == nil {
			all = append(all, attribute.Int("network.peer.port", n))
		}
	}
	if host, _, err := net.SplitHostPort(hr.Host); err == nil {
		all = append(all, attribute.String("server.address", valid(host)))
	}
	return all
}

// valid is text that an exporter takes.
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// verbNames are the spans of what the verbs do.
var verbNames = map[string]string{
	apimachinery.VerbGet: "Get", apimachinery.VerbList: "List", apimachinery.VerbWatch: "Watch", apimachinery.VerbCreate: "Create",
	apimachinery.VerbUpdate: "Update", apimachinery.VerbPatch: "Patch", apimachinery.VerbDelete: "Delete", apimachinery.VerbDeleteCollection: "Delete",
}

func ended() {}

// step begins a span of a part of a request; the caller must call end.
func (s *Server) step(ctx context.Context, name string, attributes ...attribute.KeyValue) (_ context.Context, end func()) {
	if s.tracer == nil {
		return ctx, ended
	}
	ctx, one := s.tracer.Start(ctx, name, trace.WithAttributes(attributes...))
	return ctx, func() { one.End() }
}

// storeStep is the span of a write.
func storeStep(new, old apimachinery.Object) string {
	switch {
	case new == nil:
		return "Delete etcd3"
	case old == nil:
		return "Create etcd3"
	}
	return "GuaranteedUpdate etcd3"
}

// handling begins the span of what a request's verb does.
func (s *Server) handling(ctx context.Context, r *apimachinery.Request) (_ context.Context, end func()) {
	if s.tracer == nil {
		return ctx, ended
	}
	return s.step(ctx, verbNames[r.Verb],
		attribute.String("api-group", r.Resource.Group), attribute.String("api-version", r.Resource.Version),
		attribute.String("resource", r.Resource.Resource), attribute.String("subresource", r.Sub),
		attribute.String("namespace", r.Namespace), attribute.String("name", r.Name),
		attribute.String("scope", scopeOf(r)), attribute.String("verb", metricVerb(r)), attribute.String("accept", valid(r.Accept)),
	)
}
