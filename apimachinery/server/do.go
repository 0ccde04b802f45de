package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// maxNesting is how deep requests that the pipeline's own plugins make may lie in each other.
const maxNesting = 8

type nestingKey struct{ s *Server }

// serve is the way of a request about a resource, from both doors: audit, flow control, authorization, then what
// the verb is. r is the server's own, with the user set.
func (s *Server) serve(ctx context.Context, r *apimachinery.Request) (resp *apimachinery.Response, err error) {
	done := s.begin(r)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			recordOf(ctx).panicked(p)
			resp, err = nil, s.panicked(p, r)
		}
		err = s.clientError(ctx, r, err)
		recordOf(ctx).answered(resp, err)
		done(resp, err)
	}()
	if err := checkSegments(r); err != nil {
		return nil, err
	}
	nesting, _ := ctx.Value(nestingKey{s}).(int)
	if nesting > maxNesting {
		return nil, apierrors.NewInternalError(fmt.Errorf("requests of admission plugins lie %d deep in each other", nesting))
	}
	a := wire.Attributes(r)
	release, err := s.enter(ctx, r, a, nesting > 0)
	if err != nil {
		return nil, err
	}
	held := false
	defer func() {
		if !held {
			release()
		}
	}()
	if resp, err = s.authorized(ctx, r, a); err != nil {
		return nil, err
	}
	s.hold(r, resp, release)
	held = true
	return resp, nil
}

// lasts tells of requests whose answer may go on for as long as the client likes: they take a place only until it
// begins.
func (s *Server) lasts(r *apimachinery.Request) bool {
	if r.Verb == apimachinery.VerbWatch {
		return true
	}
	v, err := s.view(r.Resource)
	return err == nil && v != nil && v.found.Subs()[r.Sub].Connect != ""
}

func (s *Server) panicked(p any, r *apimachinery.Request) error {
	s.metrics.panicked()
	s.c.Log.Error("request panicked", "verb", r.Verb, "resource", r.Resource.Resource, "panic", p, "stack", string(debug.Stack()))
	return apierrors.NewInternalError(fmt.Errorf("the request ended in a panic: %v", p))
}

// clientError turns errors of the machinery into what a client gets; the context's own error stays.
func (s *Server) clientError(ctx context.Context, r *apimachinery.Request, err error) error {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		st := status.Status()
		return &apierrors.StatusError{ErrStatus: st}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	err = storageError(r.Resource.GroupResource(), r.Name, err)
	if !errors.As(err, &status) {
		s.c.Log.Error("request ended in an error", "verb", r.Verb, "resource", r.Resource.Resource, "name", r.Name, "err", err)
		return apierrors.NewInternalError(err)
	}
	return err
}

// checkSegments refuses names that could lead to another key.
func checkSegments(r *apimachinery.Request) error {
	for _, s := range []string{r.Namespace, r.Name} {
		if msgs := path.IsValidPathSegmentName(s); s != "" && (len(msgs) > 0 || strings.ContainsAny(s, "\x00\\")) {
			return apierrors.NewBadRequest(fmt.Sprintf("the name %q is not allowed: %s", s, strings.Join(append(msgs, "no NUL and no backslash"), ", ")))
		}
	}
	return nil
}

func (s *Server) authorized(ctx context.Context, r *apimachinery.Request, a *apimachinery.Attributes) (*apimachinery.Response, error) {
	reason, err := s.decide(ctx, a)
	recordOf(ctx).decided(reason, err)
	if err != nil {
		return nil, err
	}
	for range maxReplaced {
		resp, again, err := s.served(ctx, r)
		if !again {
			return resp, err
		}
	}
	return nil, apierrors.NewServerTimeout(r.Resource.GroupResource(), r.Verb, 1)
}

// maxReplaced is how often a request begins anew because the resource that it is about was replaced under it.
const maxReplaced = 8

// served does an authorized request. again says that its resource was replaced meanwhile, and nothing was done.
func (s *Server) served(ctx context.Context, r *apimachinery.Request) (resp *apimachinery.Response, again bool, err error) {
	v, err := s.awaited(ctx, r.Resource)
	if err != nil {
		return nil, false, err
	}
	if v == nil {
		return nil, false, wire.NotFound()
	}
	if resp, err = s.through(ctx, r, v); s.replaced(v, err) {
		return nil, true, nil
	}
	return resp, false, err
}

