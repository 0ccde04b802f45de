package cel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel/internal/library"
)

// ErrBudget is what evaluation ends with when its budget is used up. No further expressions are evaluated then.
var ErrBudget = errors.New(outOfBudget)

// Expression is a compiled expression, or one that can't be compiled, whose evaluation fails. It may be used
// concurrently.
type Expression struct {
	kind    Kind
	text    string
	name    string // of a variable
	scope   *Scope
	program celgo.Program
	result  *celgo.Type
	err     *Error
}

// Text is the expression as it was written.
func (x *Expression) Text() string { return x.text }

// Evaluation evaluates expressions for one request. Variables are evaluated when they are first used, once. It is for
// one goroutine.
type Evaluation struct {
	ctx    context.Context
	in     *Input
	scope  *Scope
	budget int64
	// seen are variables that were made already.
	seen map[string]any
	// spent is what variables cost since it was last deducted.
	spent int64
}

// Start begins an evaluation of expressions of a scope, which together may cost budget.
func (s *Scope) Start(ctx context.Context, in *Input, budget int64) *Evaluation {
	return &Evaluation{ctx: ctx, in: in, scope: s, budget: budget, seen: map[string]any{}}
}

// Start begins an evaluation of expressions that stand alone.
func (e *Environment) Start(ctx context.Context, in *Input, budget int64) *Evaluation {
	return e.plain.Start(ctx, in, budget)
}

// Remaining is what is left of the budget, negative once it didn't suffice.
func (v *Evaluation) Remaining() int64 { return v.budget }

// True evaluates a condition or validation. The error says why it could not be evaluated; [ErrBudget] ends the evaluation.
func (v *Evaluation) True(x *Expression) (bool, error) {
	r, err := v.run(x)
	return err == nil && r == types.True, err
}

// Text evaluates a message or an annotation; ok is false for anything but a string.
func (v *Evaluation) Text(x *Expression) (text string, ok bool, err error) {
	r, err := v.run(x)
	if err != nil {
		return "", false, err
	}
	text, ok = r.Value().(string)
	return text, ok, nil
}

func (v *Evaluation) run(x *Expression) (ref.Val, error) {
	if v.budget < 0 {
		return nil, ErrBudget
	}
	if x.err != nil {
		return nil, fmt.Errorf("compilation error: %w", x.err)
	}
	result, cost, err := eval(v.ctx, x.program, v)
	spent := v.spent
	v.spent = 0
	if spent > v.budget || cost > math.MaxInt64 || int64(cost) > v.budget-spent {
		v.budget = -1
		return nil, ErrBudget
	}
	v.budget -= spent + int64(cost)
	if err != nil {
		return nil, fmt.Errorf("expression '%v' resulted in error: %w", x.text, err)
	}
	return result, nil
}

// ResolveName finds a variable, for CEL alone.
func (v *Evaluation) ResolveName(name string) (any, bool) {
	if made, ok := v.seen[name]; ok {
		return made, true
	}
	made, ok := v.resolve(name)
	if ok {
		v.seen[name] = made
	}
	return made, ok
}

func (v *Evaluation) resolve(name string) (any, bool) {
	a := v.in.Admission
	switch name {
	case "object":
		return dynamic(v.in.object()), true
	case "oldObject":
		return dynamic(v.in.old()), true
	case "params":
		return dynamic(v.in.Params), true
	case "request":
		return dynamic(v.in.request()), true
	case "namespaceObject":
		return dynamic(shown(v.in.Namespace)), true
	case "variables":
		return &variables{v}, true
	case "authorizer":
		if v.in.Authorizer != nil {
			return library.NewAuthorizer(v.ctx, v.in.Authorizer, a.User), true
		}
	case "authorizer.requestResource":
		if v.in.Authorizer != nil {
			return library.NewResourceCheck(v.ctx, v.in.Authorizer, apimachinery.Attributes{
				User: a.User, Group: a.Resource.Group, Resource: a.Resource.Resource, Sub: a.Sub, Namespace: a.Namespace, Name: a.Name,
			}), true
		}
	}
	return nil, false
}

// Parent is nil, for CEL alone.
func (*Evaluation) Parent() interpreter.Activation { return nil }

// dynamic is data without a schema, as its JSON would be.
func dynamic(v any) ref.Val {
	switch o := v.(type) {
	case nil:
		return types.NullValue
	case map[string]any:
		return types.DefaultTypeAdapter.NativeToValue(o)
	case *unstructured.Unstructured:
		if o == nil {
			return types.NullValue
		}
		return types.DefaultTypeAdapter.NativeToValue(o.Object)
	}
	if reflect.ValueOf(v).IsNil() {
		return types.NullValue
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(v)
	if err != nil {
		return types.NewErr("convert %T for an expression: %v", v, err)
	}
	return types.DefaultTypeAdapter.NativeToValue(m)
}

// variables are those of a policy.
type variables struct{ v *Evaluation }

var _ traits.Mapper = (*variables)(nil)

// Find evaluates a variable when it is first asked for.
func (m *variables) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), true
	}
	for _, x := range m.v.scope.exprs {
		if x.name == string(name) {
			return m.v.variable(x), true
		}
	}
	return nil, false
}

func (v *Evaluation) variable(x *Expression) ref.Val {
	at := "variables." + x.name
	if made, ok := v.seen[at]; ok {
		return made.(ref.Val)
	}
	made := v.evaluateVariable(x)
	v.seen[at] = made
	return made
}

func (v *Evaluation) evaluateVariable(x *Expression) ref.Val {
	if x.err != nil {
		return types.NewErr("composited variable %q fails to compile: %v", x.name, x.err)
	}
	result, cost, err := eval(v.ctx, x.program, v)
	v.spent += int64(min(cost, math.MaxInt64-uint64(v.spent)))
	if err != nil {
		return types.NewErr("composited variable %q fails to evaluate: %v", x.name, err)
	}
	return result
}

func (m *variables) Get(key ref.Val) ref.Val {
	if found, ok := m.Find(key); ok {
		return found
	}
	return types.ValOrErr(key, "no such key: %v", key)
}

func (m *variables) Contains(key ref.Val) ref.Val {
	found, ok := m.Find(key)
	if found != nil && types.IsUnknownOrError(found) {
		return found
	}
	return types.Bool(ok)
}

func (m *variables) Size() ref.Val { return types.Int(len(m.v.scope.exprs)) }

func (m *variables) Iterator() traits.Iterator {
	names := make([]ref.Val, len(m.v.scope.exprs))
	for i, x := range m.v.scope.exprs {
		names[i] = types.String(x.name)
	}
	return &iterator{vals: names}
}

func (m *variables) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("disallowed conversion from %q to %q", variablesType, t.Name())
}

func (m *variables) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("disallowed conversion from %q to %q", variablesType, t.TypeName())
}
func (m *variables) Equal(other ref.Val) ref.Val { return types.Bool(m == other) }
func (m *variables) Type() ref.Type {
	return celgo.ObjectType(variablesType, traits.IndexerType, traits.FieldTesterType)
}
func (m *variables) Value() any { return types.NoSuchOverloadErr() }
