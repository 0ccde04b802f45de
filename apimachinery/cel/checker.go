package cel

import (
	"errors"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Checker compiles the expressions of built-in kinds when they are written.
func (e *Environment) Checker() apimachinery.ExpressionChecker {
	return func() func(apimachinery.Expression) error {
		var scope *Scope // with the variables of the object's policy, once it has one
		return func(x apimachinery.Expression) error {
			if scope == nil {
				scope = e.Scope(x.Params)
			}
			return toField(e.check(scope, x))
		}
	}
}

var kindsOf = map[apimachinery.ExpressionKind]Kind{
	apimachinery.ValidationExpression: Validation,
	apimachinery.MessageExpression:    MessageExpression,
	apimachinery.AuditExpression:      AuditAnnotation,
	apimachinery.ApplyExpression:      ApplyConfiguration,
	apimachinery.PatchExpression:      JSONPatch,
}

func (e *Environment) check(scope *Scope, x apimachinery.Expression) error {
	switch x.Kind {
	case apimachinery.DeviceSelector:
		return e.Check(DeviceSelector, x.Text)
	case apimachinery.MatchCondition:
		return e.Scope(x.Params).Check(MatchCondition, x.Text)
	case apimachinery.VariableExpression:
		return scope.Declare(x.Name, x.Text)
	}
	return scope.Check(kindsOf[x.Kind], x.Text)
}

// toField is an error of an expression as kinds tell it.
func toField(err error) error {
	var wrong *Error
	if !errors.As(err, &wrong) {
		return err
	}
	return &field.Error{Type: wrong.Type, Detail: wrong.Detail}
}
