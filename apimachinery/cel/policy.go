package cel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions are the match conditions of a webhook or policy.
type Conditions struct {
	scope *Scope
	all   []*Expression
	fails admissionregistrationv1.FailurePolicyType
}

// Conditions compiles match conditions; what can't be compiled fails as the policy says, Fail if it is nil.
func (s *Scope) Conditions(of []admissionregistrationv1.MatchCondition, fails *admissionregistrationv1.FailurePolicyType) *Conditions {
	c := &Conditions{scope: s, fails: failure(fails)}
	for _, m := range of {
		x, _ := s.Compile(MatchCondition, m.Expression) // its error comes with its evaluation
		x.name = m.Name
		c.all = append(c.all, x)
	}
	return c
}

// Conditions compiles the match conditions of a webhook.
func (e *Environment) Conditions(of []admissionregistrationv1.MatchCondition, fails *admissionregistrationv1.FailurePolicyType) *Conditions {
	return e.plain.Conditions(of, fails)
}

func failure(p *admissionregistrationv1.FailurePolicyType) admissionregistrationv1.FailurePolicyType {
	if p == nil {
		return admissionregistrationv1.Fail
	}
	return *p
}

// Match says whether all conditions are true for a request. One that is false decides, also if another can't be
// evaluated; else the error of one that can't be fails the request, or, if failures are ignored, is no match.
func (c *Conditions) Match(ctx context.Context, in *Input) (bool, error) {
	if c == nil || len(c.all) == 0 {
		return true, nil
	}
	v := c.scope.Start(ctx, in, MatchConditionBudget)
	var wrong []error
	for _, x := range c.all {
		ok, err := v.True(x)
		switch {
		case errors.Is(err, ErrBudget):
			return false, c.failed(err)
		case err != nil:
			wrong = append(wrong, err)
		case !ok:
			return false, nil
		}
	}
	if len(wrong) == 0 {
		return true, nil
	}
	return false, c.failed(aggregate(wrong))
}

func (c *Conditions) failed(err error) error {
	if c.fails == admissionregistrationv1.Ignore {
		return nil
	}
	return err
}

// aggregate joins errors in one line.
func aggregate(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return fmt.Errorf("[%s]", strings.Join(texts, ", "))
}

// ValidatingPolicy is a compiled ValidatingAdmissionPolicy. It may be used concurrently.
type ValidatingPolicy struct {
	scope       *Scope
	conditions  *Conditions
	fails       admissionregistrationv1.FailurePolicyType
	validations []validation
	annotations []annotation
}

type validation struct {
	of              *admissionregistrationv1.Validation
	expr, messageOf *Expression
}

type annotation struct {
	key  string
	expr *Expression
}

// Decision is what one validation says.
type Decision struct {
	// Denied is set if the request is to be refused, or if the binding says so, warned of or audited.
	Denied bool
	// Failed says that the validation could not be evaluated, and that Message is why.
	Failed  bool
	Message string
	// Reason is that of the refusal, Invalid if the validation has none.
	Reason metav1.StatusReason
}

// Annotation is for the audit log.
type Annotation struct {
	Key, Value string
	// Err is why there is no value, where failures aren't ignored.
	Err error
}

// Verdict is what a policy says about a request: a Decision for each validation, or one for a failure of all. A
// policy that doesn't match says nothing.
type Verdict struct {
	Decisions   []Decision
	Annotations []Annotation
}

// Validating compiles a policy. What can't be compiled fails, when it is evaluated, as the policy's failurePolicy says.
func (e *Environment) Validating(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) *ValidatingPolicy {
	s := e.Scope(spec.ParamKind != nil)
	for _, v := range spec.Variables {
		_ = s.Declare(v.Name, v.Expression) // its error comes with its use
	}
	p := &ValidatingPolicy{scope: s, fails: failure(spec.FailurePolicy), conditions: s.Conditions(spec.MatchConditions, spec.FailurePolicy)}
	for i := range spec.Validations {
		v := validation{of: &spec.Validations[i]}
		v.expr, _ = s.Compile(Validation, v.of.Expression)
		if v.of.MessageExpression != "" {
			v.messageOf, _ = s.Compile(MessageExpression, v.of.MessageExpression)
		}
		p.validations = append(p.validations, v)
	}
	for _, a := range spec.AuditAnnotations {
		x, _ := s.Compile(AuditAnnotation, strings.TrimSpace(a.ValueExpression))
		p.annotations = append(p.annotations, annotation{a.Key, x})
	}
	return p
}

