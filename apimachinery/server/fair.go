package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/fairness"
	"github.com/bedplate/bedplate/storage"
)

var (
	flowSchemas    = flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas")
	priorityLevels = flowcontrolv1.SchemeGroupVersion.WithResource("prioritylevelconfigurations")
)

// newFairness makes priority and fairness where the registry has its kinds; nil where it hasn't.
func newFairness(c *Config) (*fairness.Fairness, error) {
	f, okF := c.Registry.ForResource(flowSchemas)
	l, okL := c.Registry.ForResource(priorityLevels)
	if !okF || !okL {
		return nil, nil
	}
	_, okF = f.New().(*flowcontrolv1.FlowSchema)
	_, okL = l.New().(*flowcontrolv1.PriorityLevelConfiguration)
	if !okF || !okL {
		return nil, nil
	}
	return fairness.New(fairness.Config{
		Seats: c.Limits.Reads + c.Limits.Writes, Wait: c.Limits.Timeout / 4, Registerer: c.Registerer,
	})
}

// headerKey is where a request's context has the header of its answer.
type headerKey struct{}

// enter lets a request in, by priority and fairness if the server has it, else by plain limits. release may be called
// more than once. Requests that the pipeline makes itself are nested: their place is that of the request they serve.
func (s *Server) enter(ctx context.Context, r *apimachinery.Request, a *apimachinery.Attributes, nested bool) (release func(), err error) {
	switch {
	case s.fair == nil:
		return s.flow.enter(r, nested)
	case nested || r.Verb != apimachinery.VerbWatch && s.isLong(r):
		return func() {}, nil
	}
	p, err := s.fair.Enter(ctx, &fairness.Request{Attributes: a, Work: s.work(r, a)})
	if h, ok := ctx.Value(headerKey{}).(http.Header); ok {
		classify(h, p)
	}
	if err != nil {
		return nil, err
	}
	return p.Leave, nil
}

// classify tells a client what its request was taken for.
func classify(h http.Header, p *fairness.Place) {
	h.Set(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID, string(p.Schema))
	h.Set(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID, string(p.Level))
}

// enterPath is enter for requests that aren't about a resource.
func (s *Server) enterPath(hr *http.Request, h http.Header, a *apimachinery.Attributes) (release func(), err error) {
	if s.fair == nil {
		return func() {}, nil
	}
	p, err := s.fair.Enter(hr.Context(), &fairness.Request{Attributes: a})
	classify(h, p)
	return p.Leave, err
}

// work estimates a request; nil: one seat.
func (s *Server) work(r *apimachinery.Request, a *apimachinery.Attributes) func(most int) fairness.Work {
	switch r.Verb {
	case apimachinery.VerbGet:
		return nil
	case apimachinery.VerbList, apimachinery.VerbWatch:
		o, _ := r.Options.(*metav1.ListOptions)
		if o == nil {
			o = &metav1.ListOptions{}
		}
		if r.Verb == apimachinery.VerbWatch && !beginsWithAll(o) {
			return nil
		}
		return func(most int) fairness.Work { return s.fair.Reads(s.bytes(r, a, o), most) }
	}
	if r.Sub == "token" && r.Resource.Resource == "serviceaccounts" {
		return nil
	}
	return func(most int) fairness.Work {
		return s.fair.Writes(s.fair.Watching(a.Group, a.Resource, r.Namespace, r.Name), most)
	}
}

// beginsWithAll says whether a watch first tells of all that there is.
func beginsWithAll(o *metav1.ListOptions) bool {
	if o.SendInitialEvents != nil {
		return *o.SendInitialEvents
	}
	return o.ResourceVersion == "" || o.ResourceVersion == "0"
}

// bytes guesses what a list comes to, by the number of objects and the size of the first few.
func (s *Server) bytes(r *apimachinery.Request, a *apimachinery.Attributes, o *metav1.ListOptions) int64 {
	const samples = 4
	t, ok := s.Table(r.Resource.GroupResource())
	if !ok || t.Rev() == 0 {
		return 0
	}
	snap, err := t.Snapshot(context.Background(), storage.Cached, false) // it is loaded: this waits for nothing
	if err != nil {
		return 0
	}
	n, size := int64(0), int64(0)
	for e := range snap.All(storage.Filter{}, "") {
		size += int64(len(e.Raw))
		if n++; n == samples {
			break
		}
	}
	all := int64(snap.Len())
	switch {
	case n == 0:
		return 0
	case a.Name != "":
		all = 1
	case o.Limit > 0:
		all = min(all, o.Limit)
	}
	return all * (size / n)
}

// countWatch counts a watch as one that writes are told to, until forget is called. Those of one node's pods are not:
// a write is told to few of them.
func (s *Server) countWatch(r *apimachinery.Request) (forget func()) {
	a := apimachinery.Attributes{Name: r.Name}
	o, _ := r.Options.(*metav1.ListOptions)
	if o != nil && a.Name == "" {
		switch name, ok := strings.CutPrefix(o.FieldSelector, "metadata.name="); {
		case strings.Contains(o.FieldSelector, "spec.nodeName="):
			return func() {}
		case ok && !strings.ContainsAny(name, ",=!\\"):
			a.Name = name
		}
	}
	if s.fair == nil {
		return func() {}
	}
	return s.fair.Watch(r.Resource.Group, r.Resource.Resource, r.Namespace, a.Name)
}

// hold makes an answer that is a stream keep its place: a list until it is closed, a watch until all that was there is
// sent, and what else may go on for as long as the client likes, not at all.
func (s *Server) hold(r *apimachinery.Request, resp *apimachinery.Response, release func()) {
	if resp.Stream == nil {
		release()
		return
	}
	if w, ok := resp.Stream.(*watchStream); ok && w.initial != nil && s.fair != nil {
		w.begun = release
		return
	}
	if s.lasts(r) {
		release()
		return
	}
	resp.Stream = &releasing{resp.Stream, release}
}

// adjustFlow lends seats between levels until ctx ends.
func (s *Server) adjustFlow(ctx context.Context) {
	t := time.NewTicker(fairness.Period)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.fair.Adjust()
		case <-ctx.Done():
			return
		}
	}
}
