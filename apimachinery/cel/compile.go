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
	rule, message *celgo.Ast // nil if there is none, or an error
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
	rule, issues := env.Compile(r.Rule)
	switch {
	case issues != nil && issues.Err() != nil:
		c.err = "compilation failed: " + issues.String()
		return c
	case rule.OutputType() != celgo.BoolType:
		c.err = "cel expression must evaluate to a bool"
		return c
	}
	for _, ref := range rule.NativeRep().ReferenceMap() {
		c.usesOld = c.usesOld || ref.Name == oldSelfVar
	}
	if c.cost, c.err = p.estimate(env, rule, estimate, "cost estimation failed: "); c.err != "" {
		return c
	}
	c.rule = rule
	if r.MessageExpression == "" {
		return c
	}
	message, issues := env.Compile(r.MessageExpression)
	switch {
	case issues != nil && issues.Err() != nil:
		c.messageErr = "messageExpression compilation failed: " + issues.String()
		return c
	case message.OutputType() != celgo.StringType:
		c.messageErr = "messageExpression must evaluate to a string"
		return c
	}
	c.messageCost, c.messageErr = p.estimate(env, message, estimate, "cost estimation failed for messageExpression: ")
	if c.messageErr == "" {
		c.message = message
	}
	return c
}

func (p *place) estimate(env *celgo.Env, ast *celgo.Ast, wanted bool, failed string) (uint64, string) {
	if !wanted {
		return 0, ""
	}
	known := sizes{map[string]*decl{selfVar: p.d, oldSelfVar: p.d}}
	e, err := env.EstimateCost(ast, &library.Costs{Sizes: known})
	if err != nil {
		return 0, failed + err.Error()
	}
	return e.Max, ""
}
