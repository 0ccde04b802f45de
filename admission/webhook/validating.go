package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
)

type validator struct {
	*caller
	hooks *hook.Compiled[[]*webhook]
}

var _ apimachinery.Validator = (*validator)(nil)

// verdict is what came of asking one webhook.
type verdict struct {
	w      *webhook
	q      *question
	answer *admissionv1.AdmissionResponse
	err    error
	open   bool // it failed, and that was let pass
}

// Validate implements [apimachinery.Validator].
func (p *validator) Validate(ctx context.Context, a *apimachinery.Admission) error {
	hooks, err := asked(ctx, p.hooks)
	if err != nil || len(hooks) == 0 {
		return err
	}
	r := hook.Of(a, p.cluster)
	if r.Exempt() {
		return nil
	}
	verdicts, err := p.questions(ctx, hooks, r)
	if err != nil || len(verdicts) == 0 {
		return err
	}
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	var wg sync.WaitGroup
	for i := range verdicts {
		wg.Go(func() { p.askOne(ctx, &verdicts[i]) })
	}
	wg.Wait()
	for i := range verdicts {
		v := &verdicts[i]
		if v.answer != nil {
			tell(r, v.w, v.answer)
		}
		if v.open {
			r.Annotated(fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", i), v.w.name)
		}
	}
	for i := range verdicts {
		if err := verdicts[i].w.verdict(ctx, verdicts[i].err); err != nil {
			return err
		}
	}
	return nil
}

// questions are what the webhooks that want to know of a request are asked. Those that see the same share it.
func (p *validator) questions(ctx context.Context, hooks []*webhook, r *hook.Request) (all []verdict, err error) {
	seen := map[hook.Target]*question{}
	for _, w := range hooks {
		as, ok, err := p.wanted(ctx, w, r)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if seen[as] == nil {
			if seen[as], err = questionOf(r, as); err != nil {
				return nil, apierrors.NewInternalError(err)
			}
		}
		all = append(all, verdict{w: w, q: seen[as]})
	}
	return all, nil
}

func (p *validator) askOne(ctx context.Context, v *verdict) {
	start := time.Now()
	defer func() {
		if broken := recover(); broken != nil {
			v.err = apierrors.NewInternalError(fmt.Errorf("ValidatingAdmissionWebhook/%v has panicked: %v", v.w.name, broken))
			p.c.Log.Error("asking a webhook panicked", "webhook", v.w.name, "panic", broken)
		}
	}()
	v.answer, v.err = v.w.ask(ctx, v.q, false)
	if v.err == nil && !v.answer.Allowed {
		v.err = denied(v.w.name, v.answer.Result)
	}
	if v.open = p.metrics.observe(v.w, v.q.r.Operation, time.Since(start), v.err); v.open {
		p.c.Log.Warn("webhook not called, and the request let pass", "webhook", v.w.name, "err", v.err)
	}
}
