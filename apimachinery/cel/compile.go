package cel

import (
	"fmt"
	"strings"

	celgo "github.com/google/cel-go/cel"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/bedplate/bedplate/apimachinery/cel/internal/library"
)

const (
	selfVar    = "self"
	oldSelfVar = "oldSelf"
)

// compiler compiles the rules of one schema. It is for one goroutine.
type compiler struct {
	base  *celgo.Env
	name  string
	decls map[string]*decl
	roots int
}

func (e *Environment) compiler() (*compiler, error) {
	base, err := e.base()
	if err != nil {
		return nil, err
	}
	return &compiler{base: base, name: fmt.Sprintf("selfType%d", e.names.Add(1)), decls: map[string]*decl{}}, nil
}

// declare makes the type of a node that isn't part of another's type.
func (c *compiler) declare(n *node) *decl {
	name := c.name
	if c.roots > 0 {
		name = fmt.Sprintf("%s_%d", c.name, c.roots)
	}
	c.roots++
	return declare(n, name, c.decls)
}

// place is where rules are: they see data of type d as self.
type place struct {
	c               *compiler
	d               *decl
	plain, optional *celgo.Env
}

// env has self and oldSelf, the latter as an optional if the rule asks for that.
func (p *place) env(optional bool) (*celgo.Env, error) {
	made, old := &p.plain, p.d.typ
	if optional {
		made, old = &p.optional, celgo.OptionalType(p.d.typ)
	}
	if *made != nil {
		return *made, nil
	}
	types := newProvider(p.c.base, p.c.decls)
	env, err := p.c.base.Extend(celgo.CustomTypeProvider(types), celgo.CustomTypeAdapter(types),
		celgo.Variable(selfVar, p.d.typ), celgo.Variable(oldSelfVar, old))
	*made = env
	return env, err
}

// compiled is a rule that was checked. Errors are texts, as they become those of fields.
type compiled struct {
	rule, message celgo.Program // nil if there is none, or an error
	err           string
	messageErr    string
	usesOld       bool
	// cost and messageCost are the estimates, if asked for.
	cost, messageCost uint64
}

// compile checks a rule, and estimates what it costs if estimate is set.
func (p *place) compile(r *apiextensionsv1.ValidationRule, estimate bool) (c compiled) {
	if strings.TrimSpace(r.Rule) == "" {
		return c
	}
	env, err := p.env(r.OptionalOldSelf != nil && *r.OptionalOldSelf)
	if err != nil {
		c.err = "compilation failed: " + err.Error()
		return c
	}
	ast, issues := env.Compile(r.Rule)
	switch {
	case issues.Err() != nil:
		c.err = "compilation failed: " + issues.String()
		return c
	case ast.OutputType() != celgo.BoolType:
		c.err = "cel expression must evaluate to a bool"
		return c
	}
	for _, ref := range ast.NativeRep().ReferenceMap() {
		c.usesOld = c.usesOld || ref.Name == oldSelfVar
	}
	rule, err := p.c.base.Program(ast)
	if err != nil {
		c.err = "program instantiation failed: " + err.Error()
		return c
	}
	if c.cost, c.err = p.estimate(env, ast, estimate, "cost estimation failed: "); c.err != "" {
		return c
	}
	c.rule = rule
	if r.MessageExpression != "" {
		p.compileMessage(env, r.MessageExpression, estimate, &c)
	}
	return c
}

func (p *place) compileMessage(env *celgo.Env, text string, estimate bool, c *compiled) {
	ast, issues := env.Compile(text)
	switch {
	case issues.Err() != nil:
		c.messageErr = "messageExpression compilation failed: " + issues.String()
		return
	case ast.OutputType() != celgo.StringType:
		c.messageErr = "messageExpression must evaluate to a string"
		return
	}
	message, err := p.c.base.Program(ast)
	if err != nil {
		c.messageErr = "messageExpression instantiation failed: " + err.Error()
		return
	}
	c.messageCost, c.messageErr = p.estimate(env, ast, estimate, "cost estimation failed for messageExpression: ")
	if c.messageErr == "" {
		c.message = message
	}
}

func (p *place) estimate(env *celgo.Env, ast *celgo.Ast, wanted bool, failed string) (uint64, string) {
	if !wanted {
		return 0, ""
	}
	e, err := env.EstimateCost(ast, &library.Costs{Sizes: sizes{of: p.d}})
	if err != nil {
		return 0, failed + err.Error()
	}
	return e.Max, ""
}
