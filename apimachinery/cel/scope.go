package cel

import (
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/traits"

	"github.com/bedplate/bedplate/apimachinery/cel/internal/library"
)

// Kind says what an expression is for: what it sees, and what it must result in.
type Kind int

const (
	// MatchCondition decides whether a webhook or policy is asked: object, oldObject, request, namespaceObject, params
	// if declared, and the authorizer; a bool.
	MatchCondition Kind = iota
	// Validation refuses what it isn't true for. It sees what a MatchCondition sees, and variables; a bool.
	Validation
	// MessageExpression says why a validation refused; it has no authorizer; a string.
	MessageExpression
	// AuditAnnotation is noted in the audit log; a string, or null for nothing.
	AuditAnnotation
	// Variable is part of other expressions; anything.
	Variable
	// ApplyConfiguration is an Object that is merged into the object of the request.
	ApplyConfiguration
	// JSONPatch is a list of JSONPatch.
	JSONPatch
	// DeviceSelector picks devices: it sees device alone; a bool, or an attribute, which may be one.
	DeviceSelector
)

const variablesType = "kubernetes.variables"

// Scope is what the expressions of one policy share: its parameters and its variables. It may be used concurrently
// once all variables are declared.
type Scope struct {
	e      *Environment
	params bool
	// composed says that there may be variables; vars has their types, by name, and expressions.
	composed bool
	vars     *decl
	exprs    []*Expression

	mu   sync.Mutex
	envs map[declared]*celgo.Env
}

// declared says what an environment has beside the object, the request and the namespace.
type declared struct{ authorizer, patches, variables bool }

// Scope makes the scope of a policy, with params if it has a paramKind.
func (e *Environment) Scope(params bool) *Scope {
	return &Scope{e: e, params: params, composed: true, vars: &decl{typ: celgo.ObjectType(variablesType), fields: map[string]*decl{}}}
}

// Compile makes an expression that stands alone: a webhook's match condition, or one of a policy without params and
// variables. The error is an *[Error].
func (e *Environment) Compile(k Kind, text string) (*Expression, error) {
	return e.plain.Compile(k, text)
}

// Check says whether an expression that stands alone can be compiled, in an *[Error].
func (e *Environment) Check(k Kind, text string) error {
	if k == DeviceSelector {
		_, err := e.Selector(text)
		return err
	}
	_, err := e.Compile(k, text)
	return err
}

// Declare adds a variable, which later expressions see as variables.name. If it can't be compiled, in which case the
// error is an *[Error], they see it all the same, and fail when they use it.
func (s *Scope) Declare(name, text string) error {
	x, err := s.Compile(Variable, text)
	x.name = name
	s.exprs = append(s.exprs, x)
	t := celgo.DynType
	if err == nil {
		t = visible(x.result)
	}
	s.vars.fields[name] = &decl{typ: t}
	return err
}

// visible is the type that a variable's result has for others: types that aren't the language's own are dynamic.
func visible(t *celgo.Type) *celgo.Type {
	switch t {
	case celgo.AnyType, celgo.BoolType, celgo.BytesType, celgo.DoubleType, celgo.DurationType, celgo.IntType, celgo.NullType,
		celgo.StringType, celgo.TimestampType, celgo.UintType:
		return t
	}
	if t.HasTrait(traits.ContainerType) && t.HasTrait(traits.IndexerType) {
		switch p := t.Parameters(); len(p) {
		case 1:
			return celgo.ListType(visible(p[0]))
		case 2:
			return celgo.MapType(visible(p[0]), visible(p[1]))
		}
	}
	return celgo.DynType
}

// Compile makes an expression. If it can't be, the error is an *[Error]; the expression is there all the same, and
// fails with that error when it is evaluated, so that a stored policy fails as its failurePolicy says.
func (s *Scope) Compile(k Kind, text string) (*Expression, error) {
	x := &Expression{kind: k, text: text, scope: s}
	if err := s.compile(x); err != nil {
		x.err = err
		return x, err
	}
	return x, nil
}

// Check says whether an expression can be compiled, in an *[Error].
func (s *Scope) Check(k Kind, text string) error {
	_, err := s.Compile(k, text)
	return err
}

func (s *Scope) compile(x *Expression) *Error {
	if x.kind == DeviceSelector {
		return internal(fmt.Errorf("compile an expression: a device selector is no part of a policy"))
	}
	env, err := s.env(declared{
		authorizer: x.kind != MessageExpression,
		patches:    x.kind == ApplyConfiguration || x.kind == JSONPatch,
		variables:  s.composed && x.kind != MatchCondition,
	})
	if err != nil {
		return internal(fmt.Errorf("unexpected error loading CEL environment: %w", err))
	}
	ast, issues := env.Compile(x.text)
	if issues.Err() != nil {
		return issue(issues)
	}
	if wrong := mismatch(x.kind, ast.OutputType()); wrong != "" {
		return invalid(wrong)
	}
	x.result = ast.OutputType()
	if x.program, err = env.Program(ast); err != nil {
		return internal(fmt.Errorf("program instantiation failed: %w", err))
	}
	return nil
}

// mismatch says that a kind of expression mustn't result in t.
func mismatch(k Kind, t *celgo.Type) string {
	var may []*celgo.Type
	switch k {
	case MatchCondition, Validation:
		may = []*celgo.Type{celgo.BoolType}
	case MessageExpression:
		may = []*celgo.Type{celgo.StringType}
	case AuditAnnotation:
		may = []*celgo.Type{celgo.StringType, celgo.NullType}
	case ApplyConfiguration:
		may = []*celgo.Type{celgo.ObjectType(objectType)}
	case JSONPatch:
		may = []*celgo.Type{celgo.ListType(celgo.ObjectType(patchType))}
	default:
		return ""
	}
	for _, m := range may {
		if t.IsExactType(m) {
			return ""
		}
	}
	if len(may) == 1 {
		return fmt.Sprintf("must evaluate to %v but got %v", may[0], t)
	}
	return fmt.Sprintf("must evaluate to one of %v but got %v", may, t)
}

// env makes an environment when it is first needed.
func (s *Scope) env(d declared) (*celgo.Env, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env := s.envs[d]; env != nil {
		return env, nil
	}
	base, err := s.e.base()
	if err != nil {
		return nil, err
	}
	env, err := base.Extend(s.options(base, d)...)
	if err != nil {
		return nil, err
	}
	if s.envs == nil {
		s.envs = map[declared]*celgo.Env{}
	}
	s.envs[d] = env
	return env, nil
}

func (s *Scope) options(base *celgo.Env, d declared) []celgo.EnvOption {
	decls := map[string]*decl{}
	request, namespace := declareRequest(decls), declareNamespace(decls)
	var all types.Provider
	known := newProvider(base, decls)
	all = known
	options := []celgo.EnvOption{
		celgo.Variable("object", celgo.DynType), celgo.Variable("oldObject", celgo.DynType),
		celgo.Variable("request", request.typ), celgo.Variable("namespaceObject", namespace.typ),
	}
	if s.params {
		options = append(options, celgo.Variable("params", celgo.DynType))
	}
	if d.authorizer {
		options = append(options, celgo.Variable("authorizer", library.AuthorizerType),
			celgo.Variable("authorizer.requestResource", library.ResourceCheckType))
	}
	if d.variables {
		decls[variablesType] = s.vars
		options = append(options, celgo.Variable("variables", s.vars.typ))
	}
	if d.patches {
		all = patchTypes{known}
		options = append(options, library.JSONPatch())
	}
	return append(options, celgo.CustomTypeProvider(all), celgo.CustomTypeAdapter(known))
}
