package server

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// The stages of an [AuditEvent], as Kubernetes names them.
const (
	// StageRequestReceived: it is known who wants what; nothing has been done.
	StageRequestReceived = "RequestReceived"
	// StageResponseStarted: the answer begins. Only of requests that last: watches and connections. A request
	// whose credentials are bad ends here.
	StageResponseStarted = "ResponseStarted"
	// StageResponseComplete: the answer has been given.
	StageResponseComplete = "ResponseComplete"
	// StagePanic takes the place of ResponseComplete where the request ended in a panic.
	StagePanic = "Panic"
)

// AuditLevel is how much is told of a request.
type AuditLevel int

// The levels, each with all that the one before has.
const (
	AuditNone     AuditLevel = iota
	AuditMetadata            // who, what, when and what came of it: no object
	AuditRequest             // what was sent
	AuditRequestResponse
)

// AuditRule is what an [Auditor] wants to know of a request.
type AuditRule struct {
	Level AuditLevel
	// OmitStages are left out.
	OmitStages []string
	// OmitManagedFields leaves them out of objects.
	OmitManagedFields bool
}

// Auditor is told of requests. Both methods are called concurrently, by each request for itself, in the order of its
// stages.
type Auditor interface {
	// Rule says what to tell of a request that has come. Of the event all is set that the head of a request says.
	Rule(ev *AuditEvent) AuditRule
	// Take takes an event. It is the server's own, so what shall be kept of it is copied, but for Request, Response
	// and Status, which are never changed again. It must not block for long: the request waits. False says that the
	// event could not be kept: at StageRequestReceived the request is then refused.
	Take(ev *AuditEvent) (kept bool)
}

// AuditFunc adapts a function to an [Auditor] that hears of every request at AuditMetadata, when its answer is
// complete, and of those that last also when it begins.
type AuditFunc func(AuditEvent)

// Rule implements [Auditor].
func (f AuditFunc) Rule(*AuditEvent) AuditRule {
	return AuditRule{Level: AuditMetadata, OmitStages: []string{StageRequestReceived}}
}

// Take implements [Auditor].
func (f AuditFunc) Take(ev *AuditEvent) bool {
	f(*ev)
	return true
}

// AuditEvent tells of one request: who wanted what, and what came of it.
type AuditEvent struct {
	// ID is the request's, in all its events: what the client sent in the header Audit-Id, else a new one.
	ID    types.UID
	Level AuditLevel
	Stage string
	// User is who was authenticated, As who was impersonated, if anybody.
	User apimachinery.User
	As   *apimachinery.User

	Verb      string
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
	Sub       string
	// UID and ResourceVersion are those of the object that was sent.
	UID             types.UID
	ResourceVersion string
	// Path is set for requests that aren't about a resource.
	Path string
	// URI is the path with its query, and that which a request of this process would have over HTTP.
	URI string

	// Sources are the addresses that the request came from, the client's first; none for those of this process.
	Sources        []string
	UserAgent      string
	Received, Done time.Time // Done is when the stage was reached
	// Code is the HTTP code, Status what was said of a refused request, or what was answered if that is a Status.
	Code   int32
	Status *metav1.Status

	// Request and Response are JSON, from AuditRequest and AuditRequestResponse on; nil where there is none. An
	// answer of more than 8 MiB, a watch or a connection is not told, nor what is neither JSON nor YAML.
	Request, Response []byte
	// Annotations are the authorizer's decision and what admission plugins have to say.
	Annotations map[string]string
}

// dryRunOf is the dry run that a request asks for, as metrics tell it.
func dryRunOf(r *apimachinery.Request) string {
	var dry []string
	switch o := r.Options.(type) {
	case *metav1.CreateOptions:
		if o != nil {
			dry = o.DryRun
		}
	case *metav1.UpdateOptions:
		if o != nil {
			dry = o.DryRun
		}
	case *metav1.PatchOptions:
		if o != nil {
			dry = o.DryRun
		}
	case *metav1.DeleteOptions:
		if o != nil {
			dry = o.DryRun
		}
	}
	if len(dry) == 0 {
		return ""
	}
	return metav1.DryRunAll
}
