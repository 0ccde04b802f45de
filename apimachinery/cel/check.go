package cel

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// SchemaCheck says how [Environment.CheckSchema] looks at a schema.
type SchemaCheck struct {
	// Broken says that the schema isn't structural or has other errors. Then rules are looked at as text alone, since
	// what the compiler would say about them would mislead.
	Broken bool
	// Unchanged says that a stored definition has the same schema: then no rule is refused for what it costs alone.
	Unchanged bool
}

// CheckSchema says what is wrong with the x-kubernetes-validations of a schema, which lies at path, as Kubernetes does
// when a CustomResourceDefinition is written. Errors of the texts come first, then those of the compiler and the
// estimated costs, in the order of the schema.
func (e *Environment) CheckSchema(s *apiextensionsv1.JSONSchemaProps, path *field.Path, o SchemaCheck) field.ErrorList {
	if !hasRules(s) {
		return nil
	}
	c, err := e.compiler()
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	k := &walker{c: c, unchanged: o.Unchanged}
	one := uint64(1)
	k.walk(newNode(s, true), nil, path, scope{most: &one, compile: !o.Broken, root: true})
	errs := append(k.texts, k.errs...)
	if k.total > schemaEstimateLimit {
		for _, r := range k.costly {
			errs = append(errs, field.Forbidden(r.path, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"))
		}
		errs = append(errs, field.Forbidden(path, tooCostly(
			"x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", k.total, schemaEstimateLimit)))
	}
	return errs
}

// walker goes through a schema.
type walker struct {
	c         *compiler
	unchanged bool
	texts     field.ErrorList
	errs      field.ErrorList
	total     uint64
	costly    []costlyRule
}

type costlyRule struct {
	path *field.Path
	cost uint64
}

// scope is what holds for all data under a node.
type scope struct {
	// most bounds how often the node's data can occur, nil is no bound.
	most *uint64
	// uncorrelated is the first node above whose children can't be found in an older object.
	uncorrelated *field.Path
	compile      bool
	// root says that the node is the schema itself, and typed that d of the walk is the node's type.
	root bool
}

// walk checks n and what lies below. d is the type of n as part of the one above, nil if it isn't part of one.
func (k *walker) walk(n *node, d *decl, path *field.Path, in scope) (clean bool) {
	before := len(k.texts)
	if d == nil && in.compile && (len(n.rules) > 0) {
		d = k.c.declare(n)
	}
	below := in
	below.root, below.most = false, times(in.most, n)
	for _, name := range sortedKeys(n.props) {
		k.walk(n.props[name], d.field(name), path.Child("properties").Key(name), below)
	}
	if n.additional != nil {
		k.walk(n.additional, d.element(), path.Child("additionalProperties"), below)
	}
	if n.items != nil {
		if n.listType != "map" && below.uncorrelated == nil {
			below.uncorrelated = path
		}
		k.walk(n.items, d.element(), path.Child("items"), below)
	}
	at := path.Child("x-kubernetes-validations")
	for i := range n.rules {
		k.texts = append(k.texts, checkText(&n.rules[i], n, at.Index(i))...)
	}
	if len(n.rules) > 0 && len(k.texts) == before && in.compile {
		k.compile(n, d, at, in)
	}
	return len(k.texts) == before
}

func (d *decl) field(name string) *decl {
	if d == nil {
		return nil
	}
	ident, ok := Escape(name)
	if !ok {
		return nil
	}
	return d.fields[ident]
}

func (d *decl) element() *decl {
	if d == nil {
		return nil
	}
	return d.elem
}

// times multiplies a bound with how many children a node may have of each kind.
func times(most *uint64, n *node) *uint64 {
	factor := int64(1)
	switch {
	case n.kind == "object" && n.additional != nil:
		factor = n.maxProperties
	case n.kind == "array":
		factor = n.maxItems
	}
	if most == nil || factor < 0 {
		return nil
	}
	product := saturated(*most, uint64(factor))
	return &product
}

func saturated(a, b uint64) uint64 {
	if a > 0 && b > math.MaxUint64/a {
		return math.MaxUint64
	}
	return a * b
}

// compile checks and weighs the rules of a node.
func (k *walker) compile(n *node, d *decl, at *field.Path, in scope) {
	if d == nil {
		k.errs = append(k.errs, field.InternalError(at,
			fmt.Errorf("internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations")))
		return
	}
	often := uint64(maxRequest / (d.least + 1))
	if in.most != nil {
		often = *in.most
	}
	p := &place{c: k.c, d: d}
	for i := range n.rules {
		k.rule(p, &n.rules[i], at.Index(i), often, in.uncorrelated)
	}
}

func (k *walker) rule(p *place, r *apiextensionsv1.ValidationRule, at *field.Path, often uint64, uncorrelated *field.Path) {
	c := p.compile(r, true)
	k.weigh(at.Child("rule"), "estimated rule cost", saturated(c.cost, often))
	if c.err != "" {
		k.errs = append(k.errs, field.Invalid(at.Child("rule"), bad(r), c.err))
	}
	switch {
	case c.messageErr != "":
		k.errs = append(k.errs, field.Invalid(at.Child("messageExpression"), bad(r), c.messageErr))
	case c.message != nil:
		k.weigh(at.Child("messageExpression"), "estimated messageExpression cost", c.messageCost)
	}
	switch {
	case c.usesOld && uncorrelated != nil:
		k.errs = append(k.errs, field.Invalid(at.Child("rule"), r.Rule,
			fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", uncorrelated)))
	case !c.usesOld && r.OptionalOldSelf != nil:
		k.errs = append(k.errs, field.Invalid(at.Child("optionalOldSelf"), *r.OptionalOldSelf, "may not be set if oldSelf is not used in rule"))
	}
}

// weigh refuses what costs too much, and remembers the four costliest that matter.
func (k *walker) weigh(at *field.Path, what string, cost uint64) {
	if cost > ruleEstimateLimit && !k.unchanged {
		k.errs = append(k.errs, field.Forbidden(at, tooCostly(what, cost, ruleEstimateLimit)))
	}
	k.total += min(cost, math.MaxUint64-k.total)
	if cost < schemaEstimateLimit/100 {
		return
	}
	k.costly = append(k.costly, costlyRule{at, cost})
	slices.SortStableFunc(k.costly, func(a, b costlyRule) int { return cmp.Compare(b.cost, a.cost) })
	k.costly = k.costly[:min(len(k.costly), 4)]
}

func tooCostly(what string, cost, limit uint64) string {
	factor := float64(cost) / float64(limit)
	text := fmt.Sprintf("%.1fx", factor)
	switch {
	case factor > 100:
		text = "more than 100x"
	case factor < 1.5:
		text = fmt.Sprintf("%fx", factor)
	}
	return fmt.Sprintf("%s exceeds budget by factor of %s (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", what, text)
}

// badRule is a rule as Kubernetes shows it in an error: under the names of its Go fields.
type badRule struct {
	Rule, Message, MessageExpression string
	Reason                           *apiextensionsv1.FieldValueErrorReason
	FieldPath                        string
	OptionalOldSelf                  *bool
}

func bad(r *apiextensionsv1.ValidationRule) badRule {
	return badRule{r.Rule, r.Message, r.MessageExpression, r.Reason, r.FieldPath, r.OptionalOldSelf}
}

// checkText checks what needs no compiler.
func checkText(r *apiextensionsv1.ValidationRule, n *node, at *field.Path) (errs field.ErrorList) {
	rule, message := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
	switch {
	case rule == "":
		errs = append(errs, field.Required(at.Child("rule"), "rule is not specified"))
	case r.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must be non-empty if specified"))
	case broken(message):
		errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must not contain line breaks"))
	case broken(rule) && message == "":
		errs = append(errs, field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
	}
	if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
		errs = append(errs, field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
	}
	if reasons := reasons(); r.Reason != nil && !slices.Contains(reasons, *r.Reason) {
		errs = append(errs, field.NotSupported(at.Child("reason"), *r.Reason, reasons))
	}
	if r.FieldPath == "" {
		return errs
	}
	if strings.TrimSpace(r.FieldPath) == "" {
		errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be non-empty if specified"))
	}
	if broken(r.FieldPath) {
		errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must not contain line breaks"))
	}
	if _, err := fieldPath(r.FieldPath, n); err != nil {
		errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be a valid path"))
	}
	return errs
}

func reasons() []apiextensionsv1.FieldValueErrorReason {
	return []apiextensionsv1.FieldValueErrorReason{apiextensionsv1.FieldValueDuplicate, apiextensionsv1.FieldValueForbidden,
		apiextensionsv1.FieldValueInvalid, apiextensionsv1.FieldValueRequired}
}

func broken(s string) bool { return strings.ContainsAny(s, "\n\r") }

// Estimates returns the most that each rule at the root of a schema costs by estimate, 0 for one that doesn't compile.
func (e *Environment) Estimates(s *apiextensionsv1.JSONSchemaProps, root bool) ([]uint64, error) {
	c, err := e.compiler()
	if err != nil {
		return nil, err
	}
	n := newNode(s, root)
	d := c.declare(n)
	if d == nil {
		return nil, fmt.Errorf("estimate costs of rules: expressions can't see data of this schema")
	}
	p := &place{c: c, d: d}
	costs := make([]uint64, len(n.rules))
	for i := range n.rules {
		costs[i] = p.compile(&n.rules[i], true).cost
	}
	return costs, nil
}
