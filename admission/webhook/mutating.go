package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
)

const (
	// maxPatch and maxPatched bound what a webhook may ask for: operations, and bytes that copies make.
	maxPatch   = 10_000
	maxPatched = 16 << 20
)

type mutator struct {
	*caller
	hooks *hook.Compiled[[]*webhook]
}

// Mutate implements [apimachinery.Mutator].
func (p *mutator) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	hooks, err := asked(ctx, p.hooks)
	if err != nil || len(hooks) == 0 {
		return err
	}
	r := hook.Of(a, p.cluster)
	if r.Exempt() {
		return nil
	}
	m := hook.RoundsOf(a, MutatingName)
	defer m.End(a)
	for i, w := range hooks {
		as, ok, err := p.wanted(ctx, w, r)
		if err != nil {
			return err
		}
		if !ok || m.Skips(a, w.key()) {
			continue
		}
		changed, err := p.askOne(ctx, w, i, r, as)
		if changed {
			m.Changed(a)
		}
		if w.again {
			m.Asked(w.key())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askOne asks one webhook and does what it answers. changed says that the object is another one now.
func (p *mutator) askOne(ctx context.Context, w *webhook, index int, r *hook.Request, as hook.Target) (changed bool, err error) {
	start := time.Now()
	q, err := questionOf(r, as)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	answer, err := w.ask(ctx, q, true)
	if err == nil {
		tell(r, w, answer)
		if !answer.Allowed {
			err = denied(w.name, answer.Result)
		} else {
			changed, err = p.patch(w, q, answer)
		}
	}
	annotate(r, "mutation", r.Round, index, map[string]any{"configuration": w.configuration, "webhook": w.name, "mutated": changed})
	failedOpen := p.metrics.observe(w, r.Operation, time.Since(start), err)
	if failedOpen {
		p.c.Log.Warn("webhook not called, and the request let pass", "webhook", w.name, "err", err)
		r.Annotated(fmt.Sprintf("failed-open.mutation.webhook.admission.k8s.io/round_%d_index_%d", r.Round, index), w.name)
	}
	return changed, w.verdict(ctx, err)
}

// verdict is what becomes of a webhook's error: a failure may be ignored.
func (w *webhook) verdict(ctx context.Context, err error) error {
	var call *callError
	var no denial
	switch {
	case errors.As(err, &call) && !w.ignores:
		return apierrors.NewInternalError(err)
	case errors.As(err, &call) && ctx.Err() != nil:
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	case errors.As(err, &call):
		return nil
	case errors.As(err, &no):
		return no.StatusError
	}
	return err
}

func questionOf(r *hook.Request, as hook.Target) (*question, error) {
	object, old, err := r.As(as)
	q := &question{r: r, as: as}
	if object != nil {
		q.object = object
	} else {
		q.object = r.Connection()
	}
	if old != nil {
		q.old = old
	}
	return q, err
}

// tell passes on what a webhook has to say beside its verdict.
func tell(r *hook.Request, w *webhook, answer *admissionv1.AdmissionResponse) {
	for k, v := range answer.AuditAnnotations {
		r.Annotated(w.name+"/"+k, v)
	}
	for _, text := range answer.Warnings {
		r.Warned(text)
	}
}

// annotate tells the audit what a webhook did.
func annotate(r *hook.Request, what string, round, index int, value map[string]any) {
	if r.Annotate == nil {
		return
	}
	if raw, err := apimachinery.Encode(value); err == nil {
		r.Annotated(fmt.Sprintf("%s.webhook.admission.k8s.io/round_%d_index_%d", what, round, index), string(raw))
	}
}

// patch does to the object what a webhook wants.
func (p *mutator) patch(w *webhook, q *question, answer *admissionv1.AdmissionResponse) (changed bool, err error) {
	if len(answer.Patch) == 0 {
		return false, nil
	}
	var operations []any
	if err := apimachinery.DecodeLoose(answer.Patch, &operations); err != nil {
		return false, &callError{w.name, fmt.Errorf("received undecodable patch in webhook response: %w", err), 503}
	}
	switch {
	case len(operations) == 0:
		return false, nil
	case q.r.Object == nil:
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", w.name))
	case *answer.PatchType != admissionv1.PatchTypeJSONPatch:
		return false, &callError{w.name, fmt.Errorf("unsupported patch type %q", *answer.PatchType), 400}
	}
	before, err := encode(q.object)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	raw, err := apimachinery.JSONPatch(before.Raw, answer.Patch, maxPatch, maxPatched)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	o, err := q.r.Decode(q.as, raw)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if equality.Semantic.DeepEqual(q.object, o) {
		return false, nil
	}
	p.keepManaged(q, o)
	if err := q.r.Take(q.as, o); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	q.r.Default()
	return true, nil
}

// keepManaged puts managedFields back that a webhook has made unreadable.
func (p *mutator) keepManaged(q *question, o apimachinery.Object) {
	for _, m := range o.GetManagedFields() {
		if m.FieldsV1 == nil {
			continue
		}
		if _, err := managedfields.Decode(m.FieldsV1); err != nil {
			o.SetManagedFields(q.r.Object.GetManagedFields())
			q.r.Warned(fmt.Sprintf(".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v", err))
			return
		}
	}
}