// through brings a request to the view that serves it.
func (s *Server) through(ctx context.Context, r *apimachinery.Request, v *view) (*apimachinery.Response, error) {
	form, err := wire.NegotiateOf(r.Accept, v.offer(r))
	if err != nil {
		return nil, err
	}
	if _, err := parseVersion(r.Seen); err != nil {
		return nil, apierrors.NewBadRequest(apimachinery.SeenHeader + ": " + err.Error())
	}
	c := &call{s: s, r: r, v: v, k: v.kind, form: form, record: recordOf(ctx), now: metav1.Unix(s.now().Unix(), 0)}
	if err := c.route(); err != nil {
		return nil, err
	}
	if v.deprecated != "" {
		c.warn(v.deprecated)
		s.metrics.usedDeprecated(v, r.Sub)
		c.record.annotate("k8s.io/deprecated", "true")
	}
	nesting, _ := ctx.Value(nestingKey{s}).(int)
	ctx = context.WithValue(ctx, nestingKey{s}, nesting+1)
	ctx, end := s.handling(ctx, r)
	defer end()
	resp, err := c.do(ctx)
	if err != nil {
		return nil, err
	}
	if resp == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s %s/%s gave no answer", r.Verb, r.Resource.Resource, r.Sub))
	}
	resp.Warnings = append(resp.Warnings, c.warnings...)
	return resp, nil
}

// call is one request on its way through the pipeline.
type call struct {
	s        *Server
	r        *apimachinery.Request
	v        *view
	k        *kind
	sub      *apimachinery.Subresource // nil: the object itself
	form     wire.Form
	now      metav1.Time // as decoded objects have it: whole seconds, local
	options  writeOptions
	warnings []string
	record   *record
	live     bareForm                                  // of the entry that is being changed
	parent   apimachinery.Object                       // of admission for subresources of another kind
	asked    []apimachinery.Claim                      // what the writer asked for by name
	late     bool                                      // others were faster: allocate by the newest state
	missing  func(apimachinery.Object) field.ErrorList // what the writer left out: see View.Complete
}

// writeOptions is what create, update and patch have in common.
type writeOptions struct {
	dryRun, force       bool
	manager, validation string
}

const maxWarnings = 64

func (c *call) warn(text string) {
	if len(c.warnings) < maxWarnings && !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}

// route refuses what the resource has no path or no verb for.
func (c *call) route() error {
	r, res := c.r, c.k.res
	named := r.Verb != apimachinery.VerbList && r.Verb != apimachinery.VerbWatch &&
		r.Verb != apimachinery.VerbDeleteCollection && (r.Verb != apimachinery.VerbCreate || r.Sub != "")
	switch {
	case named != (r.Name != ""):
		return wire.NotFound()
	case !res.Namespaced && r.Namespace != "":
		return wire.NotFound()
	case res.Namespaced && r.Namespace == "" && named:
		return wire.NotFound()
	case res.Namespaced && r.Namespace == "" && (r.Verb == apimachinery.VerbCreate || r.Verb == apimachinery.VerbDeleteCollection):
		return c.notSupported()
	}
	if r.Sub != "" {
		sub, ok := c.v.found.Subs()[r.Sub]
		if !ok {
			return wire.NotFound()
		}
		c.sub = &sub
		if !slices.Contains(sub.Verbs, r.Verb) {
			return c.notSupported()
		}
		return nil
	}
	if !slices.Contains(verbsOf(res), r.Verb) || r.Verb == apimachinery.VerbCreate && c.closed() {
		return c.notSupported()
	}
	return nil
}

func (c *call) notSupported() error { return apierrors.NewMethodNotSupported(c.v.gr, c.r.Verb) }

func verbsOf(res *apimachinery.Resource) []string {
	switch {
	case res.Virtual != nil:
		return []string{apimachinery.VerbCreate}
	case res.Verbs != nil:
		return res.Verbs
	}
	return []string{
		apimachinery.VerbCreate, apimachinery.VerbDelete, apimachinery.VerbDeleteCollection, apimachinery.VerbGet,
		apimachinery.VerbList, apimachinery.VerbPatch, apimachinery.VerbUpdate, apimachinery.VerbWatch,
	}
}

func (c *call) do(ctx context.Context) (*apimachinery.Response, error) {
	if c.sub != nil {
		return c.doSub(ctx)
	}
	if c.k.res.Listed != nil {
		return c.listed(ctx)
	}
	switch c.r.Verb {
	case apimachinery.VerbGet:
		return c.get(ctx)
	case apimachinery.VerbList:
		return c.list(ctx)
	case apimachinery.VerbWatch:
		return c.watch(ctx)
	case apimachinery.VerbCreate:
		if c.k.res.Virtual != nil {
			return c.virtual(ctx)
		}
		return c.create(ctx)
	case apimachinery.VerbUpdate:
		return c.update(ctx, c.mainPart())
	case apimachinery.VerbPatch:
		return c.patch(ctx, c.mainPart())
	case apimachinery.VerbDelete:
		return c.delete(ctx)
	case apimachinery.VerbDeleteCollection:
		return c.deleteCollection(ctx)
	}
	return nil, c.notSupported()
}
