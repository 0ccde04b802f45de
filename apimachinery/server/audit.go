package server

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// The stages of an [AuditEvent], as Kubernetes names them.
const (
	StageResponseStarted  = "ResponseStarted"
	StageResponseComplete = "ResponseComplete"
)

// AuditEvent tells of one request: who wanted what, and what came of it. It carries no object, so no secret.
type AuditEvent struct {
	ID    types.UID
	Stage string
	// User is who was authenticated, As who was impersonated, if anybody.
	User apimachinery.User
	As   *apimachinery.User

	Verb      string
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
	Sub       string
	// Path is set for requests that aren't about a resource, and URI for all that came over HTTP.
	Path, URI string

	Source, UserAgent string
	Received, Done    time.Time
	// Code is the HTTP code, Status what was said of a refused request.
	Code   int32
	Status *metav1.Status
}

// begin counts a request and returns what to call at its end.
func (s *Server) begin(r *apimachinery.Request, ev *AuditEvent) (done func(*apimachinery.Response, error)) {
	start := time.Now()
	s.metrics.began(r)
	return func(resp *apimachinery.Response, err error) {
		_, known := s.c.Registry.ForResource(r.Resource)
		s.metrics.ended(r, known, resp, err, time.Since(start))
		if s.c.Audit == nil {
			return
		}
		ev.Verb, ev.Resource, ev.Namespace, ev.Name, ev.Sub = r.Verb, r.Resource, r.Namespace, r.Name, r.Sub
		s.audit(ev, start, resp, err)
	}
}

// audit tells of a request whose answer is known. A stream is told of once more when it is closed.
func (s *Server) audit(ev *AuditEvent, start time.Time, resp *apimachinery.Response, err error) {
	ev.ID, ev.Received, ev.Done = types.UID(uuid.NewUUID()), start, time.Now()
	ev.Stage, ev.Code = StageResponseComplete, 200
	if err != nil {
		ev.Status = wire.StatusOf(err)
		ev.Code = ev.Status.Code
	} else if resp.Code != 0 {
		ev.Code = int32(resp.Code)
	}
	if err == nil && resp.Stream != nil {
		ev.Stage = StageResponseStarted
		last := *ev
		resp.Stream = &releasing{resp.Stream, func() {
			last.Stage, last.Done = StageResponseComplete, time.Now()
			s.c.Audit(last)
		}}
	}
	s.c.Audit(*ev)
}

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
