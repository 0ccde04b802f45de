package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// record is what the audit is told of one request. All methods work on nil, which is off.
type record struct {
	auditor Auditor

	mu      sync.Mutex // plugins may annotate from anywhere
	rule    AuditRule
	ev      AuditEvent
	long    bool // it is told of when the answer begins, too
	started bool
	ended   bool
}

type recordKey struct{}

// recordOf is the record of the request that a context is of; nil if nobody wants to know of it.
func recordOf(ctx context.Context) *record {
	a, _ := ctx.Value(recordKey{}).(*record)
	return a
}

const (
	auditHeader  = "Audit-Id"
	maxUserAgent = 1024
)

// auditID names a request, as its client does if it does, and tells the client.
func auditID(w http.ResponseWriter, hr *http.Request) types.UID {
	id := hr.Header.Get(auditHeader)
	if id == "" {
		id = string(uuid.NewUUID())
	}
	w.Header().Set(auditHeader, id)
	return types.UID(id)
}

// recorded begins the record of a request over HTTP, which is to be served with what is returned.
func (s *Server) recorded(w http.ResponseWriter, hr *http.Request) (http.ResponseWriter, *http.Request, *record) {
	id := auditID(w, hr)
	if s.c.Audit == nil {
		return w, hr, nil
	}
	a := &record{auditor: s.c.Audit}
	a.ev = AuditEvent{ID: id, URI: hr.URL.RequestURI(), UserAgent: hr.UserAgent(), Received: time.Now()}
	if len(a.ev.UserAgent) > maxUserAgent {
		a.ev.UserAgent = a.ev.UserAgent[:maxUserAgent] + "...TRUNCATED"
	}
	for _, ip := range utilnet.SourceIPs(hr) {
		a.ev.Sources = append(a.ev.Sources, ip.String())
	}
	return &recordingWriter{w, a}, hr.WithContext(context.WithValue(hr.Context(), recordKey{}, a)), a
}

// recordedOwn begins the record of a request of this process. Where it is not wanted, its context still hides that of
// the request which it may be a part of.
func (s *Server) recordedOwn(ctx context.Context, r *apimachinery.Request) (context.Context, *record, error) {
	if s.c.Audit == nil {
		return ctx, nil, nil
	}
	a := &record{auditor: s.c.Audit, long: s.isLong(r)}
	a.ev = AuditEvent{ID: uuid.NewUUID(), Received: time.Now()}
	a.ev.URI, _ = wire.URI(r) // a request that has none is refused in a moment
	return context.WithValue(ctx, recordKey{}, a), a, a.received(r, "", "", r.User)
}

// received tells of a request whose user is known: about a resource, or about a path.
func (a *record) received(r *apimachinery.Request, method, path string, user apimachinery.User) error {
	if a == nil {
		return nil
	}
	a.judge(r, method, path, user)
	if !a.tell(StageRequestReceived) {
		return apierrors.NewInternalError(errors.New("failed to store audit event")) //nolint:staticcheck // Kubernetes' words
	}
	return nil
}

func (a *record) judge(r *apimachinery.Request, method, path string, user apimachinery.User) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ev.User = user
	a.ev.Verb, a.ev.Path = strings.ToLower(method), path
	if r != nil {
		at := wire.Attributes(r)
		a.ev.Verb, a.ev.Resource, a.ev.Namespace, a.ev.Name, a.ev.Sub = r.Verb, r.Resource, at.Namespace, at.Name, r.Sub
	}
	a.rule = a.auditor.Rule(&a.ev)
	a.ev.Level = a.rule.Level
}

// unauthenticated notes that the request's credentials are bad: it is told of once, with what was tried.
func (a *record) unauthenticated(hr *http.Request, r *apimachinery.Request, path string) {
	if a == nil {
		return
	}
	a.judge(r, hr.Method, path, apimachinery.User{})
	a.long = true
	a.ev.Status = &metav1.Status{Message: attempted(hr)}
	a.rule.OmitStages = append(slices.Clip(a.rule.OmitStages), StageResponseComplete)
}

