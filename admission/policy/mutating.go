package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

const (
	// maxPatch and maxPatched bound what an expression may ask for: operations, and bytes that copies make.
	maxPatch   = 10_000
	maxPatched = 16 << 20
)

type mutator struct {
	*evaluator
	policies *hook.Compiled[*policy[*mutations]]
	bindings *hook.Compiled[*binding]
	metrics  *metrics
	types    structural.Types // the shapes of Go types
}

// mutations are what a policy does, and whether it may do so twice.
type mutations struct {
	*cel.MutatingPolicy
	again bool
}

var _ apimachinery.Mutator = (*mutator)(nil)

func (e *evaluator) mutating(o apimachinery.Object) *policy[*mutations] {
	p, ok := o.(*admissionregistrationv1.MutatingAdmissionPolicy)
	if !ok {
		return &policy[*mutations]{criteria: &hook.Criteria{}}
	}
	return &policy[*mutations]{
		p.Name, hook.ForPolicy(p.Spec.MatchConstraints), p.Spec.ParamKind, ignores(p.Spec.FailurePolicy),
		&mutations{e.c.Language.Mutating(&p.Spec), p.Spec.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy},
	}
}

// refusal is why a policy has a request refused.
type refusal struct {
	policy, binding string
	err             error
	reason          metav1.StatusReason
}

func (e *refusal) text() string {
	if e.binding == "" {
		return fmt.Sprintf("policy %q denied request: %v", e.policy, e.err)
	}
	return fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", e.policy, e.binding, e.err)
}

// Mutate implements [apimachinery.Mutator].
func (m *mutator) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	policies, err := m.policies.Get(ctx)
	if err != nil || len(policies) == 0 {
		return err
	}
	bindings, err := m.bindings.Get(ctx)
	if err != nil {
		return err
	}
	r := hook.Of(a, m.cluster)
	if r.Exempt() {
		return nil
	}
	rounds := hook.RoundsOf(a, MutatingName)
	defer rounds.End(a)
	var refused []refusal
	for _, p := range policies {
		all, wrong := invocations(ctx, m.evaluator, p, bindings, r)
		for _, w := range wrong {
			if !p.ignores {
				refused = append(refused, refusal{p.name, w.binding, w, ""})
			}
		}
		for i := range all {
			err := m.invoke(ctx, p, &all[i], r, rounds)
			var status apierrors.APIStatus
			if errors.As(err, &status) {
				return err
			}
			if err != nil && !p.ignores {
				refused = append(refused, refusal{p.name, all[i].binding.name, err, metav1.StatusReasonInvalid})
			}
		}
	}
	return refuse(r, refused)
}

// refuse makes one error of all: the first is its message, and all are causes.
func refuse(r *hook.Request, all []refusal) error {
	if len(all) == 0 {
		return nil
	}
	err := apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, errors.New("admission request denied by policy"))
	err.ErrStatus.Message = all[0].text()
	if all[0].reason != "" {
		err.ErrStatus.Reason = all[0].reason
	}
	for i := range all {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: all[i].text()})
	}
	return err
}

func (i *invocation) key(policy string) string {
	key := policy + "/" + i.binding.name
	if i.param != nil {
		key += "/" + apimachinery.KeyOf(i.param)
	}
	return key
}

// invoke does what a policy wants, mutation by mutation, each on what the one before left. An API Status ends the
// request; any other error is the policy's failure.
func (m *mutator) invoke(ctx context.Context, p *policy[*mutations], i *invocation, r *hook.Request, rounds *hook.Rounds) error {
	in, err := m.input(ctx, r, i)
	if err != nil {
		return err
	}
	matches, err := p.of.Conditions.Match(ctx, in)
	if err != nil || !matches || rounds.Skips(r.Admission, i.key(p.name)) {
		return err
	}
	changed := false
	var failed []error
	for _, mutation := range p.of.Mutations {
		if r.Object == nil {
			continue
		}
		start := time.Now()
		did, err := m.mutate(ctx, mutation, i, r)
		kind := "no_error"
		if err != nil {
			kind = "invalid_error"
			failed = append(failed, err)
		}
		m.metrics.observe(time.Since(start), p.name, i.binding.name, kind)
		changed = changed || did
	}
	if changed {
		rounds.Changed(r.Admission)
	}
	if p.of.again {
		rounds.Asked(i.key(p.name))
	}
	return errors.Join(failed...)
}

func (m *mutator) mutate(ctx context.Context, mutation *cel.Mutation, i *invocation, r *hook.Request) (changed bool, err error) {
	in, err := m.input(ctx, r, i)
	if err != nil {
		return false, err
	}
	change, err := mutation.Evaluate(ctx, in)
	if err != nil {
		return false, err
	}
	before, _, err := r.As(i.as)
	if err != nil {
		return false, err
	}
	raw, err := hook.Encode(before)
	if err != nil {
		return false, err
	}
	if change.Apply != nil {
		raw, err = m.merge(i.as, r, raw, change.Apply)
	} else {
		raw, err = patch(raw, change.Patch)
	}
	if err != nil || raw == nil {
		return false, err
	}
	o, err := r.Decode(i.as, raw)
	if err != nil {
		return false, err
	}
	o.SetManagedFields(before.GetManagedFields())
	if equality.Semantic.DeepEqual(before, o) {
		return false, nil
	}
	if err := r.Take(i.as, o); err != nil {
		return false, err
	}
	r.Default()
	return true, nil
}

// patch does the operations of a JSON patch; nil if a test among them fails.
func patch(raw []byte, operations []cel.Operation) ([]byte, error) {
	if len(operations) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	out, err := apimachinery.JSONPatch(raw, text, maxPatch, maxPatched)
	switch {
	case errors.Is(err, apimachinery.ErrTestFailed):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("JSON Patch: %w", err)
	}
	return out, nil
}
