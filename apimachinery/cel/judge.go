package cel

import (
	"context"
	"fmt"
	"math"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// outOfBudget is said when the budget is used up.
const outOfBudget = "validation failed due to running out of cost budget, no further validation rules will be run"

// judgement is one object being judged.
type judgement struct {
	ctx    context.Context
	budget int64
	warn   func(string)
	errs   field.ErrorList
}

// visit evaluates the rules of t and of all below. The budget is negative once it is used up.
func (j *judgement) visit(t *ruled, path *field.Path, new, old any, same ratchet) {
	if t == nil || new == nil {
		return
	}
	if len(t.rules) > 0 {
		j.evaluate(t, path, new, present(old), same)
	}
	switch new := new.(type) {
	case []any:
		j.visitList(t, path, new, old, same)
	case map[string]any:
		j.visitMap(t, path, new, old, same)
	}
}

// present makes nil of a nil map or list.
func present(v any) any {
	switch m := v.(type) {
	case map[string]any:
		if m == nil {
			return nil
		}
	case []any:
		if m == nil {
			return nil
		}
	}
	return v
}

// visitList goes through elements. Only those of a list with keys are found in the older list.
func (j *judgement) visitList(t *ruled, path *field.Path, new []any, old any, same ratchet) {
	if t.items == nil {
		return
	}
	older, _ := old.([]any)
	index := newIndex(t.n, older)
	for i, v := range new {
		if j.budget < 0 {
			return
		}
		j.visit(t.items, path.Index(i), v, index.find(v), same.index(i))
	}
}

func (j *judgement) visitMap(t *ruled, path *field.Path, new map[string]any, old any, same ratchet) {
	older, _ := old.(map[string]any)
	if t.additional != nil {
		for _, k := range sortedKeys(new) {
			if j.budget < 0 {
				return
			}
			j.visit(t.additional, path.Key(k), new[k], older[k], same.key(k))
		}
	}
	for _, p := range t.props {
		v, ok := new[p.name]
		if !ok {
			continue
		}
		if j.budget < 0 {
			return
		}
		j.visit(p.ruled, path.Child(p.name), v, older[p.name], same.key(p.name))
	}
}

// evaluate runs the rules at one place.
func (j *judgement) evaluate(t *ruled, path *field.Path, new, old any, same ratchet) {
	if j.budget <= 0 {
		j.stop(field.Invalid(path, t.n.kind, outOfBudget))
		return
	}
	plain, optional := t.selves(new, old)
	for _, r := range t.rules {
		if r.err != "" {
			j.errs = append(j.errs, field.Invalid(path, t.n.kind, "rule compile error: "+r.err))
			continue
		}
		if r.usesOld && old == nil && !r.optional {
			continue
		}
		vars := plain
		if r.optional {
			vars = optional
		}
		j.run(t, r, vars, path, new, same)
		if j.budget < 0 {
			return
		}
	}
}

// stop adds a last error.
func (j *judgement) stop(e *field.Error) {
	j.errs = append(j.errs, e)
	j.budget = -1
}

// run evaluates one rule, and says what is wrong if it isn't true.
func (j *judgement) run(t *ruled, r *rule, vars *self, path *field.Path, new any, same ratchet) {
	result, cost, err := eval(j.ctx, r.program, vars)
	if cost > math.MaxInt64 || int64(cost) > j.budget {
		j.stop(field.Invalid(path, t.n.kind, outOfBudget))
		return
	}
	j.budget -= int64(cost)
	if err != nil {
		j.failed(t, r, path, err)
		return
	}
	if result == types.True {
		return
	}
	at := path
	if r.path != "" {
		at = path.Child(r.path)
	}
	detail, fatal := j.detail(r, vars)
	if fatal != "" {
		j.add(r, same, field.Invalid(at, t.n.kind, fatal))
		j.budget = -1
		return
	}
	if t.n.kind == "object" || t.n.kind == "array" {
		new = field.OmitValueType{}
	}
	j.add(r, same, because(r.Reason, at, new, detail))
}

// add refuses, unless the data were there before and the rule doesn't compare.
func (j *judgement) add(r *rule, same ratchet, e *field.Error) {
	if r.usesOld || !same.equal() {
		j.errs = append(j.errs, e)
		return
	}
	if j.warn != nil {
		j.warn(e.Error())
	}
}

func because(reason *apiextensionsv1.FieldValueErrorReason, at *field.Path, v any, detail string) *field.Error {
	if reason != nil {
		switch *reason {
		case apiextensionsv1.FieldValueForbidden:
			return field.Forbidden(at, detail)
		case apiextensionsv1.FieldValueRequired:
			return field.Required(at, detail)
		case apiextensionsv1.FieldValueDuplicate:
			return field.Duplicate(at, v)
		}
	}
	return field.Invalid(at, v, detail)
}

// failed says why a rule couldn't be evaluated.
func (j *judgement) failed(t *ruled, r *rule, path *field.Path, err error) {
	switch {
	case strings.HasPrefix(err.Error(), "no such overload"):
		j.errs = append(j.errs, field.Invalid(path, t.n.kind, fmt.Sprintf(
			"'%v': call arguments did not match a supported operator, function or macro signature for rule: %v", err, r.title())))
	case overLimit(err):
		j.stop(field.Invalid(path, t.n.kind, fmt.Sprintf(
			"'%v': no further validation rules will be run due to call cost exceeds limit for rule: %v", err, r.title())))
	default:
		j.errs = append(j.errs, field.Invalid(path, t.n.kind, fmt.Sprintf("%v evaluating rule: %v", err, r.title())))
	}
	if j.ctx.Err() != nil {
		j.budget = -1
	}
}

func overLimit(err error) bool {
	return strings.HasPrefix(err.Error(), "operation cancelled: actual cost limit exceeded")
}

// title names a rule in messages.
func (r *rule) title() string {
	if r.Message != "" {
		return strings.TrimSpace(r.Message)
	}
	return strings.TrimSpace(r.Rule)
}

// detail is the message of a broken rule: that of messageExpression if it makes a good one, else the rule's own, else
// the rule. fatal is set instead if no further rules may be run.
func (j *judgement) detail(r *rule, vars *self) (detail, fatal string) {
	if r.message != nil {
		result, cost, err := eval(j.ctx, r.message, vars)
		switch {
		case cost > math.MaxInt64 || int64(cost) > j.budget:
			return "", "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
		case err != nil && overLimit(err):
			return "", fmt.Sprintf("no further validation rules will be run due to call cost exceeds limit for messageExpression: %q", r.MessageExpression)
		}
		j.budget -= int64(cost)
		if text, ok := message(result, err); ok {
			return text, ""
		}
	}
	if r.Message != "" {
		return strings.TrimSpace(r.Message), ""
	}
	return "failed rule: " + r.title(), ""
}

// message is the text that a messageExpression made, if it is fit for one.
func message(v ref.Val, err error) (string, bool) {
	if err != nil || v == nil {
		return "", false
	}
	s, ok := v.Value().(string)
	s = strings.TrimSpace(s)
	return s, ok && s != "" && len(s) <= MaxMessage && !strings.Contains(s, "\n")
}

// eval runs a program, and tells what it cost.
func eval(ctx context.Context, p celgo.Program, vars any) (v ref.Val, cost uint64, err error) {
	v, details, err := p.ContextEval(ctx, vars)
	if c := details.ActualCost(); c != nil {
		cost = *c
	}
	return v, cost, err
}