// Validate judges a request. Validations and messages share one [Budget]; annotations have another.
func (p *ValidatingPolicy) Validate(ctx context.Context, in *Input) Verdict {
	matches, err := p.conditions.Match(ctx, in)
	if err != nil {
		return Verdict{Decisions: []Decision{p.failure(err.Error())}}
	}
	if !matches {
		return Verdict{}
	}
	v := p.scope.Start(ctx, in, Budget)
	results := make([]error, len(p.validations))
	denied := make([]bool, len(p.validations))
	for i, rule := range p.validations {
		ok, err := v.True(rule.expr)
		if errors.Is(err, ErrBudget) {
			return Verdict{Decisions: []Decision{p.failure(err.Error())}}
		}
		results[i], denied[i] = err, !ok
	}
	verdict := Verdict{Decisions: p.decide(ctx, in, v.Remaining(), results, denied)}
	annotations, err := p.annotate(ctx, in)
	if err != nil {
		return Verdict{Decisions: []Decision{p.failure(err.Error())}}
	}
	verdict.Annotations = annotations
	return verdict
}

func (p *ValidatingPolicy) failure(message string) Decision {
	return Decision{Denied: p.fails != admissionregistrationv1.Ignore, Failed: true, Message: message}
}

// decide makes decisions, with the messages of what is denied. All messages are evaluated, as their cost counts.
func (p *ValidatingPolicy) decide(ctx context.Context, in *Input, budget int64, results []error, denied []bool) []Decision {
	quiet := *in
	quiet.Authorizer = nil
	v := p.scope.Start(ctx, &quiet, budget)
	messages := make([]string, len(p.validations))
	var used error
	for i, rule := range p.validations {
		if rule.messageOf == nil || used != nil {
			continue
		}
		text, _, err := v.Text(rule.messageOf)
		if errors.Is(err, ErrBudget) {
			used = err
		}
		if text = strings.TrimSpace(text); err == nil && len(text) <= MaxMessage && !strings.Contains(text, "\n") {
			messages[i] = text
		}
	}
	decisions := make([]Decision, len(p.validations))
	for i, rule := range p.validations {
		switch {
		case results[i] != nil:
			decisions[i] = p.failure(results[i].Error())
		case used != nil:
			decisions[i] = p.failure(fmt.Sprintf("failed messageExpression: %s", used))
		case denied[i]:
			decisions[i] = rule.denial(messages[i])
		}
	}
	return decisions
}

func (v *validation) denial(message string) Decision {
	d := Decision{Denied: true, Message: message, Reason: metav1.StatusReasonInvalid}
	if v.of.Reason != nil {
		d.Reason = *v.of.Reason
	}
	if d.Message == "" {
		d.Message = strings.TrimSpace(v.of.Message)
	}
	if d.Message == "" {
		d.Message = "failed expression: " + strings.TrimSpace(v.of.Expression)
	}
	return d
}

// annotate evaluates annotations; those that are empty or null are left out.
func (p *ValidatingPolicy) annotate(ctx context.Context, in *Input) (all []Annotation, err error) {
	quiet := *in
	quiet.Authorizer = nil
	v := p.scope.Start(ctx, &quiet, Budget)
	for _, a := range p.annotations {
		text, _, err := v.Text(a.expr)
		text = strings.TrimSpace(text)
		switch {
		case errors.Is(err, ErrBudget):
			return nil, err
		case err != nil && p.fails != admissionregistrationv1.Ignore:
			all = append(all, Annotation{Key: a.key, Err: err})
		case err == nil && text != "":
			all = append(all, Annotation{Key: a.key, Value: text})
		}
	}
	return all, nil
}

// MutatingPolicy is a compiled MutatingAdmissionPolicy. It may be used concurrently.
type MutatingPolicy struct {
	// Conditions decide whether the policy has anything to say.
	Conditions *Conditions
	// Mutations are to be made in order, each on what the one before left.
	Mutations []*Mutation
}

// Mutation is one change that a policy makes.
type Mutation struct{ expr *Expression }

// Change is what a mutation does: either Apply is merged into the object, or the operations of Patch are done to it.
// One with a failing test is no error, and does nothing.
type Change struct {
	Apply map[string]any
	Patch []Operation
}

// Mutating compiles a policy. What can't be compiled fails when it is evaluated.
func (e *Environment) Mutating(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) *MutatingPolicy {
	s := e.Scope(spec.ParamKind != nil)
	for _, v := range spec.Variables {
		_ = s.Declare(v.Name, v.Expression) // its error comes with its use
	}
	p := &MutatingPolicy{Conditions: s.Conditions(spec.MatchConditions, spec.FailurePolicy)}
	for _, m := range spec.Mutations {
		var x *Expression
		switch {
		case m.PatchType == admissionregistrationv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			x, _ = s.Compile(ApplyConfiguration, m.ApplyConfiguration.Expression)
		case m.PatchType == admissionregistrationv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			x, _ = s.Compile(JSONPatch, m.JSONPatch.Expression)
		default:
			continue
		}
		p.Mutations = append(p.Mutations, &Mutation{x})
	}
	return p
}

// Evaluate says what to change. Each mutation has a [Budget] of its own.
func (m *Mutation) Evaluate(ctx context.Context, in *Input) (c Change, err error) {
	v := m.expr.scope.Start(ctx, in, Budget)
	if m.expr.kind == ApplyConfiguration {
		c.Apply, err = v.Apply(m.expr)
	} else {
		c.Patch, err = v.Patch(m.expr)
	}
	return c, err
}
