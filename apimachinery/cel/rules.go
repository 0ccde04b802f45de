package cel

import (
	"context"
	"fmt"
	"slices"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules are the x-kubernetes-validations of a schema, ready to judge objects. They are compiled when the first object
// is judged, since most definitions of a server never see one. Rules may be used concurrently; nil has no rules.
type Rules struct {
	env    *Environment
	schema *apiextensionsv1.JSONSchemaProps
	root   bool
	once   sync.Once
	tree   *ruled
}

// Rules returns the rules of a schema, nil if it has none. The schema must not change afterwards. root says that it
// is that of a whole resource, of which rules see apiVersion, kind, metadata.name and metadata.generateName.
func (e *Environment) Rules(s *apiextensionsv1.JSONSchemaProps, root bool) *Rules {
	if !hasRules(s) {
		return nil
	}
	return &Rules{env: e, schema: s, root: root}
}

// Object is what [Rules.Judge] judges: unstructured data, as encoding/json makes it with integers as int64.
type Object struct {
	// Path is where New is, nil for a whole resource.
	Path *field.Path
	New  any
	// Old is what New replaces, nil if it is new. Transition rules need it, and what is equal to it isn't refused for
	// rules that don't compare (KEP-4008).
	Old any
	// Strict refuses what is equal to Old, too.
	Strict bool
	// Warn is told what would have been refused if it were new. May be nil.
	Warn func(text string)
}

// Validate is [Rules.Judge] of a replacement, or of something new if old is nil.
func (r *Rules) Validate(ctx context.Context, path *field.Path, new, old any, budget int64) (errs field.ErrorList, remaining int64) {
	return r.Judge(ctx, Object{Path: path, New: new, Old: old}, budget)
}

// Judge evaluates all rules for an object, and tells which are broken, and what is left of the budget (see [Budget]).
// What remains is negative if the budget didn't suffice, or a rule cost more than [PerCallLimit]; then no further
// rules were evaluated, and an error says so. A cancelled context ends it in the same way.
func (r *Rules) Judge(ctx context.Context, o Object, budget int64) (errs field.ErrorList, remaining int64) {
	if r == nil {
		return nil, budget
	}
	r.once.Do(r.compile)
	j := &judgement{ctx: ctx, budget: budget, warn: o.Warn}
	var same ratchet
	if o.Old != nil && !o.Strict {
		same.here = &pair{new: o.New, old: o.Old, n: r.tree.n}
	}
	j.visit(r.tree, o.Path, o.New, o.Old, same)
	return j.errs, j.budget
}

// ruled is a node of a schema that has rules, or has such a node below.
type ruled struct {
	n *node
	// self is n as rules at this place see it.
	self       *node
	rules      []*rule
	usesOld    bool
	props      []ruledProp
	items      *ruled
	additional *ruled
}

type ruledProp struct {
	name string
	*ruled
}

// rule is a compiled rule.
type rule struct {
	*apiextensionsv1.ValidationRule
	program, message celgo.Program
	err              string
	usesOld          bool
	optional         bool
	// path is where the rule's errors are, below the place of the rule.
	path string
}

func (r *Rules) compile() {
	n := newNode(r.schema, r.root)
	c, err := r.env.compiler()
	if err != nil {
		r.tree = &ruled{n: n, self: n.object, rules: failed(n.rules, err)}
		return
	}
	r.tree = c.tree(n, c.declare(n))
	if r.tree == nil {
		r.tree = &ruled{n: n, self: n.object}
	}
}

func failed(rules []apiextensionsv1.ValidationRule, err error) []*rule {
	all := make([]*rule, len(rules))
	for i := range rules {
		all[i] = &rule{ValidationRule: &rules[i], err: err.Error()}
	}
	return all
}

// tree compiles the rules of n, which has type d, and of all below; nil if there are none. Data of which expressions
// know no type have no rules.
func (c *compiler) tree(n *node, d *decl) *ruled {
	t := &ruled{n: n, self: n.object}
	if d != nil {
		c.addRules(t, d)
	} else if len(n.rules) > 0 {
		t.rules = failed(n.rules, fmt.Errorf("rule compiler initialization error: failed to convert to declType for CEL validation rules"))
	}
	if n.items != nil {
		t.items = c.tree(n.items, d.element())
	}
	if n.additional != nil {
		t.additional = c.tree(n.additional, d.element())
	}
	for _, name := range sortedKeys(n.props) {
		p := n.props[name]
		f := d.field(name)
		if _, ok := Escape(name); !ok {
			f = c.declare(p)
		}
		if f == nil {
			continue
		}
		if sub := c.tree(p, f); sub != nil {
			t.props = append(t.props, ruledProp{name, sub})
		}
	}
	if len(t.rules) == 0 && t.items == nil && t.additional == nil && len(t.props) == 0 {
		return nil
	}
	return t
}

func (c *compiler) addRules(t *ruled, d *decl) {
	p := &place{c: c, d: d}
	for i := range t.n.rules {
		r := &t.n.rules[i]
		made := p.compile(r, false)
		if made.rule == nil && made.err == "" {
			continue
		}
		one := &rule{ValidationRule: r, err: made.err, usesOld: made.usesOld,
			optional: r.OptionalOldSelf != nil && *r.OptionalOldSelf, program: made.rule, message: made.message}
		if path, err := fieldPath(r.FieldPath, t.n); err == nil && path != nil {
			one.path = path.String()
		}
		t.rules = append(t.rules, one)
		t.usesOld = t.usesOld || one.usesOld
	}
}

// self is the activation of a rule.
type self struct {
	self, old ref.Val
}

// ResolveName finds self and oldSelf.
func (s *self) ResolveName(name string) (any, bool) {
	switch {
	case name == selfVar:
		return s.self, true
	case name == oldSelfVar && s.old != nil:
		return s.old, true
	}
	return nil, false
}

// Parent is nil: there are no other variables.
func (*self) Parent() interpreter.Activation { return nil }

// selves makes the activations of the rules at a place: with oldSelf, and with oldSelf as an optional.
func (t *ruled) selves(new, old any) (plain, optional *self) {
	plain = &self{self: value(new, t.self)}
	if !t.usesOld {
		return plain, plain
	}
	optional = &self{self: plain.self, old: types.OptionalNone}
	if old != nil {
		plain.old = value(old, t.self)
		optional.old = types.OptionalOf(plain.old)
	}
	return plain, optional
}

// Blocks says whether other errors of an object keep its rules from being evaluated, as data that rules may rely on
// isn't there or isn't what it should be. The error to add is then [NotChecked].
func Blocks(errs field.ErrorList) bool {
	return slices.ContainsFunc(errs, func(e *field.Error) bool {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
		return false
	})
}

// NotChecked is the error of an object whose rules weren't evaluated because others [Blocks].
func NotChecked() *field.Error {
	return field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")
}
