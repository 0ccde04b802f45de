package apimachinery

import (
	"errors"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Expression is a CEL expression of a built-in kind, with what it may refer to.
type Expression struct {
	Kind ExpressionKind
	// Name is what later expressions of the object know a [VariableExpression] by ("variables.<Name>"); else empty.
	Name string
	Text string
	// Params says that there is a variable "params".
	Params bool
	// Stored says that the object had the expression before: what newer rules forbid is then let pass.
	Stored bool
}

// ExpressionKind says what an [Expression] is for: by it, its variables and the type of its result are known.
type ExpressionKind int

const (
	// MatchCondition says whether a webhook or policy is asked: bool. It sees no variables of the policy.
	MatchCondition ExpressionKind = iota + 1
	// VariableExpression is a variable of a policy, of any type.
	VariableExpression
	// ValidationExpression is a rule of a ValidatingAdmissionPolicy: bool.
	ValidationExpression
	// MessageExpression says what a violation is told as: string. It has no authorizer.
	MessageExpression
	// AuditExpression is the value of an audit annotation: string or null.
	AuditExpression
	// ApplyExpression makes an apply configuration: Object.
	ApplyExpression
	// PatchExpression makes a JSON patch: a list of JSONPatch.
	PatchExpression
	// DeviceSelector says whether a device (resource.k8s.io) is wanted: bool.
	DeviceSelector
)

// ExpressionChecker compiles the expressions of objects. It is called once for each object and returns what is then
// called for every expression of it, in an order in which variables come before those that may use them. nil is no
// check. It is called concurrently; what it returns is not. An error that is a [*field.Error] decides on type and
// detail, any other is field.ErrorTypeInvalid.
type ExpressionChecker func() func(Expression) error

// Judge starts with an object; the function that it returns tells what is wrong with an expression at a path as errors
// of that field, of which value is the bad value.
func (c ExpressionChecker) Judge() func(e Expression, at *field.Path, value string) field.ErrorList {
	if c == nil {
		return func(Expression, *field.Path, string) field.ErrorList { return nil }
	}
	check := c()
	return func(e Expression, at *field.Path, value string) field.ErrorList {
		err := check(e)
		if err == nil {
			return nil
		}
		out := field.Invalid(at, value, err.Error())
		if told := (*field.Error)(nil); errors.As(err, &told) {
			out.Type, out.Detail = told.Type, told.Detail
		}
		if out.Type != field.ErrorTypeInvalid {
			out.BadValue = ""
		}
		return field.ErrorList{out}
	}
}
