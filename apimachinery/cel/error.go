package cel

import (
	celgo "github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Error is why an expression can't be compiled.
type Error struct {
	// Type is that of the field's error: invalid, forbidden for what costs too much, or internal.
	Type field.ErrorType
	// Detail has the positions and lines that are wrong, as CEL shows them.
	Detail string
	// Line counts from 1 and Column from 0, where the first thing is wrong; both are 0 if no place is.
	Line, Column int
}

// Error is the detail.
func (e *Error) Error() string { return e.Detail }

// At makes it the error of a field that has the expression text.
func (e *Error) At(path *field.Path, text string) *field.Error {
	switch e.Type {
	case field.ErrorTypeInternal:
		return field.InternalError(path, e)
	case field.ErrorTypeForbidden:
		return field.Forbidden(path, e.Detail)
	case field.ErrorTypeTooLong:
		return field.TooLong(path, "", maxSelector)
	}
	return field.Invalid(path, text, e.Detail)
}

func invalid(detail string) *Error { return &Error{Type: field.ErrorTypeInvalid, Detail: detail} }

func internal(err error) *Error { return &Error{Type: field.ErrorTypeInternal, Detail: err.Error()} }

// issue is what the compiler says.
func issue(i *celgo.Issues) *Error {
	e := invalid("compilation failed: " + i.String())
	if all := i.Errors(); len(all) > 0 && all[0].Location != nil {
		e.Line, e.Column = all[0].Location.Line(), all[0].Location.Column()
	}
	return e
}