// attempted names the kinds of the credentials that a request has.
func attempted(hr *http.Request) string {
	var tried []string
	if _, _, ok := hr.BasicAuth(); ok {
		tried = append(tried, "basic")
	}
	if scheme, _, ok := strings.Cut(strings.TrimSpace(hr.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		tried = append(tried, "bearer")
	}
	if hr.TLS != nil && len(hr.TLS.PeerCertificates) > 0 {
		tried = append(tried, "x509")
	}
	if len(tried) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(tried, ", ")
}

// impersonating notes who the user wants to be taken for.
func (a *record) impersonating(as *apimachinery.User) {
	if a != nil {
		a.ev.As = as
	}
}

// decided notes the authorizer's decision.
func (a *record) decided(reason string, err error) {
	if a == nil || a.rule.Level == AuditNone {
		return
	}
	decision := "allow"
	if err != nil {
		decision = "forbid"
	}
	a.annotate("authorization.k8s.io/decision", decision)
	a.annotate("authorization.k8s.io/reason", reason)
}

const maxAnnotations = 128

// annotate adds an annotation. The first of a key stays.
func (a *record) annotate(key, value string) {
	if a == nil || a.rule.Level == AuditNone {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ev.Annotations == nil {
		a.ev.Annotations = map[string]string{}
	}
	if _, have := a.ev.Annotations[key]; !have && len(a.ev.Annotations) < maxAnnotations {
		a.ev.Annotations[key] = value
	}
}

// tell tells of a stage, unless it is not to be told of.
func (a *record) tell(stage string) (kept bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rule.Level == AuditNone || slices.Contains(a.rule.OmitStages, stage) {
		return true
	}
	a.ev.Stage, a.ev.Done = stage, time.Now()
	if stage == StageRequestReceived {
		a.ev.Done = a.ev.Received
	}
	return a.auditor.Take(&a.ev)
}

// refused notes what an error says to the client.
func (a *record) refused(err error) {
	if a == nil || a.rule.Level == AuditNone {
		return
	}
	st := wire.StatusOf(err)
	a.ev.Code = st.Code
	if a.ev.Status == nil {
		a.ev.Status = st
	}
	if a.rule.Level >= AuditRequestResponse {
		a.ev.Response, _ = apimachinery.Encode(st) // a Status encodes
	}
}

// begun notes that the answer begins, with its code.
func (a *record) begun(code int) {
	if a == nil || a.started || a.ended {
		return
	}
	a.started = true
	a.ev.Code = int32(code)
	if a.long {
		a.tell(StageResponseStarted)
	}
}

// end tells that the answer is complete. It may be called more than once.
func (a *record) end() {
	if a == nil || a.ended {
		return
	}
	if !a.started && a.ev.Code == 0 {
		a.ev.Status = &metav1.Status{Status: metav1.StatusSuccess, Message: "Connection closed early"}
		a.begun(http.StatusOK)
	}
	a.ended = true
	a.tell(StageResponseComplete)
}

// panicked tells that the request ended in a panic.
func (a *record) panicked(p any) {
	if a == nil || a.ended {
		return
	}
	a.ended = true
	a.ev.Code = http.StatusInternalServerError
	a.ev.Status = &metav1.Status{
		Status: metav1.StatusFailure, Code: a.ev.Code, Reason: metav1.StatusReasonInternalError, Message: fmt.Sprintf("APIServer panic'd: %v", p),
	}
	a.tell(StagePanic)
}

// leave ends the record of a request of this process, once its answer has been read.
func (a *record) leave(resp *apimachinery.Response, err error) (*apimachinery.Response, error) {
	if a == nil {
		return resp, err
	}
	if err != nil {
		a.end()
		return resp, err
	}
	a.begun(or(resp.Code, http.StatusOK))
	if resp.Stream == nil {
		a.end()
	} else {
		resp.Stream = &releasing{resp.Stream, a.end}
	}
	return resp, err
}

// recordingWriter sees when the answer begins, and with what code.
type recordingWriter struct {
	http.ResponseWriter
	a *record
}

func (w *recordingWriter) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.a.begun(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recordingWriter) Write(p []byte) (int, error) {
	w.a.begun(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *recordingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends on what was written.
func (w *recordingWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // whoever wants the error asks the controller
}

// FlushError is for http.ResponseController.
func (w *recordingWriter) FlushError() error {
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes over the connection.
func (w *recordingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.a.begun(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
