package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

type validator struct {
	*evaluator
	policies *hook.Compiled[*policy[*cel.ValidatingPolicy]]
	bindings *hook.Compiled[*binding]
	metrics  *metrics
}

var _ apimachinery.Validator = (*validator)(nil)

func (e *evaluator) validating(o apimachinery.Object) *policy[*cel.ValidatingPolicy] {
	p, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicy)
	if !ok {
		return &policy[*cel.ValidatingPolicy]{criteria: &hook.Criteria{}}
	}
	return &policy[*cel.ValidatingPolicy]{
		p.Name, hook.ForPolicy(p.Spec.MatchConstraints), p.Spec.ParamKind, ignores(p.Spec.FailurePolicy), e.c.Language.Validating(&p.Spec),
	}
}

const (
	maxFailures   = 50       // that the audit is told of
	maxAnnotation = 10 << 10 // bytes of a value
)

// failure is what the audit is told of a validation that failed.
type failure struct {
	Message           string                                     `json:"message"`
	Policy            string                                     `json:"policy"`
	Binding           string                                     `json:"binding"`
	ExpressionIndex   int                                        `json:"expressionIndex"`
	ValidationActions []admissionregistrationv1.ValidationAction `json:"validationActions"`
}

// outcome collects what all policies say about one request.
type outcome struct {
	r        *hook.Request
	denied   error // the first
	failures []failure
	notes    map[string][]string // annotations by key
	keys     []string
}

// Validate implements [apimachinery.Validator].
func (v *validator) Validate(ctx context.Context, a *apimachinery.Admission) error {
	policies, err := v.policies.Get(ctx)
	if err != nil || len(policies) == 0 {
		return err
	}
	bindings, err := v.bindings.Get(ctx)
	if err != nil {
		return err
	}
	r := hook.Of(a, v.cluster)
	if r.Exempt() {
		return nil
	}
	out := &outcome{r: r, notes: map[string][]string{}}
	for _, p := range policies {
		if err := v.one(ctx, p, bindings, out); err != nil {
			return err
		}
	}
	out.tell()
	return out.denied
}

// one asks one policy. An error ends the request, whatever other policies say.
func (v *validator) one(ctx context.Context, p *policy[*cel.ValidatingPolicy], bindings []*binding, out *outcome) error {
	all, wrong := invocations(ctx, v.evaluator, p, bindings, out.r)
	for _, w := range wrong {
		if !p.ignores {
			out.deny(p.name, w.binding, w.Error(), "")
		}
	}
	for i := range all {
		start, in := time.Now(), &all[i]
		input, err := v.input(ctx, out.r, in)
		if err != nil {
			return err
		}
		verdict := p.of.Validate(ctx, input)
		v.decided(p.name, in.binding, verdict, time.Since(start), out)
	}
	return nil
}

// decided does what a binding wants done about a verdict.
func (v *validator) decided(name string, b *binding, verdict cel.Verdict, took time.Duration, out *outcome) {
	for i, d := range verdict.Decisions {
		kind := "no_error"
		if d.Failed {
			kind = "invalid_error"
		}
		if !d.Denied {
			if d.Failed {
				v.metrics.observe(took, name, b.name, kind, "allow")
			}
			continue
		}
		for _, action := range b.actions {
			v.metrics.observe(took, name, b.name, kind, strings.ToLower(string(action)))
			switch action {
			case admissionregistrationv1.Deny:
				out.deny(name, b.name, d.Message, d.Reason)
			case admissionregistrationv1.Audit:
				out.failures = append(out.failures, failure{d.Message, name, b.name, i, b.actions})
			case admissionregistrationv1.Warn:
				out.r.Warned(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", name, b.name, d.Message))
			}
		}
	}
	for _, a := range verdict.Annotations {
		if a.Err != nil {
			v.metrics.observe(took, name, b.name, "invalid_error", "deny")
			out.deny(name, b.name, a.Err.Error(), "")
			continue
		}
		out.note(name+"/"+a.Key, a.Value[:min(len(a.Value), maxAnnotation)])
	}
}

func (o *outcome) note(key, value string) {
	if _, ok := o.notes[key]; !ok {
		o.keys = append(o.keys, key)
	}
	if !slices.Contains(o.notes[key], value) {
		o.notes[key] = append(o.notes[key], value)
	}
}

// tell tells the audit.
func (o *outcome) tell() {
	for _, key := range o.keys {
		o.r.Annotated(key, strings.Join(o.notes[key], ", "))
	}
	if len(o.failures) == 0 {
		return
	}
	if raw, err := apimachinery.Encode(o.failures[:min(len(o.failures), maxFailures)]); err == nil {
		o.r.Annotated("validation.policy.admission.k8s.io/validation_failure", string(raw))
	}
}

// deny keeps the first refusal.
func (o *outcome) deny(policy, binding, message string, reason metav1.StatusReason) {
	if o.denied != nil {
		return
	}
	text := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", policy, message)
	if binding != "" {
		text = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", policy, binding, message)
	}
	if reason == "" {
		reason = metav1.StatusReasonInvalid
	}
	err := apierrors.NewForbidden(o.r.Resource.GroupResource(), o.r.Name, errors.New(text))
	err.ErrStatus.Reason, err.ErrStatus.Code = reason, codeOf(reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	o.denied = err
}

func codeOf(reason metav1.StatusReason) int32 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}
