package admissionregistration

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// expressions judges those of one object.
type expressions struct {
	judge  func(e apimachinery.Expression, at *field.Path, value string) field.ErrorList
	params bool
	// stored are the texts that the object had before, by kind.
	stored map[apimachinery.ExpressionKind][]string
}

func (c Config) expressions() *expressions {
	return &expressions{judge: c.Expressions.Judge(), stored: map[apimachinery.ExpressionKind][]string{}}
}

func (x *expressions) had(kind apimachinery.ExpressionKind, text string) {
	x.stored[kind] = append(x.stored[kind], text)
}

func (x *expressions) hadConditions(all []admissionregistrationv1.MatchCondition) {
	for _, m := range all {
		x.had(apimachinery.MatchCondition, m.Expression)
	}
}

// check compiles an expression; its text is the bad value.
func (x *expressions) check(kind apimachinery.ExpressionKind, text string, at *field.Path) field.ErrorList {
	return x.judge(x.of(kind, text), at, text)
}

func (x *expressions) of(kind apimachinery.ExpressionKind, text string) apimachinery.Expression {
	as := kind
	if kind == apimachinery.VariableExpression { // a rule may become a variable
		as = apimachinery.ValidationExpression
	}
	return apimachinery.Expression{Kind: kind, Text: text, Params: x.params, Stored: slices.Contains(x.stored[as], text)}
}

// The most conditions that one webhook or policy may have.
const maxConditions = 64

func (x *expressions) conditions(all []admissionregistrationv1.MatchCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > maxConditions {
		errs = append(errs, field.TooMany(path, len(all), maxConditions))
	}
	names := map[string]bool{}
	for i, m := range all {
		name := path.Index(i).Child("name")
		if text := strings.TrimSpace(m.Expression); text == "" {
			errs = append(errs, field.Required(path.Index(i).Child("expression"), ""))
		} else {
			errs = append(errs, x.check(apimachinery.MatchCondition, text, path.Index(i).Child("expression"))...)
		}
		if m.Name == "" {
			errs = append(errs, field.Required(name, ""))
			continue
		}
		errs = append(errs, invalid(name, m.Name, forms.QualifiedName(m.Name))...)
		if names[m.Name] {
			errs = append(errs, field.Duplicate(name, m.Name))
		}
		names[m.Name] = true
	}
	return errs
}

func (x *expressions) variables(all []admissionregistrationv1.Variable, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range all {
		at := path.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		} else if !isIdentifier(v.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
			continue
		}
		e := x.of(apimachinery.VariableExpression, v.Expression)
		e.Name = v.Name
		errs = append(errs, x.judge(e, at.Child("expression"), v.Expression)...)
	}
	return errs
}

// words are what CEL keeps for itself.
var words = []string{
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
	"loop", "package", "namespace", "return", "var", "void", "while",
}

func isIdentifier(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && !slices.Contains(words, name)
}
